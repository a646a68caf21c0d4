"""Where an app should run: a pure choice among all targets, the same for the same input, with its reasons.

Needs filter, wishes score. A target's score depends on no other target, so that to add one, or to name them in another
order, changes nothing about the rest.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from naru.control.weights import (
    CROWD,
    HALF_FOOTPRINT,
    HALF_RECOVERY,
    HALF_START,
    UNMEASURED,
    WEIGHTS,
    suitability,
)
from naru.domain.choice import Candidate, Choice, Criterion, Figures, Share
from naru.domain.errors import Conflict, Unavailable
from naru.domain.image import Image
from naru.domain.target import Feature, Target, TargetState, lacking
from naru.domain.workload import Workload

UNPACKED_PER_COMPRESSED = 3


@dataclass(frozen=True, slots=True)
class Load:
    """What other apps were promised on a target: instances, and the sum of their limits in cores and bytes."""

    instances: int = 0
    cpus: float = 0.0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Prospect:
    """One target as it is now: what it says of itself, what others were promised there, and what was measured."""

    target: Target
    load: Load = Load()
    figures: Figures = Figures()


@dataclass(frozen=True, slots=True)
class Survey:
    """All that a choice looks at beside the workload.

    `current` is the target where the app runs, `data` the one that holds its volumes, `near` the one of the app that
    it wants to be near, `project` the one where most other apps of its project run, whose network reaches no further;
    each is empty where there is none. `image` is None while nobody has looked it up. `carried` says that the volumes go
    along.
    """

    prospects: tuple[Prospect, ...]
    current: str = ""
    data: str = ""
    near: str = ""
    project: str = ""
    image: Image | None = None
    carried: bool = False


def choose(workload: Workload, survey: Survey) -> Choice:
    """Score every target. The app stays where it is while it can, else goes to the best, of equals the first by name.

    The choice's target is empty when none can run the workload; `placed` turns that into an error.
    """
    candidates = sorted(
        (_candidate(workload, survey, prospect) for prospect in survey.prospects),
        key=lambda one: (bool(one.refusals), -one.score, one.target),
    )
    able = [one for one in candidates if not one.refusals]
    current = next((one for one in able if one.target == survey.current), None)
    chosen = current or next(iter(able), None)
    if chosen:
        reason = _reason(chosen, able, current is not None)
    else:
        reason = "; ".join(_unknown(workload, survey)) or _despair(candidates)
    return Choice(workload.app, workload.kind, chosen.target if chosen else "", reason, tuple(candidates))


def directed(workload: Workload, survey: Survey, target: str) -> Choice:
    """Score every target, and choose the one that was named; the choice's target is empty when that will not do."""
    choice = choose(workload, replace(survey, current=""))
    named = next((one for one in choice.candidates if one.target == target), None)
    if named is None:
        return replace(choice, target="", reason=f"there is no target {target}")
    if named.refusals:
        return replace(choice, target="", reason=_despair([named]))
    reason = f"{named.target} ({named.engine}), as was asked for, with {named.score:.0f} of 100"
    return replace(choice, target=target, reason=reason)


def elsewhere(workload: Workload, survey: Survey) -> Choice:
    """Choose as if for a new app, among all targets but the one where it runs."""
    choice = choose(workload, replace(survey, current=""))
    others = tuple(one for one in choice.candidates if one.target != survey.current)
    able = [one for one in others if not one.refusals]
    if not able:
        reason = _despair(others) if others else "there is no other target"
        return replace(choice, target="", reason=reason, candidates=others)
    return replace(choice, target=able[0].target, reason=_reason(able[0], able, stays=False), candidates=others)


def placed(choice: Choice, survey: Survey) -> Target:
    """Return the chosen target.

    Without one raise Unavailable when a target that does not answer might do, so that it is worth trying again, else
    Conflict; both name what is lacking where.
    """
    for prospect in survey.prospects:
        if prospect.target.name == choice.target:
            return prospect.target
    away = {p.target.name for p in survey.prospects if p.target.problem}
    if not survey.prospects or any(one.target in away and len(one.refusals) == 1 for one in choice.candidates):
        raise Unavailable(choice.reason, "start the engine, then try again; naru doctor tells more")
    mend = "ask for another place or for less, or make room"
    raise Conflict(f"no target can run {choice.app}: {choice.reason}", mend)


def _candidate(workload: Workload, survey: Survey, prospect: Prospect) -> Candidate:
    target = prospect.target
    refusals = tuple(_refusals(workload, survey, target))
    shares = () if refusals else tuple(_shares(workload, survey, prospect))
    score = round(sum(share.points for share in shares), 4)
    return Candidate(target.name, target.engine, target.site, score, shares, refusals)


# --- needs ------------------------------------------------------------------------------------------------------


def _wanted(workload: Workload) -> Iterator[tuple[str, Callable[[Target], str], Sequence[str]]]:
    """Yield what kinds of places the workload may name, what a target has of each, and which it names."""
    yield "target", attrgetter("name"), workload.affinity.targets
    yield "engine", attrgetter("engine"), workload.affinity.engines
    yield "site", attrgetter("site"), workload.affinity.sites


def _unknown(workload: Workload, survey: Survey) -> Iterator[str]:
    """Yield which of the named places are nowhere."""
    for what, of, allowed in _wanted(workload):
        if allowed and survey.prospects and not any(of(prospect.target) in allowed for prospect in survey.prospects):
            yield f"there is no {what} {' or '.join(allowed)}"


def _refusals(workload: Workload, survey: Survey, target: Target) -> Iterator[str]:
    for what, of, allowed in _wanted(workload):
        if allowed and of(target) not in allowed:
            yield f"it may run only on the {what} {' or '.join(allowed)}"
    elsewhere = survey.data not in ("", target.name) and any(p.target.name == survey.data for p in survey.prospects)
    if elsewhere and not survey.carried:
        yield f"its volumes are on {survey.data}"
    if survey.project != target.name and any(
        p.target.name == survey.project and stays(p.target) for p in survey.prospects
    ):
        yield f"the other apps of its project are on {survey.project}"
    if target.state is TargetState.CORDONED and target.name != survey.current:
        yield "it is cordoned"
    if target.problem:  # what it says of itself below may be old, or nothing
        yield target.problem
        return
    if missing := lacking(workload, target.features):
        yield f"{target.engine} cannot do {', '.join(missing)}"
    if elsewhere and survey.carried and Feature.VOLUME_COPIES not in target.features:
        yield f"{target.name} takes no copies of volumes"
    yield from _too_large(workload, survey.image, target)


def stays(target: Target) -> bool:
    """Whether apps may stay on a target: one that is cordoned or away keeps no project together."""
    return target.state is TargetState.ACTIVE and not target.problem


def _too_large(workload: Workload, image: Image | None, target: Target) -> Iterator[str]:
    room, asked = target.capacity, workload.resources
    if asked.memory and asked.memory > room.memory:
        yield f"an instance may use {_mib(asked.memory)}, the target has {_mib(room.memory)}"
    if asked.cpus and asked.cpus > room.cpus:
        yield f"an instance may use {asked.cpus:g} cores, the target has {room.cpus:g}"
    if image is None:
        return
    if (target.platform.os, target.platform.architecture) != (image.platform.os, image.platform.architecture):
        yield f"the image is for {image.platform}, the target is {target.platform}"
    need = image.size * UNPACKED_PER_COMPRESSED
    if room.disk_free and need > room.disk_free:
        yield f"the image needs about {_mib(need)} of disk, {_mib(room.disk_free)} are free"


# --- wishes -----------------------------------------------------------------------------------------------------


def _shares(workload: Workload, survey: Survey, prospect: Prospect) -> Iterator[Share]:
    for weight in WEIGHTS:
        score, reason = _judge(weight.criterion, workload, survey, prospect)
        yield Share(weight.criterion, round(score, 4), weight.points[workload.kind], reason)


def _judge(criterion: Criterion, workload: Workload, survey: Survey, prospect: Prospect) -> tuple[float, str]:
    """Return a score from 0 to 1 and the reason for it."""
    figures, target = prospect.figures, prospect.target
    match criterion:
        case Criterion.ROOM:
            return _room(workload, prospect)
        case Criterion.NEARNESS:
            return _nearness(workload, survey, target)
        case Criterion.START:
            return _measured(figures.start, HALF_START, "an instance serves after {:.2f} s")
        case Criterion.RECOVERY:
            return _measured(figures.recovery, HALF_RECOVERY, "a killed instance is replaced after {:.2f} s")
        case Criterion.FOOTPRINT:
            taken = None if figures.footprint is None else figures.footprint / 1024**2
            return _measured(taken, HALF_FOOTPRINT / 1024**2, "the engine itself takes {:.0f} MiB")
        case Criterion.NODES:
            nodes = target.capacity.nodes
            return 1 - 1 / max(1, nodes), f"a lost node is one of {nodes}" if nodes > 1 else "a lost node is all of it"
        case Criterion.SUITABILITY:
            row = suitability(target.engine, workload.kind)
            return row.score, f"{row.why} ({row.source.split(',')[0]})"


def _room(workload: Workload, prospect: Prospect) -> tuple[float, str]:
    """Score by the scarcest of memory, cores and number, with the workload there; 1 is empty, 1/2 wholly promised."""
    room, load, asked = prospect.target.capacity, prospect.load, workload.resources
    count = workload.count
    instances = load.instances + count
    parts = {
        "memory": (load.memory + count * (asked.memory or 0), room.memory),
        "cores": (load.cpus + count * (asked.cpus or 0), room.cpus),
        "places": (instances, room.cpus * CROWD),
    }
    use, scarce = max((used / most if most else float(used > 0), name) for name, (used, most) in parts.items())
    return 1 / (1 + use), f"with it {use:.0%} of the {scarce} would be promised ({_counted(instances)})"


def _nearness(workload: Workload, survey: Survey, target: Target) -> tuple[float, str]:
    app = workload.affinity.near
    site = next((p.target.site for p in survey.prospects if p.target.name == survey.near), "")
    if not app:
        return 1.0, "it need not be near another app"
    if not survey.near:
        return 1.0, f"{app}, which it wants to be near, runs nowhere"
    if survey.near == target.name:
        return 1.0, f"{app} runs here"
    return (0.5, f"{app} runs at the same site") if site == target.site else (0.0, f"{app} runs at another site")


def _measured(value: float | None, half: float, words: str) -> tuple[float, str]:
    if value is None:
        return UNMEASURED, "not measured: naru compare does"
    return half / (half + value), words.format(value)


# --- words ------------------------------------------------------------------------------------------------------


def _reason(chosen: Candidate, able: Sequence[Candidate], stays: bool) -> str:
    named = f"{chosen.target} ({chosen.engine})"
    if stays:
        return f"{named}, where it runs already"
    others = [one for one in able if one is not chosen]
    if not others:
        return f"{named}, which alone can run it"
    second = others[0]
    gains = {a.criterion: a.points - b.points for a, b in zip(chosen.shares, second.shares, strict=True)}
    better = [str(criterion) for criterion, gain in sorted(gains.items(), key=lambda item: -item[1]) if gain > 0.5]
    scores = f"{named} with {chosen.score:.0f} of 100, before {second.target} with {second.score:.0f}"
    if chosen.score == second.score:
        return f"{scores}, by its name alone"
    return f"{scores}, by {' and '.join(better[:2])}" if better else f"{scores}, by little"


def _despair(candidates: Sequence[Candidate]) -> str:
    why = sorted((one.target, "; ".join(one.refusals)) for one in candidates)
    return "; ".join(f"{name}: {lack}" for name, lack in why) or "there is no target"


def _counted(instances: int) -> str:
    return f"{instances} instance{'' if instances == 1 else 's'}"


def _mib(size: int) -> str:
    return f"{size / 1024**2:.0f} MiB"
