"""The main job and its changes, from the request to the end."""

from naru.domain.rollout import RolloutState, StepName, StepState

DEPLOYMENT = [
    StepName.RESOLVE,
    StepName.GATE,
    StepName.PLACE,
    StepName.DISTRIBUTE,
    StepName.ROLL,
    StepName.PROVE,
    StepName.WATCH,
]


async def test_a_deployment_ends_live_with_every_step_stored(naru):
    rollout = await naru.deploy()

    assert rollout.state is RolloutState.SUCCEEDED, rollout.reason
    assert [step.name for step in rollout.steps] == DEPLOYMENT
    assert {step.state for step in rollout.steps} == {StepState.PASSED}
    assert all(step.ended_at and step.outcome for step in rollout.steps)
    assert rollout.proof.sent == 3
    assert rollout.proof.failed == 0
    await naru.settled()
