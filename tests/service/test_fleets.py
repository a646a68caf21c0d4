"""The sites that other tests are run in have the links that they were asked for."""

import sys
import time

import pytest
from tests.fleets import Shape, fleet

pytestmark = pytest.mark.needs("fleet")

SERVE = """
import socket, sys
door = socket.create_server((sys.argv[1], 9000))
print("ready", flush=True)
while True:
    guest, _ = door.accept()
    guest.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while guest.recv(1):
        guest.sendall(bytes(int(sys.argv[2])))
"""
ASK = """
import socket, sys, time
echo = socket.create_connection((sys.argv[1], 9000))
for _ in range(20):
    begun = time.monotonic()
    echo.sendall(b"x")
    echo.recv(1, socket.MSG_WAITALL)
    print(time.monotonic() - begun)
"""
FETCH = """
import socket, sys, time
echo = socket.create_connection((sys.argv[1], 9000))
echo.sendall(b"x")
left, begun = int(sys.argv[2]), 0.0
while left:
    left -= len(echo.recv(min(left, 1 << 20))) or sys.exit("the neighbour hung up")
    begun = begun or time.monotonic()
print(time.monotonic() - begun)
"""


def test_a_site_is_as_far_and_as_thin_as_it_was_asked_to_be(tmp_path):
    with fleet(Shape(2, uplink=80e6, round_trip=0.04)) as sites:
        outside, (near, neighbour) = sites.outside, sites.sites[0].nodes
        log = tmp_path / "log"
        far_echo = outside.start(sys.executable, "-c", SERVE, outside.address, "1", log=log)
        size = 5_000_000
        bulk = neighbour.start(sys.executable, "-c", SERVE, neighbour.address, str(size), log=log)
        try:
            deadline = time.monotonic() + 10
            while log.read_text().count("ready") < 2:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
            trips = [float(one) for one in near.run(sys.executable, "-c", ASK, outside.address).stdout.split()]
            before = sites.sites[0].received()
            seconds = float(near.run(sys.executable, "-c", FETCH, neighbour.address, str(size)).stdout)
            assert 0.04 <= min(trips) < 0.05
            assert size * 8 / 1e9 * 0.8 < seconds
            assert sites.sites[0].received() - before < 10_000
        finally:
            for program in (far_echo, bulk):
                program.kill()
                program.wait()
