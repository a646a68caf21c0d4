"""Who listens where."""

import os
import socket

import pytest
from tests.ports import free_port

from naru.domain.errors import Conflict
from naru.routing import ports

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
   2: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
"""


def test_a_listener_is_found_and_a_connection_is_not():
    assert list(ports.listening(TABLE, 8080)) == [4711]
    assert list(ports.listening(TABLE, 80)) == [4713]
    assert list(ports.listening(TABLE, 81)) == []


def test_a_holder_that_we_may_not_see_is_another_process():
    assert str(ports.Holder()) == "another process"
    assert str(ports.Holder(42, "nginx")) == "nginx (pid 42)"


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("interface", ["", "127.0.0.1"])
def test_a_taken_port_is_refused_with_its_holder(listener, interface):
    with pytest.raises(Conflict, match=rf"port {listener} is taken by .*pid {os.getpid()}"):
        ports.demand(listener, interface)


def test_a_port_of_our_own_process_is_as_good_as_free(listener):
    ports.demand(listener, ours=os.getpid())


def test_the_first_free_port_is_given(listener):
    free = free_port()
    assert ports.free([listener, free]) == free
    with pytest.raises(Conflict, match="every port"):
        ports.free([listener])
