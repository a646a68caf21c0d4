"""The server is killed before each call to the engine, the door and the store, one after the other.

Whatever was under way is resumed or rolled back at the next start: never half-done, and nothing is left over.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.service.control.site import ME, PATIENCE, Site, workload

from naru.domain.errors import NotFound
from naru.domain.rollout import Rollout, RolloutState
from naru.domain.workload import BlueGreen, Canary, CanaryStep, Recreate, Rolling

MOST_CALLS = 400
STRATEGIES = {
    "rolling": Rolling(),
    "recreate": Recreate(),
    "blue-green": BlueGreen(),
    "canary": Canary((CanaryStep(50, 0.0),)),
}

Ask = Callable[[Site], Awaitable[Rollout]]


async def kill_everywhere(naru: Site, prepare: Callable[[Site], Awaitable[object]], ask: Ask) -> list[Rollout]:
    """Do `prepare`, then `ask` and die at call 1; again and die at call 2; until the rollout outruns the bomb."""
    ended = []
    for at in range(1, MOST_CALLS):
        await prepare(naru)
        rollout = await ask(naru)
        naru.fuse.light(at)
        burning = asyncio.create_task(naru.fuse.burnt.wait())
        ending = asyncio.create_task(_ended(naru, rollout.id))
        await asyncio.wait([burning, ending], return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
        outran = ending.done() and not naru.fuse.dead
        where = "" if outran else naru.fuse.calls[-1]
        for task in (burning, ending):
            task.cancel()
        await asyncio.wait([burning, ending])

        await naru.kill()
        await naru.start()
        end = await naru.end(rollout)
        try:
            await naru.settled(rollout.app)
        except AssertionError as error:
            raise AssertionError(f"killed at call {at}, {where}: {error}") from None
        assert end.state is RolloutState.SUCCEEDED, f"killed at call {at}, {where}: {end.reason}"
        ended.append(end)
        if outran:
            return ended
    raise AssertionError("the rollout never ended by itself")


async def _ended(naru: Site, rollout: str) -> None:
    while not (await naru.store.rollouts.get(rollout)).state.ended:  # noqa: ASYNC110 - asked of the store alone
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_an_update_goes_on_wherever_the_server_was_killed(naru, strategy):
    chosen = STRATEGIES[strategy]
    await naru.deploy(replicas=2, strategy=chosen)
    images = ["shop:2", "shop:3"]

    async def prepare(site: Site) -> None:
        images.reverse()

    async def update(site: Site) -> Rollout:
        return await site.apps.update("shop", image=images[0], subject=ME)

    assert len(await kill_everywhere(naru, prepare, update)) > 20


async def test_a_first_deployment_goes_on_wherever_the_server_was_killed(naru):
    async def prepare(site: Site) -> None:
        try:
            rollout = await site.apps.remove("shop", subject=ME)
        except NotFound:
            return
        await site.end(rollout)

    async def deploy(site: Site) -> Rollout:
        return await site.apps.deploy(workload(replicas=2), subject=ME)

    assert len(await kill_everywhere(naru, prepare, deploy)) > 20


async def test_a_removal_goes_on_wherever_the_server_was_killed(naru):
    async def prepare(site: Site) -> None:
        await site.deploy(replicas=2)

    async def remove(site: Site) -> Rollout:
        return await site.apps.remove("shop", subject=ME)

    await kill_everywhere(naru, prepare, remove)


async def test_scaling_goes_on_wherever_the_server_was_killed(naru):
    await naru.deploy(replicas=1)
    counts = [3, 1]

    async def prepare(site: Site) -> None:
        counts.reverse()

    async def scale(site: Site) -> Rollout:
        return await site.apps.scale("shop", replicas=counts[0], subject=ME)

    await kill_everywhere(naru, prepare, scale)
