"""What a choice looks at beside the targets, gathered from the store."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from statistics import median

from naru.control.choose import Load, Prospect, Survey, stays
from naru.domain.app import App, AppState
from naru.domain.choice import Figures
from naru.domain.comparison import Comparison, Measure
from naru.domain.errors import NotFound
from naru.domain.image import Image
from naru.domain.release import Release
from naru.domain.rollout import Kind
from naru.domain.target import Target
from naru.domain.workload import Workload
from naru.store import Store

_PAGE = 500
_COMPARED = 20
"""How many comparisons to look back for a target's figures."""
_BACK = 20
"""How many releases to look back for one that was live."""


async def survey(store: Store, targets: Sequence[Target], workload: Workload, *, image: Image | None = None) -> Survey:
    """Look at what runs on the targets, and where the app and its data are."""
    others = await _others(store, workload.app) if len(targets) > 1 else ()
    loads = _loads(others)
    compared = await store.comparisons.latest(_COMPARED)
    app = await _app(store, workload.app)
    near = await _app(store, workload.affinity.near)
    return Survey(
        prospects=tuple(
            Prospect(target, loads.get(target.name, Load()), figures(target.name, compared)) for target in targets
        ),
        current=_home(app),
        data=await _data(store, app) if app and workload.volumes else "",
        near=_home(near),
        project=_project(others, workload.project, {target.name for target in targets if stays(target)}),
        image=image,
    )


def figures(target: str, compared: Sequence[Comparison]) -> Figures:
    """Return the medians that were measured on a target last; `compared` are the comparisons, newest first."""

    def latest(measure: Measure) -> float | None:
        found = (one.of(target, measure) for one in compared)
        return next((median(result.values) for result in found if result and result.values), None)

    return Figures(latest(Measure.START_1), latest(Measure.CRASH), latest(Measure.MEMORY))


async def _others(store: Store, app: str) -> Sequence[tuple[str, Workload]]:
    """Return the target and the live workload of every other app."""
    homes = {app.name: app.target async for app in _apps(store)}
    homes |= {rollout.app: rollout.target for rollout in await store.rollouts.unended() if rollout.target}
    live = await store.releases.live()
    return [(homes.get(release.app, ""), release.workload) for release in live if release.app != app]


def _loads(others: Sequence[tuple[str, Workload]]) -> Mapping[str, Load]:
    """Add up by target what the apps were promised."""
    loads: defaultdict[str, Load] = defaultdict(Load)
    for target, workload in others:
        loads[target] = _with(loads[target], workload)
    return loads


def _project(others: Sequence[tuple[str, Workload]], project: str, staying: Collection[str]) -> str:
    """Return the target where most apps of the project are or go to, of equals the first by name; empty for none."""
    counts = Counter(
        target for target, workload in others if project and workload.project == project and target in staying
    )
    return min(counts, key=lambda target: (-counts[target], target), default="")


def _with(load: Load, workload: Workload) -> Load:
    count, asked = workload.count, workload.resources
    return Load(
        load.instances + count, load.cpus + count * (asked.cpus or 0), load.memory + count * (asked.memory or 0)
    )


async def _apps(store: Store) -> AsyncIterator[App]:
    after = ""
    while apps := await store.apps.page(after, _PAGE):
        for app in apps:
            yield app
        after = apps[-1].name


async def _app(store: Store, name: str) -> App | None:
    try:
        return await store.apps.get(name, include_removed=True) if name else None
    except NotFound:
        return None


def _home(app: App | None) -> str:
    return app.target if app and app.state is not AppState.REMOVED else ""


async def _data(store: Store, app: App) -> str:
    """Return the target that holds the app's volumes: they outlive the app, unless they were to go with it."""
    if app.state is AppState.REMOVED:
        newest = await store.rollouts.page(app.name, limit=1)
        if newest and newest[0].kind is Kind.PURGE:
            return ""
    earlier: list[Release] = await store.releases.page(app.name, limit=_BACK)
    return app.target if any(one.state.was_live and one.workload.volumes for one in earlier) else ""
