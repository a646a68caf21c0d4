"""One file a measure: `def measure() -> Iterator[Figure]`, run by `python -m bench NAME`.

A measure brings up what it needs and takes it down again, and raises Absent where the machine lacks a program.
"""


class Absent(Exception):
    """The machine lacks what this measure needs; the message names it."""
