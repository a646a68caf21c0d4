"""The command line: one file a group of commands.

It reaches the control plane only through `naru.client` and decides nothing that the server should decide. Nothing
heavy is imported before a command runs: `naru --help` and completion of options answer at once.
"""

from naru.cli.app import app

__all__ = ["app"]
