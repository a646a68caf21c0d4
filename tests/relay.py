"""A wide-area link: carries packets between two network namespaces and delays each by half a round trip.

Run as a process: `python -m tests.relay NEAR-NAMESPACE NEAR-DEVICE FAR-NAMESPACE FAR-DEVICE SECONDS`; says `ready` once
both devices are there. The kernel shapes the rate (tbf on the devices), this only waits. Packets that come faster
than they can be carried are lost in the device's queue, as on any link.
"""

import ctypes
import fcntl
import os
import select
import struct
import sys
import time
from collections import deque

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
LARGEST = 65535


def enter(namespace: str) -> None:
    """Take this thread into a network namespace, for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}", "rb") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")


def device(namespace: str, name: str) -> int:
    """Make a TUN device in a namespace and return its descriptor; the process stays in that namespace."""
    enter(namespace)
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return tun


def carry(ends: tuple[int, int], delay: float) -> None:
    """Carry packets both ways until an end is closed."""
    far = {ends[0]: ends[1], ends[1]: ends[0]}
    waiting: deque[tuple[float, int, bytes]] = deque()
    while True:
        left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for end in select.select(ends, (), (), left)[0]:
            due = time.monotonic() + delay
            try:
                while True:
                    waiting.append((due, far[end], os.read(end, LARGEST)))
            except BlockingIOError:
                pass
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, end, packet = waiting.popleft()
            try:
                os.write(end, packet)
            except OSError:
                continue  # the device is down or full: the packet is lost


def main(near: str, near_device: str, far: str, far_device: str, delay: str) -> None:
    """Make both ends, say so, and carry."""
    ends = device(near, near_device), device(far, far_device)
    print("ready", flush=True)
    carry(ends, float(delay))


if __name__ == "__main__":
    main(*sys.argv[1:])
