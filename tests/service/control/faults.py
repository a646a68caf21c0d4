"""What the tests of failures share: the bad image, every strategy, and what coming back means."""

from tests.service.control.site import ME, image

from naru.domain.rollout import RolloutState
from naru.domain.workload import BlueGreen, Canary, CanaryStep, Recreate, Rolling

BAD = image("shop:2").reference
STRATEGIES = [Rolling(), Rolling(0, 1), Recreate(), BlueGreen(), Canary((CanaryStep(50, 0.0),))]


def kind(strategy: object) -> str:
    return type(strategy).__name__.lower()


async def came_back(naru, rollout) -> None:
    """Check that the first release is live again and alone."""
    assert rollout.state is RolloutState.FAILED
    await naru.settled()
    assert (await naru.store.apps.get("shop")).live == 1
    assert {naru.engine.releases[i.id].image for i in naru.engine.instances()} == {image("shop:1")}


async def update_to(naru, bad, **more):
    return await naru.end(await naru.apps.update("shop", image=bad, subject=ME))
