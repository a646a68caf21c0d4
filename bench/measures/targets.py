"""A hundred targets watched at once, and what one of them that hangs costs the others; the engines are in memory."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from tests.service.control.site import ME, Site, image, site, workload

from bench.figures import Figure, measured
from naru.control.worlds import Worlds
from naru.domain.release import Release, ReleaseState

TARGETS = 100
INSTANCES = 10
REPEATS = 200
LISTS = 20
SLOW = "target-050"


def measure() -> Iterator[Figure]:
    """Time how soon a change is seen, and how long a list takes, with every target well and with one that hangs."""
    well, first, hurt, lists = asyncio.run(_timed())
    day = datetime.now(UTC).date()
    yield measured(
        "targets-news",
        f"a change on one of {TARGETS} targets until it is seen, while another one hangs",
        hurt,
        unit="s",
        goal=0.05,
        better="lower",
        against="engines in memory",
        day=day,
    )
    yield measured(
        "targets-news-ratio",
        f"a change on one of {TARGETS} targets until it is seen: another one hanging over all well; 1 is no delay",
        [slow / quick for slow, quick in zip(sorted(hurt), sorted(well), strict=True)],
        unit="×",
        goal=1.2,
        better="lower",
        day=day,
    )
    yield measured(
        "targets-list-first",
        f"the first list of {TARGETS} targets after one began to hang; it is waited for 2 s",
        [first],
        unit="s",
        goal=2.5,
        better="lower",
        day=day,
    )
    yield measured(
        "targets-list",
        f"every further list of {TARGETS} targets while one hangs",
        lists,
        unit="s",
        goal=0.1,
        better="lower",
        day=day,
    )


async def _timed() -> tuple[list[float], float, list[float], list[float]]:
    with tempfile.TemporaryDirectory(prefix="naru-bench-") as scratch:
        async with site(Path(scratch)) as made:
            worlds = await _populated(made)
            await _news(made, worlds)  # until what the start began is over
            well = await _news(made, worlds)
            with ExitStack() as hanging:
                for call in ("describe", "observe", "apply", "remove"):
                    hanging.enter_context(made.engines[SLOW].hold(call))
                first = await _listed(worlds)
                lists = [await _listed(worlds) for _ in range(LISTS)]
                hurt = await _news(made, worlds)
            return well, first, hurt, lists


async def _populated(made: Site) -> Worlds:
    """Add the targets, with some instances on each."""
    await made.start()
    for number in range(1, TARGETS):
        engine = await made.target(f"target-{number:03}")
        runs = image("shop:1")
        engine.hold_image(runs)
        asked = workload(f"app-{number:03}", "shop:1", INSTANCES)
        release = Release(asked.app, 1, asked, runs, ReleaseState.LIVE, str(ME), made.clock())
        await engine.apply(release, INSTANCES, secrets={})
    worlds: Worlds = made.platform.pipeline.worlds
    await made.until(lambda: all(len(worlds[f"target-{n:03}"].apps) == 1 for n in range(1, TARGETS)))
    return worlds


async def _news(made: Site, worlds: Worlds) -> list[float]:
    """Take an instance away on one target after the other, and time until its world shows it."""
    seconds = []
    names = [name for name in worlds if name not in ("fake", SLOW)]
    for repeat in range(REPEATS):
        name = names[repeat % len(names)]
        app, engine = name.replace("target", "app"), made.engines[name]
        (one, *_) = engine.instances(app)
        began = time.perf_counter()
        with made.platform.bulletin.waiting(app) as news:
            engine.drift(one.id, f"its label is {repeat}")
            while not any(str(repeat) in what for i in worlds[name].instances(app) for what in i.drift):
                await news.wait()
                news.take()
        seconds.append(time.perf_counter() - began)
    return seconds


async def _listed(worlds: Worlds) -> float:
    began = time.perf_counter()
    found = await worlds.describe()
    if len(found) != TARGETS:
        raise RuntimeError(f"{len(found)} targets are listed")
    return time.perf_counter() - began
