"""Log lines out of the engine's multiplexed stream (Docker Engine API, "Attach to a container", stream format)."""

import re
import struct
from collections.abc import Iterator
from datetime import UTC, datetime

from naru.domain.instance import LogLine

_HEADER = struct.Struct(">BxxxL")
_STREAMS = {1: "stdout", 2: "stderr"}
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?")
LINE_LIMIT = 1 << 20
"""Bytes of one line; what is longer is cut into several."""


class LogReader:
    """Collects chunks, cut anywhere, and gives whole lines; every frame starts with the time of its text."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._rest = bytearray()
        self._open: dict[str, tuple[datetime, bytes]] = {}

    def feed(self, chunk: bytes) -> Iterator[LogLine]:
        """Take a chunk and yield the lines that it completes."""
        self._rest += chunk
        while len(self._rest) >= _HEADER.size:
            stream, length = _HEADER.unpack_from(self._rest)
            if len(self._rest) < _HEADER.size + length:
                return
            payload = bytes(self._rest[_HEADER.size : _HEADER.size + length])
            del self._rest[: _HEADER.size + length]
            yield from self._frame(_STREAMS.get(stream, "stdout"), payload)

    def end(self) -> Iterator[LogLine]:
        """Yield the lines that were never finished."""
        for stream, (at, text) in self._open.items():
            yield self._line(at, stream, text)
        self._open.clear()

    def _frame(self, stream: str, payload: bytes) -> Iterator[LogLine]:
        """A frame is a whole line, or a part of a long one, each with the time in front."""
        at, text = _stamped(payload)
        if begun := self._open.pop(stream, None):
            at, text = begun[0], begun[1] + text
        if text.endswith(b"\n") or len(text) >= LINE_LIMIT:
            yield self._line(at, stream, text)
        else:
            self._open[stream] = (at, text)

    def _line(self, at: datetime, stream: str, text: bytes) -> LogLine:
        return LogLine(self._instance, at, stream, text.rstrip(b"\r\n").decode(errors="replace"))


def _stamped(payload: bytes) -> tuple[datetime, bytes]:
    stamp = _STAMP.match(payload)
    if not stamp:
        return datetime.fromtimestamp(0, UTC), payload
    seconds, fraction, zone = (group.decode() if group else "" for group in stamp.groups())
    try:
        at = datetime.fromisoformat(f"{seconds}.{fraction[:6].ljust(6, '0')}{zone.replace('Z', '+00:00')}")
    except ValueError:
        return datetime.fromtimestamp(0, UTC), payload
    return at.astimezone(UTC), payload[stamp.end() :]
