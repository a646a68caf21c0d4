"""What one look at everything costs: many instances on the engine in memory, nothing wrong with any of them."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tests.service.control.site import Site, image, site, workload

from bench.figures import Figure, measured
from naru.domain.app import App, AppState
from naru.domain.workload import Address

REPEATS = 7
SIZES = (2_500, 5_000, 10_000)
APPS = 100


def measure() -> Iterator[Figure]:
    """Time passes over ever more instances of as many apps."""
    cost = {size: asyncio.run(_passes(size)) for size in SIZES}
    day = datetime.now(UTC).date()
    for size in SIZES:
        yield measured(
            f"reconcile-{size:05}",
            f"one reconcile pass over {size:,} instances of {APPS} apps, in CPU",
            cost[size],
            unit="s",
            goal=1.0 if size == SIZES[-1] else None,
            better="lower",
            against="the engine in memory",
            day=day,
        )
    yield measured(
        "reconcile-growth",
        f"cost of {SIZES[-1]:,} instances over that of {SIZES[0]:,}; {SIZES[-1] // SIZES[0]} is linear",
        [large / small for large, small in zip(cost[SIZES[-1]], cost[SIZES[0]], strict=True)],
        unit="×",
        goal=1.1 * SIZES[-1] / SIZES[0],
        better="lower",
        day=day,
    )


async def _passes(instances: int) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="naru-bench-") as scratch:
        async with site(Path(scratch)) as made:
            platform = made.build()
            await _populate(made, instances // APPS)
            (world,) = platform.pipeline.worlds.values()
            await world.look_at_all()
            await platform.reconciler.reconcile()
            seconds = []
            for _ in range(REPEATS):
                started = time.process_time()
                await world.look_at_all()
                repaired = await platform.reconciler.reconcile()
                seconds.append(time.process_time() - started)
                if repaired:
                    raise RuntimeError(f"{repaired} apps needed a repair, so this was no quiet pass")
            return seconds


async def _populate(made: Site, replicas: int) -> None:
    runs = image("shop:1")
    made.engine.hold_image(runs)
    for number in range(APPS):
        name = f"app-{number:03}"
        address = Address(port=20000 + number)
        app = App(name, AppState.NEW, address, 0, "bench", made.clock(), target="fake")
        await made.store.apps.create(app)
        asked = replace(workload(name, "shop:1", replicas), address=address)
        release = await made.store.releases.add(name, asked, runs, "bench", made.clock())
        await made.store.releases.go_live(name, release.number)
        await made.engine.apply(release, replicas, secrets={})
    made.engine.tick()
