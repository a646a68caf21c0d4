"""`x-naru`: what an app of Naru has and the Compose specification has no word for; both ways.

x-naru:
  port: 8080                      # which port, where a service has several
  address: {host: shop.example.org, port: 8000, tls: "off" | internal | acme}
  health: http:/healthz | tcp     # instead of a command in the container
  strategy: rolling | recreate | blue-green | canary, or
    rolling: {max_surge: 1, max_unavailable: 0}
    canary: [{percent: 10, hold: 30s}, {percent: 50, hold: 30s}]
  proof: false, or {path: /, count: 10, …}
  kind: service | worker | batch | scheduled | stateful | training | edge
  schedule: "30 4 * * *"          # for the scheduled kind, in UTC
  autoscale: {min: 1, max: 4, cpu_percent: 80}
  project: NAME, or false         # of a service, or of the whole file
  private: true                   # reached by the apps of its project only
  affinity: {targets: [a], engines: [docker], sites: [home], near: APP}
"""

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import assert_never

from naru.domain.kind import Affinity, Autoscale, WorkloadKind
from naru.domain.proof import ProbeRequest, ProofPolicy
from naru.domain.workload import (
    Address,
    BlueGreen,
    Canary,
    CanaryStep,
    Check,
    CommandCheck,
    HttpCheck,
    Recreate,
    Rolling,
    Strategy,
    TcpCheck,
    Tls,
    Workload,
)
from naru.formats.compose.interpolate import escape
from naru.formats.text import Plain
from naru.formats.tree import At, Scalar, Table
from naru.formats.units import duration, duration_text

KEY = "x-naru"
KNOWN = (
    *("port", "address", "health", "strategy", "proof"),
    *("kind", "schedule", "autoscale", "project", "private", "affinity"),
)
OF_A_FILE = ("project",)
_STRATEGIES: Mapping[str, Strategy] = {
    "rolling": Rolling(),
    "recreate": Recreate(),
    "blue-green": BlueGreen(),
    "canary": Canary(),
}
_PROOF = ("count", "interval", "steady", *(field.name for field in fields(ProbeRequest)))


def read_address(at: At, port: int) -> Address:
    """Return the address; `port` is the one that the service publishes, 0 for none, and x-naru's wins."""
    at.only(("host", "port", "tls"))
    tls = at["tls"].text("off")
    tls = "off" if tls == "false" else tls  # what readers of YAML 1.1 make of a bare off
    if tls not in list(Tls):
        raise at["tls"].invalid(f"is {tls!r}", f"use {', '.join(Tls)}")
    host = at["host"].text()
    return Address(host, at["port"].integer(0 if host else port), Tls(tls))


def read_check(at: At) -> Check | None:
    """Return the check that is asked for, None where none is."""
    if not at.given:
        return None
    kind, _, rest = at.text().partition(":")
    match kind:
        case "http":
            return HttpCheck(rest or "/")
        case "tcp" if not rest:
            return TcpCheck()
        case _:
            raise at.invalid(
                f"is {at.text()!r}, no health check", "write http:/path or tcp, and commands as healthcheck"
            )


def read_strategy(at: At) -> Strategy | None:
    """Return the strategy that is asked for, None where none is."""
    if not at.given:
        return None
    if isinstance(at.node, Scalar):
        if at.text() not in _STRATEGIES:
            raise at.invalid(f"is {at.text()!r}, no strategy", f"use {', '.join(_STRATEGIES)}")
        return _STRATEGIES[at.text()]
    at.only(("rolling", "canary"))
    if at["rolling"].given == at["canary"].given:
        raise at.invalid("names no strategy, or two", "write rolling or canary")
    if at["canary"].given:
        return Canary(tuple(_step(step) for step in at["canary"].items()))
    rolling = at["rolling"]
    rolling.only(("max_surge", "max_unavailable"))
    return Rolling(rolling["max_surge"].integer(1), rolling["max_unavailable"].integer(0))


def _step(at: At) -> CanaryStep:
    at.only(("percent", "hold"))
    return CanaryStep(at["percent"].integer(), duration(at["hold"], 10.0))


def read_proof(at: At, default: ProofPolicy) -> ProofPolicy:
    """Return the proof that is asked for, `default` where none is; `false` asks for none."""
    if not at.given:
        return default
    if isinstance(at.node, Scalar):
        return ProofPolicy() if at.boolean() else ProofPolicy(count=0)
    at.only(_PROOF)
    plain = ProbeRequest()
    request = ProbeRequest(
        method=at["method"].text(plain.method),
        path=at["path"].text(plain.path),
        headers={name: value.text() for name, value in at["headers"].entries()},
        body=at["body"].text(),
        expect_status=at["expect_status"].integer(),
        expect_body=at["expect_body"].text(),
        expect_json={name: value.text() for name, value in at["expect_json"].entries()},
        expect_within=duration(at["expect_within"]),
        timeout=duration(at["timeout"], plain.timeout),
    )
    usual = ProofPolicy()
    return ProofPolicy(
        request,
        at["count"].integer(usual.count),
        duration(at["interval"], usual.interval),
        duration(at["steady"], usual.steady),
    )


def read_kind(at: At) -> WorkloadKind | None:
    """Return the kind that is named, None where none is."""
    if not at.given:
        return None
    if at.text() not in list(WorkloadKind):
        raise at.invalid(f"is {at.text()!r}, no kind of workload", f"use {', '.join(WorkloadKind)}")
    return WorkloadKind(at.text())


def read_autoscale(at: At) -> Autoscale | None:
    """Return the bounds that are asked for, None where none are."""
    if not at.given:
        return None
    at.only(("min", "max", "cpu_percent"))
    return Autoscale(at["min"].integer(1), at["max"].integer(), at["cpu_percent"].integer(80))


def read_affinity(at: At) -> Affinity:
    """Return where it may run."""
    at.only(("targets", "engines", "sites", "near"))
    return Affinity(at["targets"].texts(), at["engines"].texts(), at["sites"].texts(), at["near"].text())


def read_project(at: At, otherwise: str) -> str:
    """Return the project's name, empty for none; `false` asks for none."""
    if not at.given:
        return otherwise
    return "" if at.text() in ("", "false") else at.text()


def write_address(address: Address, *, published: bool) -> dict[str, Plain]:
    """Return what of the address the ports of the service do not say."""
    written: dict[str, Plain] = {}
    if address.host:
        written["host"] = address.host
    if address.port and not published:
        written["port"] = address.port
    if address.tls is not Tls.OFF:
        written["tls"] = str(address.tls)
    return written


def write_check(check: Check) -> str:
    """Return the check in one word; empty for a command, which the Compose specification has a word for."""
    match check:
        case HttpCheck(path):
            return escape(f"http:{path}")
        case TcpCheck():
            return "tcp"
        case CommandCheck():
            return ""
        case _:
            assert_never(check)


def write_strategy(strategy: Strategy) -> Plain:
    """Return the strategy as `read_strategy` reads it."""
    match strategy:
        case Rolling(surge, unavailable):
            return {"rolling": {"max_surge": surge, "max_unavailable": unavailable}}
        case Recreate() | BlueGreen():
            return strategy.kind
        case Canary(steps):
            return {"canary": [{"percent": step.percent, "hold": duration_text(step.seconds)} for step in steps]}
        case _:
            assert_never(strategy)


def write_proof(proof: ProofPolicy) -> Plain:
    """Return the proof as `read_proof` reads it, with only what differs from the default."""
    if proof == ProofPolicy(count=0):
        return False
    request, plain = proof.request, ProbeRequest()
    every: dict[str, Plain] = {
        "method": request.method,
        "path": escape(request.path),
        "headers": {name: escape(value) for name, value in request.headers.items()},
        "body": escape(request.body),
        "expect_status": request.expect_status,
        "expect_body": escape(request.expect_body),
        "expect_json": {name: escape(value) for name, value in request.expect_json.items()},
        "expect_within": duration_text(request.expect_within),
        "timeout": duration_text(request.timeout),
    }
    changed = {name: value for name, value in every.items() if getattr(request, name) != getattr(plain, name)}
    timing: dict[str, Plain] = {"count": proof.count, "interval": duration_text(proof.interval)}
    if proof.steady != ProofPolicy().steady:
        timing["steady"] = duration_text(proof.steady)
    return {**timing, **changed}


def write_kind(workload: Workload) -> dict[str, Plain]:
    """Return what of the workload's kind, growth and place is not the default; its project is the file's business."""
    written: dict[str, Plain] = {}
    if workload.kind is not WorkloadKind.SERVICE:
        written["kind"] = str(workload.kind)
    if workload.schedule:
        written["schedule"] = workload.schedule
    if grow := workload.autoscale:
        written["autoscale"] = {"min": grow.min, "max": grow.max, "cpu_percent": grow.cpu_percent}
    if workload.private:
        written["private"] = True
    place = workload.affinity
    named: dict[str, Plain] = {
        "targets": [escape(name) for name in place.targets],
        "engines": [escape(name) for name in place.engines],
        "sites": [escape(name) for name in place.sites],
        "near": place.near,
    }
    if affinity := {name: value for name, value in named.items() if value}:
        written["affinity"] = affinity
    return written


def only_known(at: At, known: Collection[str] = KNOWN) -> None:
    """Raise Invalid for a name that `x-naru` does not have."""
    if at.given and not isinstance(at.node, Table):
        raise at.wrong("a mapping")
    for name, value in at.entries():
        if name not in known:
            raise value.unknown(known)
