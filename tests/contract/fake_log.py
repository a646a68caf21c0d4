"""What the instances of the engine in memory wrote."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from datetime import datetime

from naru.domain.instance import LogLine


class FakeLog:
    """The lines of every instance, for readers of which some wait for more."""

    def __init__(self) -> None:
        self.lines: defaultdict[str, list[LogLine]] = defaultdict(list)
        self._news = asyncio.Event()

    def write(self, line: LogLine) -> None:
        """Keep a line."""
        self.lines[line.instance].append(line)
        self.wake()

    def wake(self) -> None:
        """Have the readers that wait look again."""
        self._news.set()
        self._news = asyncio.Event()

    async def read(
        self, instance: str, follow: bool, since: datetime | None, tail: int | None, may_write: Callable[[str], bool]
    ) -> AsyncIterator[LogLine]:
        """Yield the lines; with `follow`, those that come as long as the instance may write."""
        lines = self.lines[instance]
        told = len(lines)
        wanted = [line for line in lines if since is None or line.at >= since]
        for line in wanted if tail is None else wanted[len(wanted) - min(tail, len(wanted)) :]:
            yield line
        while follow:
            more = may_write(instance)
            for line in lines[told:]:
                told += 1
                yield line
            if told == len(lines):
                if not more:
                    return
                await self._news.wait()
