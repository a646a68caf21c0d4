"""What is wrong with a machine, judged by its facts alone."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from naru.cli.doctor import GIB, ServerAnswer, State, judge
from naru.cli.machine import EngineAnswer, Machine, Port, StateDirectory, engine_answer
from naru.domain.errors import SignInRequired, Unavailable

FIT = Machine(
    python=(3, 11, 2),
    kernel="6.1.0-18-amd64",
    architecture="x86_64",
    filesystems=frozenset({"ext4", "overlay"}),
    controllers=frozenset({"cpu", "memory", "pids", "io"}),
    engines=(EngineAnswer("/var/run/docker.sock", "Docker", "20.10.24", "1.41"),),
    caddy="2.6.2",
    ports=(Port(7070, "console and API", "NARU_LISTEN"), Port(8080, "apps by host name", "NARU_HTTP_PORT")),
    disk_free=50 * GIB,
    memory_total=8 * GIB,
    memory_available=4 * GIB,
    now=datetime(2026, 1, 1, tzinfo=UTC),
    clock_synchronised=True,
    state=StateDirectory("/var/lib/naru", 0o700, writable=True),
)
ANSWERING = ServerAnswer("http://127.0.0.1:7070", subject="admin")
SILENT = ServerAnswer("http://127.0.0.1:7070", error=Unavailable("it does not answer", "naru serve"))


def states(machine: Machine, server: ServerAnswer = ANSWERING) -> dict[str, State]:
    return {finding.check: finding.state for finding in judge(machine, server) if finding.state is not State.OK}


def test_a_fit_machine_has_no_findings():
    assert states(FIT) == {}


@pytest.mark.parametrize(
    ("change", "check", "state"),
    [
        ({"python": (3, 10, 9)}, "python", State.FAIL),
        ({"engines": ()}, "container engine", State.FAIL),
        ({"engines": (EngineAnswer("/d.sock", problem="Permission denied"),)}, "container engine", State.FAIL),
        ({"engines": (EngineAnswer("/d.sock", "Docker", "18.09", "1.39"),)}, "container engine", State.FAIL),
        ({"caddy": ""}, "caddy", State.FAIL),
        ({"state": StateDirectory("/var/lib/naru", 0o755, writable=False)}, "state directory", State.FAIL),
        ({"state": StateDirectory("/var/lib/naru", 0o755, writable=True)}, "state directory", State.WARN),
        ({"disk_free": GIB // 2}, "disk", State.FAIL),
        ({"disk_free": 2 * GIB}, "disk", State.WARN),
        ({"memory_available": 1 << 20}, "memory", State.WARN),
        ({"controllers": None}, "cgroups", State.WARN),
        ({"controllers": frozenset({"cpu", "pids"})}, "cgroups", State.WARN),
        ({"kernel": "4.19.0-5-amd64"}, "kernel", State.WARN),
        ({"filesystems": frozenset({"ext4"})}, "kernel", State.WARN),
        ({"now": datetime(1970, 1, 1, tzinfo=UTC)}, "clock", State.FAIL),
        ({"clock_synchronised": False}, "clock", State.WARN),
    ],
)
def test_each_fault_is_one_finding_with_a_mend(change, check, state):
    machine = replace(FIT, **change)
    assert states(machine) == {check: state}
    assert all(finding.mend for finding in judge(machine, ANSWERING) if finding.state is not State.OK)


def test_one_engine_that_answers_is_enough():
    silent = EngineAnswer("/run/podman/podman.sock", problem="Connection refused")
    assert states(replace(FIT, engines=(silent, *FIT.engines))) == {}


TAKEN = replace(FIT, ports=tuple(replace(port, hindrance="Address already in use") for port in FIT.ports))


def test_a_port_in_use_is_grave_only_while_no_server_of_ours_answers():
    assert states(TAKEN) == {}
    assert states(TAKEN, SILENT) == {"port 7070": State.FAIL, "port 8080": State.FAIL, "server": State.WARN}


def test_a_port_in_use_says_which_variable_chooses_another():
    mends = [finding.mend for finding in judge(TAKEN, SILENT) if finding.check == "port 8080"]
    assert "NARU_HTTP_PORT" in mends[0]


def test_a_server_that_does_not_know_us_is_there_all_the_same():
    stranger = ServerAnswer("http://127.0.0.1:7070", error=SignInRequired("who are you"))
    assert states(TAKEN, stranger) == {"server": State.WARN}


def test_a_socket_that_is_none_is_a_problem_and_not_a_crash(tmp_path):
    assert engine_answer(str(tmp_path / "none.sock")).problem
