"""Probes as health checks."""

from naru.domain.workload import Check, CommandCheck, Health, HttpCheck, TcpCheck
from naru.formats.loss import Losses, note_rest
from naru.formats.tree import At

PERIOD, TIMEOUT, FAILURES = 10.0, 1.0, 3
"""What a probe has where it does not say (core/v1 Probe)."""

_READ = (
    *("httpGet", "tcpSocket", "exec", "grpc"),
    *("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold"),
)


def read_health(container: At, port: int, losses: Losses) -> Health:
    """Return the health check: the readiness probe, else the liveness probe; the startup probe is time to start."""
    readiness, liveness, startup = (container[name] for name in ("readinessProbe", "livenessProbe", "startupProbe"))
    probe = readiness if readiness.meant else liveness
    if readiness.meant and liveness.meant:
        why = "an app has one health check; while it fails, an instance gets no requests"
        losses.add(container.path, "livenessProbe", why, "the readiness probe")
    if not probe.meant:
        return Health()
    check = _check(probe, port, losses)
    note_rest(probe, _READ, losses, "an instance is ready after one passing check")
    start = probe["initialDelaySeconds"].number()
    if startup.meant:
        tries = startup["failureThreshold"].integer(FAILURES) * startup["periodSeconds"].number(PERIOD)
        start = max(start, startup["initialDelaySeconds"].number() + tries)
    return Health(
        check,
        interval=probe["periodSeconds"].number() or PERIOD,
        timeout=probe["timeoutSeconds"].number() or TIMEOUT,
        retries=probe["failureThreshold"].integer() or FAILURES,
        start_period=start,
    )


def _check(probe: At, port: int, losses: Losses) -> Check:
    http, tcp, command = probe["httpGet"], probe["tcpSocket"], probe["exec"]
    if http.given:
        note_rest(http, ("path", "port"), losses, "Naru checks over plain HTTP, as it is")
        _same_port(http["port"], port, losses)
        return HttpCheck(http["path"].text("/") or "/")
    if command.given:
        return CommandCheck(command["command"].texts())
    if tcp.given:
        _same_port(tcp["port"], port, losses)
    else:
        losses.add(probe.path, "grpc", "Naru checks by HTTP, TCP or a command", "a TCP check")
    return TcpCheck()


def _same_port(at: At, port: int, losses: Losses) -> None:
    """Note a check of another port; a name is taken for the app's."""
    if at.text().isdecimal() and at.integer() != port:
        losses.add(at.path, f"a check of port {at.text()}", "Naru checks the app's port", f"port {port}")
