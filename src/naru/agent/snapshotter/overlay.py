"""From a snapshot to what containerd mounts. Pure: paths in, mounts out."""

from collections.abc import Sequence
from pathlib import Path

from naru.agent.snapshotter.values import Lower, Mount

_BIND = "rbind"


def mounts(own: Path, layers: Sequence[Path], claimed: Lower | None, *, writable: bool) -> tuple[Mount, ...]:
    """Return the mounts of a snapshot with its `own` directory over `layers`, uppermost first, over what is `claimed`.

    `own` holds `fs` and `work`. What a view shows is never written to: its own directory is left out.
    """
    lowers = [str(layer) for layer in layers] + ([claimed.lowerdir] if claimed else [])
    if writable:
        if not lowers:
            return (Mount("bind", str(own / "fs"), ("rw", _BIND)),)
        options = (
            *_extra(claimed),
            f"workdir={own / 'work'}",
            f"upperdir={own / 'fs'}",
            f"lowerdir={':'.join(lowers)}",
        )
        return (Mount("overlay", "overlay", options),)
    if not lowers:
        return (Mount("bind", str(own / "fs"), ("ro", _BIND)),)
    if len(lowers) == 1 and ":" not in lowers[0]:
        return (Mount("bind", lowers[0], ("ro", _BIND)),)
    return (Mount("overlay", "overlay", (*_extra(claimed), "ro", f"lowerdir={':'.join(lowers)}")),)


def _extra(claimed: Lower | None) -> tuple[str, ...]:
    return (*(claimed.options if claimed else ()), "index=off")
