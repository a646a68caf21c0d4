"""The main job on screen: the sample app deployed, proven and shown."""

import sys
from contextlib import suppress

from naru.cli.exits import told
from naru.config import Settings
from naru.control.accounts import ADMIN
from naru.domain.account import Subject
from naru.domain.errors import NaruError, NotFound
from naru.domain.proof import ProbeRequest
from naru.domain.rollout import Rollout, RolloutState, StepState
from naru.domain.workload import Health, HttpCheck, Workload
from naru.log import configure
from naru.main.serve import serving
from naru.main.wiring import House
from naru.oci.sample import SAMPLE, SAMPLE_PORT, sample_image

APP = "hello"
ME = Subject(ADMIN, "naru run")
_MARKS = {StepState.PASSED: "✓", StepState.FAILED: "✗"}


async def run(settings: Settings, *, replicas: int, check: bool) -> int:
    """Serve, deploy the sample and prove it; with `check` stop all of it again. Returns the exit code."""
    configure("warning" if settings.log_level == "info" else settings.log_level)
    try:
        async with serving(settings) as (house, stopped):
            _say(f"· the server answers at {settings.url}")
            here_before = await _is_deployed(house)
            proven = await _deploy(house, replicas)
            if check:
                await _stop(house, keep_app=here_before)
                _say("", "proven: the main job works on this machine" if proven else "not proven")
                return 0 if proven else 1
            await _greet(house, settings)
            await stopped.wait()
            _say("", "The server stops. The apps and the front door go on; start the server again with ./run")
            return 0
    except NaruError as error:
        print(told(error), file=sys.stderr)
        return 1


async def _is_deployed(house: House) -> bool:
    with suppress(NotFound):
        await house.platform.apps.status(APP)
        return True
    return False


async def _deploy(house: House, replicas: int) -> bool:
    image = await sample_image(house.images)
    _say(f"· the sample image is assembled: {image.reference}, {image.digest[:19]}…")
    _say(f"· deploying {APP}: {replicas} replicas, port {SAMPLE_PORT}")
    apps = house.platform.apps
    workload = Workload(
        APP, str(SAMPLE), SAMPLE_PORT, replicas, health=Health(HttpCheck("/healthz"), interval=1.0, start_period=30.0)
    )
    rollout = await apps.deploy(workload, subject=ME)
    shown: set[str] = set()
    async for seen in apps.follow(rollout.id):
        rollout = seen
        _show(rollout, shown)
    if rollout.state is not RolloutState.SUCCEEDED:
        _say("", rollout.reason)
        return False
    status = await apps.status(APP)
    answer = await apps.request(APP, ProbeRequest(path="/cgi-bin/whoami"), subject=ME)
    _say(
        "",
        f"  endpoint   {status.endpoint.url}",
        f"  proof      {rollout.proof.sent} requests sent, {rollout.proof.failed} failed, "
        f"p50 {rollout.proof.p50 * 1000:.1f} ms, p99 {rollout.proof.p99 * 1000:.1f} ms",
        f"  instances  {status.ready} of {status.desired} ready",
        f"  it says    {answer.status} {' '.join(answer.body.split())}",
    )
    return not rollout.proof.failed and not answer.problem and status.ready == status.desired


def _show(rollout: Rollout, shown: set[str]) -> None:
    for step in rollout.steps:
        if step.state in _MARKS and step.name not in shown and step.ended_at:
            shown.add(step.name)
            seconds = (step.ended_at - step.started_at).total_seconds()
            _say(f"  {_MARKS[step.state]} {step.name:<11}{seconds:6.2f} s  {step.outcome}")


async def _greet(house: House, settings: Settings) -> None:
    code = await house.platform.accounts.login_link()
    _say(
        "",
        f"  console    {settings.url}/login?code={code}",
        "             (signs you in once; a fresh link: naru login-link)",
        "  try        .venv/bin/naru apps",
        f"             .venv/bin/naru scale {APP} 5",
        "",
        "Ctrl-C stops the server; the apps and the front door go on.",
    )


async def _stop(house: House, *, keep_app: bool) -> None:
    """Stop what was started: the sample unless it was there before, and the front door when no app needs it."""
    if not keep_app:
        rollout = await house.platform.apps.remove(APP, volumes=True, subject=ME)
        async for seen in house.platform.apps.follow(rollout.id):
            rollout = seen
        _say(f"· {APP} is removed" if rollout.state is RolloutState.SUCCEEDED else f"· {APP} remains: {rollout.reason}")
    if not await house.door.routes():
        await house.door.stop()
        _say("· the front door is stopped")


def _say(*lines: str) -> None:
    print("\n".join(lines), flush=True)
