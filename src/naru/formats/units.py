"""Durations and sizes as the formats write them."""

import re
from decimal import Decimal

from naru.formats.tree import At

_DURATION = re.compile(r"(?:\d{1,12}(?:\.\d{1,350})?(?:ns|us|µs|ms|s|m|h|d))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d)")
_SECONDS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_BYTES = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*(?:([kmgt])i?b?|b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_QUANTITY = re.compile(r"(\d{1,18}(?:\.\d{0,9})?|\.\d{1,9})(?:([eE][-+]?\d{1,2})|(n|u|m|k|[MGTPE]|[KMGTPE]i))?")
_FACTORS = {
    **{suffix: Decimal(10) ** power for suffix, power in (("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3))},
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("MGTPE", 2)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}


def duration(at: At, default: float = 0.0) -> float:
    """Return seconds: `1m30s`, `2.5s`, `500ms` (Compose specification, specifying durations)."""
    if not at.given:
        return default
    text = at.text().strip()
    if text in ("0", ""):
        return 0.0
    if not _DURATION.fullmatch(text):
        raise at.invalid(f"is {text!r}, no duration", "write it as 30s or 1m30s")
    return float(sum(Decimal(number) * _SECONDS[unit] for number, unit in _PART.findall(text)))


def duration_text(seconds: float) -> str:
    """Return seconds as a duration that reads back as the same number."""
    return f"{format(Decimal(repr(float(seconds))).normalize(), 'f')}s"


def size(at: At) -> int:
    """Return bytes: `512m`, `1.5gb`, `1048576`; letters are powers of 1024 (Compose specification, byte values)."""
    text = at.text().strip()
    found = _BYTES.fullmatch(text)
    if not found:
        raise at.invalid(f"is {text!r}, no size", "write it as 512m or 2g")
    return int(Decimal(found[1]) * 1024 ** _POWERS[(found[2] or "").lower()])


def size_text(size: int) -> str:
    """Return bytes as a size that reads back as the same number."""
    for letter, power in (("g", 3), ("m", 2), ("k", 1)):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{letter}"
    return f"{size}b"


def quantity(at: At) -> Decimal:
    """Return a Kubernetes quantity: `500m`, `128Mi`, `1e3` (k8s.io/apimachinery, pkg/api/resource)."""
    text = at.text().strip()
    found = _QUANTITY.fullmatch(text)
    if not found:
        raise at.invalid(f"is {text!r}, no quantity", "write it as 500m or 128Mi")
    return Decimal(found[1] + (found[2] or "")) * _FACTORS[found[3] or ""]


def memory_quantity(size: int) -> str:
    """Return bytes as a quantity that means exactly as many."""
    for suffix, power in (("Gi", 3), ("Mi", 2), ("Ki", 1)):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{suffix}"
    return str(size)
