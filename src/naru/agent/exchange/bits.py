"""Sets of piece numbers as integers: bit n is piece n, so that thousands of pieces are compared in one operation."""

from collections.abc import Iterable, Iterator


def of(numbers: Iterable[int]) -> int:
    """Return the set of these numbers."""
    chosen = sorted(numbers)
    if not chosen:
        return 0
    field = bytearray(chosen[-1] // 8 + 1)
    for number in chosen:
        field[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(field, "little")


def numbers(bits: int) -> Iterator[int]:
    """Yield the numbers of a set, rising."""
    text = bin(bits)[:1:-1]
    at = text.find("1")
    while at >= 0:
        yield at
        at = text.find("1", at + 1)


def everything(count: int) -> int:
    """Return the set of all numbers below `count`."""
    return (1 << count) - 1


def lowest(bits: int) -> int:
    """Return the lowest number of a set that is not empty."""
    return (bits & -bits).bit_length() - 1
