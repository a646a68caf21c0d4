"""Changes to whoever watches: at most one waits per app, so a slow watcher costs little and misses nothing."""

import asyncio
from collections.abc import AsyncGenerator

from naru.domain.errors import Unavailable
from naru.engines.base import Change


class Feed:
    """Hands every change to every watcher."""

    def __init__(self) -> None:
        self._watchers: set[_Watcher] = set()

    def tell(self, app: str, what: str) -> None:
        """Pass a change on; an empty app means that everything may have changed."""
        for watcher in self._watchers:
            watcher.waiting[app] = what
            watcher.woken.set()

    def end(self, why: Unavailable) -> None:
        """Let every watcher raise, after it took what is waiting."""
        for watcher in self._watchers:
            watcher.end = why
            watcher.woken.set()

    async def watch(self) -> AsyncGenerator[Change, None]:
        """Yield the changes from now on."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            while True:
                await watcher.woken.wait()
                watcher.woken.clear()
                while watcher.waiting:
                    app = next(iter(watcher.waiting))
                    yield Change(app, watcher.waiting.pop(app))
                if watcher.end:
                    raise Unavailable(watcher.end.cause, watcher.end.mend) from watcher.end
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    def __init__(self) -> None:
        self.waiting: dict[str, str] = {}
        self.woken = asyncio.Event()
        self.end: Unavailable | None = None
