"""Where an app should run, as a pure choice with its reasons."""

from collections.abc import Sequence
from dataclasses import dataclass

from naru.domain.errors import Conflict, Unavailable
from naru.domain.image import Image
from naru.domain.target import Target, lacking
from naru.domain.workload import Workload

UNPACKED_PER_COMPRESSED = 3


@dataclass(frozen=True, slots=True)
class Placement:
    """The chosen target, why it was chosen, and why each of the others was not."""

    target: Target
    reason: str
    runners_up: tuple[tuple[str, str], ...] = ()


def place(workload: Workload, image: Image, targets: Sequence[Target], current: str = "") -> Placement:
    """Choose a target that can run the workload: the current one when it still can, else the emptiest.

    Raises Unavailable when no target answers, Conflict when none of them has what the workload needs; both name
    what is lacking where.
    """
    wants = {target.name: _lacks(workload, image, target) for target in targets}
    fit = [target for target in targets if not wants[target.name]]
    if not fit:
        why = "; ".join(f"{name}: {lack}" for name, lack in sorted(wants.items())) or "there is no target"
        if all(target.problem for target in targets):
            raise Unavailable(why, "start the engine, then try again; naru doctor tells more")
        raise Conflict(f"no target can run {workload.app}: {why}", "ask for less, or make room")
    best = min(fit, key=lambda target: (target.name != current, target.capacity.instances, target.name))
    reason = f"{best.name} ({best.engine} {best.version})" + (", where it runs already" if best.name == current else "")
    others = tuple((t.name, wants[t.name] or "has more instances") for t in targets if t is not best)
    return Placement(best, reason, others)


def _lacks(workload: Workload, image: Image, target: Target) -> str:
    if target.problem:
        return target.problem
    if missing := lacking(workload, target.features):
        return f"{target.engine} cannot do {', '.join(missing)}"
    if (target.platform.os, target.platform.architecture) != (image.platform.os, image.platform.architecture):
        return f"the image is for {image.platform}, the target is {target.platform}"
    if workload.resources.memory and workload.resources.memory > target.capacity.memory:
        return f"an instance may use {_mib(workload.resources.memory)}, the target has {_mib(target.capacity.memory)}"
    if workload.resources.cpus and workload.resources.cpus > target.capacity.cpus:
        return f"an instance may use {workload.resources.cpus:g} cores, the target has {target.capacity.cpus:g}"
    need = image.size * UNPACKED_PER_COMPRESSED
    if target.capacity.disk_free and need > target.capacity.disk_free:
        return f"the image needs about {_mib(need)} of disk, {_mib(target.capacity.disk_free)} are free"
    return ""


def _mib(size: int) -> str:
    return f"{size / 1024**2:.0f} MiB"
