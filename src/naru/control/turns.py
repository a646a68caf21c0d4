"""One hand at a time on an app: a rollout and a repair never change the same app at once."""

import asyncio
from weakref import WeakValueDictionary


class Turns:
    """Lends one lock an app, forgotten when nobody uses it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, app: str) -> asyncio.Lock:
        """Return the app's lock."""
        lock = self._locks.get(app) or asyncio.Lock()
        return self._locks.setdefault(app, lock)
