"""`x-naru`: what an app of Naru has and the Compose specification has no word for; both ways.

x-naru:
  port: 8080                      # which port, where a service has several
  address: {host: shop.example.org, port: 8000, tls: "off" | internal | acme}
  health: http:/healthz | tcp     # instead of a command in the container
  strategy: rolling | recreate | blue-green | canary, or
    rolling: {max_surge: 1, max_unavailable: 0}
    canary: [{percent: 10, hold: 30s}, {percent: 50, hold: 30s}]
  proof: false, or {path: /, count: 10, …}
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import assert_never

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
)
from naru.formats.compose.interpolate import escape
from naru.formats.text import Plain
from naru.formats.tree import At, Scalar, Table
from naru.formats.units import duration, duration_text

KEY = "x-naru"
KNOWN = ("port", "address", "health", "strategy", "proof")
_STRATEGIES: Mapping[str, Strategy] = {
    "rolling": Rolling(),
    "recreate": Recreate(),
    "blue-green": BlueGreen(),
    "canary": Canary(),
}
_PROOF = ("count", "interval", *(field.name for field in fields(ProbeRequest)))


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
    return ProofPolicy(request, at["count"].integer(ProofPolicy().count), duration(at["interval"], 0.2))


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
    return {"count": proof.count, "interval": duration_text(proof.interval), **changed}


def only_known(at: At) -> None:
    """Raise Invalid for a name that `x-naru` does not have."""
    if at.given and not isinstance(at.node, Table):
        raise at.wrong("a mapping")
    for name, value in at.entries():
        if name not in KNOWN:
            raise value.unknown(KNOWN)
