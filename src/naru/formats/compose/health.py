"""A service's health check."""

from collections.abc import Sequence

from naru.domain.workload import Check, CommandCheck, Health
from naru.formats.loss import Losses
from naru.formats.tree import At, Scalar
from naru.formats.units import duration

INTERVAL = TIMEOUT = 30.0
RETRIES = 3
"""What a check of Compose has where it does not say (Dockerfile reference, HEALTHCHECK)."""


def read_health(at: At, ours: Check | None, losses: Losses) -> Health:
    """Return the health of `healthcheck`; `ours` is the check of x-naru, which wins over its command."""
    if not at.given:
        return Health(ours) if ours else Health()
    if at["start_interval"].meant:
        why = "until an instance is ready, Naru or the engine chooses how often to check it"
        losses.add(at.path, f"start_interval: {at['start_interval'].text()}", why, "that")
    words = _words(at["test"])
    is_off = at["disable"].boolean() or words[:1] == ("NONE",)
    if ours:
        if words and not is_off:
            losses.add(at.path, "test", "x-naru asks for another check", "that of x-naru")
        return _timed(at, Health(ours))
    if is_off:
        losses.add(at.path, "no health check", "an instance is ready when a check passes", "a TCP check")
        return Health()
    if not words:
        losses.add(at.path, "the image's own check", "Naru runs the checks that it is told", "a TCP check")
        return _timed(at, Health())
    return _timed(at, Health(CommandCheck(_command(at["test"], words)), INTERVAL, TIMEOUT, RETRIES, 0.0))


def _timed(at: At, default: Health) -> Health:
    """Return the health with what is said of its times; 0 stands for the default, as it does in Docker."""
    return Health(
        default.check,
        interval=duration(at["interval"]) or default.interval,
        timeout=duration(at["timeout"]) or default.timeout,
        retries=at["retries"].integer() or default.retries,
        start_period=duration(at["start_period"], default.start_period),
    )


def _words(test: At) -> tuple[str, ...]:
    return (test.text(),) if isinstance(test.node, Scalar) and test.given else test.texts()


def _command(test: At, words: Sequence[str]) -> tuple[str, ...]:
    if isinstance(test.node, Scalar):
        return "/bin/sh", "-c", words[0]
    match tuple(words):
        case ("CMD", *rest) if rest:
            return tuple(rest)
        case ("CMD-SHELL", text):
            return "/bin/sh", "-c", text
        case _:
            raise test.invalid("is no check", 'write ["CMD", "program", "argument"], ["CMD-SHELL", "text"] or ["NONE"]')
