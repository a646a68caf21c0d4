from hypothesis import given
from hypothesis import strategies as st

from naru.engines.dockerapi.sockets import Listener, explain, listeners, listeners_of

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(address, state="0A"):
    return f"   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0\n"


def test_listening_sockets_of_both_families_are_read():
    table = HEAD + line("00000000:1F90") + line("0100007F:0050") + line("00000000:1F91", state="01")

    assert listeners(table) == {Listener(8080, local=False), Listener(80, local=True)}
    assert listeners(HEAD + line("00000000000000000000000000000000:1F90")) == {Listener(8080, local=False)}
    assert listeners(HEAD + line("00000000000000000000000001000000:1F90")) == {Listener(8080, local=True)}
    assert listeners(HEAD + line("0000000000000000FFFF00000100007F:1F90")) == {Listener(8080, local=True)}


def test_the_name_server_that_docker_puts_into_a_container_does_not_count():
    assert listeners(HEAD + line("0B00007F:8235")) == set()


@given(st.text())
def test_no_table_breaks_the_reader(text):
    listeners(text)
    listeners(HEAD + "0: " + text)


def test_a_port_without_listener_is_explained_with_the_ports_that_have_one():
    found = [Listener(8080, local=False), Listener(9090, local=True)]

    assert explain(8080, found) == ""
    assert explain(8081, found) == "nothing listens on port 8081; the container listens on 8080"
    assert explain(8081, []) == "nothing listens on port 8081; the container listens on no port"
    assert "loopback" in explain(9090, found)


def test_only_the_containers_own_process_is_read(tmp_path):
    home = tmp_path / "42"
    (home / "net").mkdir(parents=True)
    (home / "cgroup").write_text("0::/system.slice/docker-abc123.scope\n")
    (home / "net/tcp").write_text(HEAD + line("00000000:1F90"))
    (home / "net/tcp6").write_text(HEAD)

    assert listeners_of(42, "abc123", tmp_path) == {Listener(8080, local=False)}
    assert listeners_of(42, "def456", tmp_path) is None
    assert listeners_of(43, "abc123", tmp_path) is None
