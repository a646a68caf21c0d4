"""Ask for a change to an app and stay with it to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from naru.cli import progress
from naru.cli.exits import FAILED
from naru.cli.output import Output, emit, remark, say
from naru.cli.session import call
from naru.domain.errors import NotFound, Unavailable
from naru.domain.kind import WorkloadKind
from naru.domain.rollout import Rollout, RolloutState
from naru.domain.status import AppStatus

if TYPE_CHECKING:
    from naru.client import Client

DetachOption = Annotated[bool, typer.Option("--detach", help="Return at once and leave the rollout to the server.")]


def carry_out(
    request: Callable[[Client], Awaitable[Rollout]],
    *,
    output: Output,
    detach: bool = False,
    wanted: RolloutState = RolloutState.SUCCEEDED,
) -> None:
    """Make the request, show its rollout to the end, and exit with 1 unless it ended as `wanted`.

    Ctrl-C only detaches: the rollout goes on, and how to follow or cancel it is said.
    """
    started: list[str] = []

    async def work(client: Client) -> Rollout:
        rollout = await request(client)
        started.append(rollout.id)
        if detach:
            return rollout
        ended = await progress.show(client.apps.follow(rollout.id), output)
        if output is Output.TABLE:
            say(await summary(client, ended))
        return ended

    try:
        rollout = call(work)
    except KeyboardInterrupt:
        for rollout_id in started:
            remark(f"detached, the rollout goes on\n{hints(rollout_id)}")
        raise
    except Unavailable as error:
        if not started:
            raise
        mend = f"the rollout goes on there, or once it is back; follow it with: naru follow {started[0]}"
        raise Unavailable(error.cause, mend) from error
    if not detach:
        raise typer.Exit(0 if rollout.state is wanted else FAILED)
    match output:
        case Output.JSON:
            emit(rollout)
        case Output.TABLE:
            say(progress.heading(rollout))
            remark(hints(rollout.id))


async def summary(client: Client, rollout: Rollout) -> Text:
    """Return how the rollout ended and where that leaves the app."""
    text = progress.verdict(rollout)
    if rollout.state is RolloutState.SUCCEEDED and rollout.kind.takes_away:
        return text
    try:
        status = await client.apps.status(rollout.app)
    except NotFound:
        return text
    if not status.app.live:
        return text
    still = "" if rollout.state is RolloutState.SUCCEEDED else f" still with release {status.app.live}"
    url = status.endpoint.url
    count = f" ({status.ready} of {status.desired} {_how(status)})"
    if url and not status.desired:
        verb, count = f" runs no instance{still}, and keeps ", ""
    else:
        verb = f" answers{still} at " if url else f" is live{still}"
    end = Text.assemble((rollout.app, "bold"), verb, (url, "bold underline"), count)
    return text.append("\n").append_text(end)


def _how(status: AppStatus) -> str:
    kind = status.release.workload.kind if status.release else WorkloadKind.SERVICE
    return "completed" if kind.runs_once else "scheduled" if kind is WorkloadKind.SCHEDULED else "ready"


def hints(rollout: str) -> str:
    """Return how to follow a rollout and how to cancel it."""
    return f"  follow it: naru follow {rollout}\n  cancel it: naru cancel {rollout}"
