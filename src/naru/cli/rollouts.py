"""Rollouts: what was changed, what is being changed, and stopping it."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from naru.cli import views
from naru.cli.apps import LimitOption
from naru.cli.carry import carry_out
from naru.cli.complete import app_names
from naru.cli.output import Output, OutputOption, emit_list, table
from naru.cli.session import call, gather
from naru.domain.rollout import RolloutState

RolloutArgument = Annotated[str, typer.Argument(metavar="ROLLOUT", help="The rollout's id.")]


def rollouts(
    app: Annotated[
        str, typer.Argument(metavar="[APP]", help="One app only.", autocompletion=app_names, show_default=False)
    ] = "",
    limit: LimitOption = 20,
    output: OutputOption = Output.TABLE,
) -> None:
    """List rollouts, newest first."""
    found = call(lambda client: gather(client.apps.rollouts(app, limit=limit)))
    match output:
        case Output.JSON:
            emit_list(found)
        case Output.TABLE:
            now = datetime.now(UTC)
            table(views.ROLLOUT_HEADINGS, (views.rollout_row(rollout, now) for rollout in found))


def follow(rollout: RolloutArgument, output: OutputOption = Output.TABLE) -> None:
    """Show a rollout as it happens, to its end; Ctrl-C leaves it alone."""
    carry_out(lambda client: client.apps.rollout(rollout), output=output)


def cancel(
    rollout: RolloutArgument,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its end.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Stop a rollout and put back what was before."""
    carry_out(lambda client: client.apps.cancel(rollout), output=output, detach=detach, wanted=RolloutState.CANCELLED)
