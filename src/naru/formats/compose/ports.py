"""The one port of an app, of all that a service names."""

from collections.abc import Iterator
from dataclasses import dataclass

from naru.formats.compose import lost
from naru.formats.loss import Losses
from naru.formats.tree import At


@dataclass(frozen=True, slots=True)
class Reach:
    """The port that the container listens on, the one that it is published as, 0 for any, and whether it is at all."""

    port: int
    published: int = 0
    is_published: bool = False


def read_reach(service: At, wanted: int, losses: Losses) -> Reach:
    """Return how a service is reached; `wanted` is the port that x-naru names, 0 where it names none.

    The first TCP port is taken, of those that are published before those that are only exposed; the port is 0 where
    there is none.
    """
    published = list(_published(service, losses))
    chosen = next((port for port in published if wanted in (0, _target(port))), None)
    exposed = list(_exposed(service))
    port = _target(chosen) if chosen else wanted or next((number for _, number in exposed if number), 0)
    for other in published:
        if other is not chosen:
            losses.add(other.path, _told(other), "an app has one port", f"port {port} is the app's")
    for at, number in exposed:
        if number != port:
            losses.add(at.path, at.text(), "an app has one port", f"port {port} is the app's")
    return Reach(port, _address(chosen, losses), is_published=True) if chosen else Reach(port)


def _published(service: At, losses: Losses) -> Iterator[At]:
    for port in service["ports"].items():
        if port["protocol"].text("tcp") == "tcp":
            yield port
        else:
            losses.add(port.path, _told(port), "the front door passes TCP on, nothing else")


def _exposed(service: At) -> Iterator[tuple[At, int]]:
    """Yield what is exposed and its TCP port, 0 where it is a range or something else."""
    for at in service["expose"].items():
        numbers, _, protocol = at.text().partition("/")
        if not (numbers.isascii() and numbers.replace("-", "", 1).isdecimal()):
            raise at.wrong("a port")
        yield at, int(numbers) if numbers.isdecimal() and protocol in ("", "tcp") else 0


def _address(port: At, losses: Losses) -> int:
    lost.note(port, lost.PORT, losses)
    if (mode := port["mode"].text("ingress")) != "ingress":
        losses.add(port.path, f"mode: {mode}", "the front door stands before every instance", "that")
    first, dash, _ = port["published"].text("0").partition("-")
    if not (first.isascii() and first.isdecimal() and len(first) <= 5):
        raise port["published"].wrong("a port")
    if dash:
        losses.add(port.path, f"published: {port['published'].text()}", "an app has one address", f"port {first}")
    return int(first)


def _target(port: At) -> int:
    if not port["target"].given:
        raise port.invalid("has no target", "name the port that the container listens on")
    return port["target"].integer()


def _told(port: At) -> str:
    return f"{port['published'].text()}:{port['target'].text()}/{port['protocol'].text('tcp')}".lstrip(":")
