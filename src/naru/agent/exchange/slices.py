"""Packed pieces as the frames that carry them: small ones together, big ones in parts."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from naru.agent.exchange.frames import Bundle, Frame, Part, Piece


def sliced(handle: int, packed: Mapping[int, tuple[bool, bytes]], size: int) -> Iterator[Frame]:
    """Yield frames of about `size` bytes; every piece longer than that in parts, each body at most so long."""
    small: list[Piece] = []
    gathered = 0
    for number, (zstd, body) in packed.items():
        if len(body) > size:
            view = memoryview(body)
            for at in range(0, len(body), size):
                yield Part(handle, number, zstd, at, len(body), view[at : at + size])
            continue
        if small and gathered + len(body) > 2 * size:
            yield Bundle(handle, tuple(small))
            small, gathered = [], 0
        small.append(Piece(number, zstd, body))
        gathered += len(body)
    if small:
        yield Bundle(handle, tuple(small))


def without(slices: Iterable[Frame], handle: int, pieces: Collection[int]) -> Iterator[Frame]:
    """Yield what is to be sent without these pieces, unless a part of one was sent already."""
    waiting = list(slices)
    untouched = {one.number for one in waiting if isinstance(one, Part) and one.handle == handle and not one.offset}
    for frame in waiting:
        match frame:
            case Part(of, piece) if of == handle and piece in pieces and piece in untouched:
                continue
            case Bundle(of, bundled) if of == handle:
                if left := tuple(piece for piece in bundled if piece.number not in pieces):
                    yield replace(frame, pieces=left)
            case _:
                yield frame
