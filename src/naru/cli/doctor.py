"""`naru doctor`: is this machine fit to be a server, and what mends it where it is not?

Facts come from `naru.cli.machine`; the judges here are pure.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import typer
from rich.table import Table
from rich.text import Text

from naru.cli.exits import FAILED
from naru.cli.machine import Machine, Port, look
from naru.cli.output import Output, OutputOption, bulk, clean, emit_list, lay_out
from naru.cli.session import call
from naru.cli.settings import ClientSettings, load
from naru.config import settings
from naru.domain.errors import NaruError, SignInRequired

GIB = 1024**3
OLDEST_ENGINE_API = (1, 41)
"""The Engine API of Docker 20.10, which Debian 11 and 12 carry."""
BUILT = datetime(2025, 1, 1, tzinfo=UTC)
"""A clock that shows an earlier time is wrong: certificates are not valid then."""


class State(StrEnum):
    """How grave a finding is: with a failure Naru does not work, with a warning some of it does not."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of the machine: what was seen, and what to do about it."""

    check: str
    state: State
    detail: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """Whether the configured server answers: as whom it knows us, or what went wrong."""

    url: str
    subject: str = ""
    error: NaruError | None = None

    @property
    def answers(self) -> bool:
        """Whether a server is there at all."""
        return self.error is None or isinstance(self.error, SignInRequired)


def doctor(output: OutputOption = Output.TABLE) -> None:
    """Check this machine and say how to mend what is wrong; exits with 1 when something fails."""
    machine = look(settings(os.environ), os.environ)
    findings = (*judge(machine, _ask(load(os.environ))), *_agent_findings())
    match output:
        case Output.JSON:
            emit_list(findings)
        case Output.TABLE:
            _show(findings)
    if any(finding.state is State.FAIL for finding in findings):
        raise typer.Exit(FAILED)


def judge(machine: Machine, server: ServerAnswer) -> Iterator[Finding]:
    """Yield a finding for each thing that Naru needs, gravest needs first."""
    for one in _JUDGES:
        yield one(machine)
    for port in machine.ports:
        yield port_finding(port, ours=server.answers)
    yield server_finding(server)


def agent_finding(mode: str, lacking: Sequence[str], cluster: str) -> Finding:
    """Judge the agent of this machine by how it brings files of images to containers."""
    detail = f"files of images arrive in the mode {mode}" + (f", in the cluster {cluster}" if cluster else "")
    if lacking:
        return Finding("agent", State.WARN, f"{detail}: {'; '.join(lacking)}", "run Linux 6.12 or later as root")
    if not cluster:
        return Finding("agent", State.WARN, f"{detail}, from registries alone", "naru agent join TOKEN --via HOST:PORT")
    return Finding("agent", State.OK, detail)


def python_finding(machine: Machine) -> Finding:
    """Judge the interpreter."""
    version = ".".join(str(part) for part in machine.python)
    if machine.python < (3, 11, 0):
        return Finding("python", State.FAIL, version, "install Python 3.11 or later")
    return Finding("python", State.OK, version)


def engine_finding(machine: Machine) -> Finding:
    """Judge the container engines: one that answers is enough."""
    mend = "install and start one: apt-get install docker.io; and let this user reach its socket"
    if not machine.engines:
        return Finding("container engine", State.FAIL, "neither Docker nor Podman has a socket here", mend)
    answering = [engine for engine in machine.engines if not engine.problem]
    if not answering:
        told = "; ".join(f"{engine.socket}: {engine.problem}" for engine in machine.engines)
        return Finding("container engine", State.FAIL, told, mend)
    engine = answering[0]
    detail = f"{engine.name} {engine.version} (API {engine.api}) at {engine.socket}"
    if _version(engine.api) < OLDEST_ENGINE_API:
        return Finding("container engine", State.FAIL, detail, "upgrade it to Docker 20.10 or Podman 4, or later")
    return Finding("container engine", State.OK, detail)


def caddy_finding(machine: Machine) -> Finding:
    """Judge the front door's program."""
    if not machine.caddy:
        return Finding("caddy", State.FAIL, "not found: no app can be reached", "apt-get install caddy")
    return Finding("caddy", State.OK, machine.caddy)


def state_finding(machine: Machine) -> Finding:
    """Judge where the server keeps its database, keys and images."""
    state = machine.state
    if not state.writable:
        mend = f"run as its owner, or name another directory with NARU_STATE; owner now: ls -ld {state.path}"
        return Finding("state directory", State.FAIL, f"{state.path} cannot be written", mend)
    if state.mode is None:
        return Finding("state directory", State.OK, f"{state.path} will be made")
    if state.mode & 0o007:
        detail = f"{state.path} is open to every user of this machine (mode {state.mode:04o})"
        return Finding("state directory", State.WARN, detail, f"chmod o-rwx {state.path}")
    return Finding("state directory", State.OK, f"{state.path} (mode {state.mode:04o})")


def disk_finding(machine: Machine) -> Finding:
    """Judge the space that is left for images."""
    detail = f"{bulk(machine.disk_free)} free at {machine.state.path}"
    mend = "remove what is not needed: naru image list, docker system df"
    if machine.disk_free < GIB:
        return Finding("disk", State.FAIL, detail, mend)
    if machine.disk_free < 5 * GIB:
        return Finding("disk", State.WARN, detail, mend)
    return Finding("disk", State.OK, detail)


def memory_finding(machine: Machine) -> Finding:
    """Judge the memory that instances can still take."""
    detail = f"{bulk(machine.memory_available)} of {bulk(machine.memory_total)} available"
    if machine.memory_available < GIB // 4:
        return Finding("memory", State.WARN, detail, "stop what is not needed, or run fewer replicas")
    return Finding("memory", State.OK, detail)


def cgroup_finding(machine: Machine) -> Finding:
    """Judge whether CPU and memory limits hold."""
    if machine.controllers is None:
        return Finding(
            "cgroups", State.WARN, "version 2 is not mounted", "boot with systemd.unified_cgroup_hierarchy=1"
        )
    missing = sorted({"cpu", "memory", "pids"} - machine.controllers)
    if missing:
        detail = f"version 2, without {', '.join(missing)}: limits are not enforced"
        return Finding("cgroups", State.WARN, detail, "boot with cgroup_enable=memory, or use a kernel that has them")
    return Finding("cgroups", State.OK, "version 2 with cpu, memory and pids")


def kernel_finding(machine: Machine) -> Finding:
    """Judge what the kernel offers to container engines."""
    detail = f"Linux {machine.kernel} on {machine.architecture}"
    if _version(machine.kernel) < (5, 4):
        return Finding("kernel", State.WARN, detail, "upgrade it to Linux 5.4 or later")
    if "overlay" not in machine.filesystems:
        return Finding("kernel", State.WARN, f"{detail}, overlayfs is not loaded", "modprobe overlay")
    return Finding("kernel", State.OK, f"{detail}, with overlayfs")


def clock_finding(machine: Machine) -> Finding:
    """Judge the clock, which certificates and records depend on."""
    shown = f"{machine.now:%Y-%m-%d %H:%M} UTC"
    if machine.now < BUILT:
        return Finding("clock", State.FAIL, f"{shown} is in the past", "set it, and install a time service: chrony")
    if machine.clock_synchronised is False:
        return Finding("clock", State.WARN, f"{shown}, not synchronised", "install a time service: chrony")
    return Finding("clock", State.OK, shown if machine.clock_synchronised is None else f"{shown}, synchronised")


def port_finding(port: Port, *, ours: bool) -> Finding:
    """Judge a port that the server or its front door listens on; `ours` when a server of ours answers already."""
    check = f"port {port.number}"
    if not port.hindrance:
        return Finding(check, State.OK, f"free for {port.purpose}")
    if ours:
        return Finding(check, State.OK, f"in use, and a Naru server answers ({port.purpose})")
    mend = f"find who has it: ss -ltnp 'sport = :{port.number}'; or choose another with {port.variable}"
    return Finding(check, State.FAIL, f"{port.hindrance.lower()}: {port.purpose} needs it", mend)


def server_finding(server: ServerAnswer) -> Finding:
    """Judge whether the command line reaches its server."""
    match server.error:
        case None:
            return Finding("server", State.OK, f"{server.url} answers, signed in as {server.subject}")
        case SignInRequired():
            return Finding("server", State.WARN, f"{server.url} answers, not signed in", f"naru login {server.url}")
        case error:
            return Finding("server", State.WARN, error.cause, error.mend)


_JUDGES: tuple[Callable[[Machine], Finding], ...] = (
    python_finding,
    engine_finding,
    caddy_finding,
    state_finding,
    disk_finding,
    memory_finding,
    cgroup_finding,
    kernel_finding,
    clock_finding,
)


def _ask(server: ClientSettings) -> ServerAnswer:
    try:
        return ServerAnswer(server.url, subject=str(call(lambda client: client.accounts.who(), server)))
    except NaruError as error:
        return ServerAnswer(server.url, error=error)


def _agent_findings() -> Iterator[Finding]:
    """Yield what is to be said of an agent, nothing where none runs."""
    from naru.agent.settings import agent_settings

    socket = agent_settings(os.environ).control
    if not socket.exists():
        return
    from naru.agent.control import Agent

    try:
        told = Agent(socket).status()
    except NaruError as error:
        yield Finding("agent", State.WARN, error.cause, error.mend)
    else:
        yield agent_finding(told.mode, told.lacking, told.cluster)


def _show(findings: tuple[Finding, ...]) -> None:
    styles = {State.OK: "green", State.WARN: "yellow", State.FAIL: "bold red"}
    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for finding in findings:
        grid.add_row(Text(str(finding.state), style=styles[finding.state]), finding.check, clean(finding.detail))
        if finding.mend:
            grid.add_row("", "", Text.assemble(("mend: ", "dim"), clean(finding.mend)))
    lay_out(grid)


def _version(text: str) -> tuple[int, ...]:
    """Return the first two numbers of a version; (0, 0) for none."""
    parts = text.split(".")[:2]
    return tuple(int(part) for part in parts) if len(parts) == 2 and all(part.isdecimal() for part in parts) else (0, 0)
