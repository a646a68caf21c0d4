"""The console: Naru in a browser.

Pages are rendered on the server and have real URLs; forms are real forms, so the essential flow needs no JavaScript.
htmx swaps in what changes, server-sent events say when. It speaks to `naru.control.platform` and to nothing below it;
what is true of an app is decided there, here is only how it is shown. `routes` is the way in.
"""

from naru.console.site import routes

__all__ = ["routes"]
