"""Server-sent events, decoded (WHATWG HTML, section 9.2, "Interpreting an event stream")."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from naru.domain.errors import Invalid

MAX_EVENT = 16 * 1024 * 1024
"""Bytes of one event; a longer one is an attack or another protocol."""

_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event: its name, its data, and the last id that the stream has told."""

    name: str
    data: bytes
    id: str = ""


class Decoder:
    """Turns the bytes of a stream, cut anywhere, into its events.

    Only CR, LF and CRLF end a line: JSON may hold other line separators, such as U+2028, unescaped.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """Yield the events that `chunk` completes; an event without its blank line is never yielded."""
        *lines, self._rest = self._split(self._rest + chunk)
        for line in lines:
            event = self._line(line)
            if event is not None:
                yield event
        if len(self._rest) + self._size > MAX_EVENT:
            raise Invalid("the server sent an event without an end", "check that the address is that of a Naru server")

    @staticmethod
    def _split(text: bytes) -> list[bytes]:
        # A CR at the very end may be the first half of CRLF: keep it until the next chunk tells.
        if text.endswith(b"\r"):
            *lines, last = _LINE_END.split(text[:-1])
            return [*lines, last + b"\r"]
        return _LINE_END.split(text)

    def _line(self, line: bytes) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"data":
                self._data.append(value)
                self._size += len(value)
            case b"event":
                self._name = value.decode(errors="replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode(errors="replace")
            case _:
                pass
        return None

    def _dispatch(self) -> ServerEvent | None:
        event = ServerEvent(self._name or "message", b"\n".join(self._data), self._id) if self._data else None
        self._name, self._data, self._size = "", [], 0
        return event
