"""Ports of this machine for the servers under test."""

import os
from itertools import cycle, islice

from naru.routing.ports import is_free

# Below what the kernel gives to connections by itself (ip_local_port_range) and to node ports: a port that is told to a
# server, and listened on only later, does not go to anybody else in between.
_RANGE = range(10_000, 20_000)
_begin = os.getpid() * 37 % len(_RANGE)  # suites that run side by side begin apart
_untold = cycle([*_RANGE[_begin:], *_RANGE[:_begin]])


def free_port() -> int:
    """Return a port that nobody listens on, and that was not told before."""
    return next(port for port in _untold if is_free(port))


def free_ports(count: int) -> list[int]:
    """Return `count` ports in a row that nobody listens on, and that were not told before."""
    row: list[int] = []
    for port in islice(_untold, len(_RANGE)):
        follows = is_free(port) and (not row or port == row[-1] + 1)
        row = [*row, port] if follows else []
        if len(row) == count:
            return row
    raise RuntimeError(f"this machine has no {count} free ports in a row")
