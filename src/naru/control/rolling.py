"""How instances are replaced, as a pure function from what is seen to what to do next.

The same plan serves every strategy, going back after a failure, and resuming after a crash, because it reads
where the rollout stands from the instances themselves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from naru.domain.instance import Instance, InstanceState
from naru.domain.kind import WorkloadKind
from naru.domain.release import Release
from naru.domain.workload import BlueGreen, Canary, CanaryStep, Recreate, Restart, Rolling, Strategy, Workload
from naru.engines.scale import leaving
from naru.routing.base import Upstream

EXITS_BEFORE_GIVING_UP = 3
_SHARES = 1_000_000
SHIFT = Canary((CanaryStep(10, 1.0), CanaryStep(25, 1.0), CanaryStep(50, 1.0), CanaryStep(75, 1.0)))
"""How the requests of an app that moves go over to its new target."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the planner sees.

    `new` are the instances of the revision that is wanted, `old` all others of the app, both without those that
    are already on their way out, which `leaving` counts. `phase` counts the canary steps that are done.
    """

    replicas: int
    new: Sequence[Instance]
    old: Sequence[Instance]
    phase: int = 0
    leaving: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """What should be so next.

    `new` is the count of new instances, `retire` those to take out of traffic, drain and stop. `share` is the new
    release's part of the traffic from 0 to 1; None gives every ready instance the same. `hold` asks to keep this
    picture for so many seconds and then to count the phase up. `complete` says that nothing is left to do.
    """

    new: int
    retire: frozenset[str] = frozenset()
    share: float | None = None
    hold: float | None = None
    complete: bool = False


def plan(strategy: Strategy, scene: Scene) -> Move:
    """Say the next move towards `replicas` ready new instances.

    Rolling never plans more than replicas + max_surge instances, nor fewer than replicas - max_unavailable ready
    ones unless there were fewer to begin with. Blue-green and canary keep the old instances: whoever proves the
    release retires them.
    """
    match strategy:
        case Rolling():
            return _rolling(strategy, scene)
        case Recreate():
            return _recreate(scene)
        case BlueGreen():
            return _blue_green(scene)
        case Canary():
            return _canary(strategy, scene)
        case _:
            assert_never(strategy)


def way(workload: Workload) -> Strategy:
    """Say how the workload's instances are replaced: what its kind needs comes before what was asked for.

    A run stands beside the earlier one until it has ended; a schedule goes before the next one comes, so that no
    moment has both; an instance that keeps data gives its place up before the next one takes it.
    """
    if workload.kind.runs_once:
        return BlueGreen()
    if workload.kind is WorkloadKind.SCHEDULED:
        return Recreate()
    if workload.kind is WorkloadKind.STATEFUL and isinstance(workload.strategy, Rolling):
        return Rolling(max_surge=0, max_unavailable=max(1, workload.strategy.max_unavailable))
    return workload.strategy


def way_over(workload: Workload) -> Strategy:
    """Say how a release goes over to another target: a part of the requests at a time, unless it cannot run twice.

    What keeps data cannot: each of the two would change its own.
    """
    match way(workload):
        case _ if workload.volumes:
            return Recreate()
        case Recreate() | Canary() as chosen:
            return chosen
        case _ if workload.kind is WorkloadKind.STATEFUL:
            return Recreate()
        case _:
            return SHIFT if workload.served else BlueGreen()


def standing(release: Release, seen: Sequence[Instance]) -> list[Instance]:
    """Return the instances of the release's revision that count: of a schedule what stands for it, not its runs."""
    scheduled = release.workload.kind is WorkloadKind.SCHEDULED
    return [
        i
        for i in seen
        if i.revision == release.revision
        and i.state is not InstanceState.STOPPING
        and (i.state is InstanceState.SCHEDULED) is scheduled
    ]


def count(workload: Workload, new: int, old: int) -> int:
    """Say how many instances there should be where `new` are; the engine's own choice counts once the `old` are gone.

    While there are old ones, what the release begins with is the least, as the old ones' load goes over to it.
    """
    if workload.autoscale is None or not workload.replicas or not new:
        return workload.count
    least = workload.replicas if old else workload.autoscale.min
    return min(max(new, least), workload.autoscale.max)


def serves_throughout(strategy: Strategy, replicas: int) -> bool:
    """Say whether the strategy promises that some instance is ready at every moment of the rollout."""
    match strategy:
        case Rolling():
            return replicas > strategy.max_unavailable
        case Recreate():
            return False
        case BlueGreen() | Canary():
            return replicas > 0
        case _:
            assert_never(strategy)


def broken(workload: Workload, new: Sequence[Instance]) -> Instance | None:
    """Return the new instance that shows the release cannot work, if there is one."""
    final = workload.restarts is Restart.NEVER if workload.kind.ends else workload.restart is not Restart.ALWAYS
    for instance in new:
        ended = instance.state is InstanceState.EXITED and final
        sick = instance.state is InstanceState.UNHEALTHY
        if not instance.sound and (sick or ended or instance.oom_killed or instance.exits >= EXITS_BEFORE_GIVING_UP):
            return instance
    return None


def upstreams(new: Sequence[Instance], old: Sequence[Instance], share: float | None) -> tuple[Upstream, ...]:
    """Weigh the ready instances so that the new ones together get `share` of the traffic.

    A side without a ready instance leaves all traffic to the other.
    """
    fresh = [i.address for i in new if i.ready and i.address]
    stale = [i.address for i in old if i.ready and i.address]
    if share is None or not fresh or not stale:
        only = fresh if stale == [] or share == 1 else stale if fresh == [] else [*fresh, *stale]
        return tuple(Upstream(address) for address in sorted(only))
    weighed = [(address, share / len(fresh)) for address in fresh] + [
        (address, (1 - share) / len(stale)) for address in stale
    ]
    return tuple(Upstream(address, round(part * _SHARES)) for address, part in sorted(weighed) if part > 0)


def _rolling(strategy: Rolling, scene: Scene) -> Move:
    room = scene.replicas + strategy.max_surge - len(scene.old)
    new = max(min(scene.replicas, room), min(len(scene.new), scene.replicas))
    ready_new = min(_sound(scene.new), scene.replicas)
    spare = ready_new + _sound(scene.old) - (scene.replicas - strategy.max_unavailable)
    useless = [i.id for i in scene.old if not i.sound]
    useful = [i.id for i in scene.old if i.sound]
    retire = _surplus(scene).union(useless, useful[: max(0, spare)])
    return Move(new, retire, complete=not scene.old and _filled(scene))


def _recreate(scene: Scene) -> Move:
    if scene.old or scene.leaving:
        return Move(0, _surplus(scene).union(i.id for i in scene.old))
    return Move(scene.replicas, _surplus(scene), complete=_filled(scene))


def _blue_green(scene: Scene) -> Move:
    switched = _filled(scene)
    return Move(scene.replicas, _surplus(scene), share=1.0 if switched else 0.0, complete=switched)


def _canary(strategy: Canary, scene: Scene) -> Move:
    done = strategy.steps[scene.phase - 1].percent / 100 if scene.phase else 0.0
    if not scene.old or scene.phase >= len(strategy.steps):
        full = _filled(scene)
        return Move(scene.replicas, _surplus(scene), share=1.0 if full or not scene.old else done, complete=full)
    step = strategy.steps[scene.phase]
    need = max(math.ceil(scene.replicas * step.percent / 100), min(len(scene.new), scene.replicas))
    if _sound(scene.new) < need:
        return Move(need, _surplus(scene), share=done)
    return Move(need, _surplus(scene), share=step.percent / 100, hold=step.seconds)


def _surplus(scene: Scene) -> frozenset[str]:
    return frozenset(i.id for i in leaving(scene.new, len(scene.new) - scene.replicas))


def _filled(scene: Scene) -> bool:
    return len(scene.new) == scene.replicas == _sound(scene.new)


def _sound(instances: Sequence[Instance]) -> int:
    return sum(instance.sound for instance in instances)
