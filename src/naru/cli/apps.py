"""Apps: what runs, and changing it."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from naru.cli import views
from naru.cli.carry import DetachOption, carry_out
from naru.cli.complete import AppArgument, target_names
from naru.cli.output import Output, OutputOption, emit, emit_list, remark, table
from naru.cli.session import call, gather
from naru.domain.errors import Invalid

LimitOption = Annotated[int, typer.Option("--limit", min=1, help="How many at most.")]


def apps(output: OutputOption = Output.TABLE) -> None:
    """List the apps."""
    statuses = call(lambda client: gather(client.apps.statuses()))
    match output:
        case Output.JSON:
            emit_list(statuses)
        case Output.TABLE:
            table(views.APP_HEADINGS, (views.app_row(status) for status in statuses))
            if not statuses:
                remark("no apps yet; deploy one with: naru deploy IMAGE --port PORT")


def status(app: AppArgument, output: OutputOption = Output.TABLE) -> None:
    """Show one app: its release, endpoint, instances and rollout."""
    found = call(lambda client: client.apps.status(app))
    match output:
        case Output.JSON:
            emit(found)
        case Output.TABLE:
            views.show_status(found, datetime.now(UTC))


def instances(app: AppArgument, output: OutputOption = Output.TABLE) -> None:
    """List the instances of an app."""
    found = call(lambda client: client.apps.instances(app))
    match output:
        case Output.JSON:
            emit_list(found)
        case Output.TABLE:
            now = datetime.now(UTC)
            table(views.INSTANCE_HEADINGS, (views.instance_row(instance, now) for instance in found))


def releases(app: AppArgument, limit: LimitOption = 20, output: OutputOption = Output.TABLE) -> None:
    """List the releases of an app, newest first."""
    found = call(lambda client: gather(client.apps.releases(app, limit=limit)))
    match output:
        case Output.JSON:
            emit_list(found)
        case Output.TABLE:
            now = datetime.now(UTC)
            table(views.RELEASE_HEADINGS, (views.release_row(release, now) for release in found))


def scale(
    app: AppArgument,
    replicas: Annotated[int, typer.Argument(metavar="N", min=0, help="How many instances run.")],
    detach: DetachOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run another number of instances."""
    carry_out(lambda client: client.apps.scale(app, replicas=replicas), output=output, detach=detach)


def update(
    app: AppArgument,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The new image.")],
    detach: DetachOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change the image and nothing else."""
    carry_out(lambda client: client.apps.update(app, image=image), output=output, detach=detach)


def rollback(
    app: AppArgument,
    release: Annotated[
        int | None, typer.Argument(metavar="[RELEASE]", min=1, help="Its number; the one before by default.")
    ] = None,
    detach: DetachOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Go back to an earlier release."""
    carry_out(lambda client: client.apps.roll_back(app, release=release), output=output, detach=detach)


def move(
    app: AppArgument,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TARGET",
            help="The target to run on; the best other one by default.",
            autocompletion=target_names,
        ),
    ] = "",
    copy_volumes: Annotated[
        bool, typer.Option("--copy-volumes", help="Stop the app while its volumes are copied and compared.")
    ] = False,
    detach: DetachOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run an app on another target, without a failed request; one with volumes stops while they are copied."""
    carry_out(lambda client: client.apps.move(app, to=to, copy_volumes=copy_volumes), output=output, detach=detach)


def remove(
    app: AppArgument,
    volumes: Annotated[bool, typer.Option("--volumes", help="Remove its volumes and what they hold.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    detach: DetachOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Stop and remove an app."""
    sure(f"Remove {app}{' with its volumes and what they hold' if volumes else ''}?", yes)
    carry_out(lambda client: client.apps.remove(app, volumes=volumes), output=output, detach=detach)


def sure(question: str, yes: bool) -> None:
    """Return once a person said yes; raise Abort on no, and Invalid where nobody can answer."""
    if yes:
        return
    if not typer.get_text_stream("stdin").isatty():
        raise Invalid("nobody is here to confirm this", "add --yes")
    typer.confirm(question, abort=True, err=True)
