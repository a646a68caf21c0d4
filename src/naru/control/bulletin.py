"""Who waits for news of which app.

News say only which apps to look at again. That makes them safe to lose and cheap to merge.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

ANY = ""
QUEUE = "queue/"
"""The topic of those who carry rollouts out; no app is called so."""


class News(asyncio.Event):
    """Set when there is something to look at; `apps` collects the names, ANY stands for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.apps: set[str] = set()

    def take(self) -> set[str]:
        """Return the names and start afresh; call it before looking."""
        self.clear()
        apps, self.apps = self.apps, set()
        return apps


class Bulletin:
    """Wakes those who wait for an app, or for any app, in this process."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[News]] = defaultdict(set)

    def tell(self, app: str) -> None:
        """Wake everybody who waits for this app or for any."""
        for topic in {app, ANY}:
            self._wake(topic, app)

    def call(self, topic: str) -> None:
        """Wake only those who wait for this topic, which is no app: the queue, or the id of a rollout."""
        self._wake(topic, topic)

    def tell_all(self) -> None:
        """Wake everybody."""
        for topic in tuple(self._waiting):
            for news in self._waiting[topic]:
                news.apps.add(ANY)
                news.set()

    def _wake(self, topic: str, app: str) -> None:
        for news in self._waiting.get(topic, ()):
            news.apps.add(app)
            news.set()

    @contextmanager
    def waiting(self, app: str = ANY) -> Iterator[News]:
        """Lend an event that is set at each piece of news until the block ends."""
        news = News()
        self._waiting[app].add(news)
        try:
            yield news
        finally:
            self._waiting[app].discard(news)
            if not self._waiting[app]:
                del self._waiting[app]

    async def listen(self, app: str = ANY, *, patience: float) -> AsyncIterator[set[str]]:
        """Yield at once, then at each piece of news, and at the latest every `patience` seconds."""
        with self.waiting(app) as news:
            news.apps.add(ANY)
            while True:
                yield news.take()
                await wait(news, patience)


async def wait(event: asyncio.Event, patience: float) -> bool:
    """Wait for an event, `patience` seconds at most; say whether it came."""
    try:
        async with asyncio.timeout(patience):
            await event.wait()
    except TimeoutError:
        return False
    return True
