"""`naru import` and `naru export`: apps from other platforms' files, and to them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, assert_never

import typer

from naru.cli.carry import DetachOption
from naru.cli.complete import AppArgument
from naru.cli.output import Output, OutputOption, remark
from naru.cli.session import call
from naru.cli.up import DryRunOption, StrictOption, read_file
from naru.domain.errors import Conflict, NotFound
from naru.domain.status import AppStatus
from naru.domain.workload import Workload
from naru.formats.kinds import Format

if TYPE_CHECKING:
    from naru.formats.loss import Exported, Imported


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Kubernetes YAML, Marathon JSON, or a Compose file.")],
    form: Annotated[
        Format | None, typer.Option("--format", help="Its format.", show_default="by what it holds")
    ] = None,
    compose: Annotated[
        bool, typer.Option("--compose", help="Write the apps as a Compose file and deploy nothing.")
    ] = False,
    strict: StrictOption = False,
    dry_run: DryRunOption = False,
    detach: DetachOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Deploy the apps of another platform's file; what would change and be lost is shown before anything runs."""
    from naru.cli.bring import bring
    from naru.formats.compose import write_project
    from naru.formats.loss import Exported

    found = _read(file, form)
    if compose:
        _write(Exported(write_project(found.workloads).text, found.losses), strict=strict)
        return
    bring(found, strict=strict, dry_run=dry_run, detach=detach, output=output)


def export(
    app: AppArgument,
    form: Annotated[Format, typer.Option("--format", help="The file's format.")] = Format.COMPOSE,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse when the format cannot say everything.")] = False,
) -> None:
    """Write an app as a file of Compose, Kubernetes or Marathon; what the file cannot say goes to standard error."""
    from naru.formats.compose import write_project
    from naru.formats.kubernetes import write_manifests
    from naru.formats.marathon import write_app

    workload = _wanted(call(lambda client: client.apps.status(app)))
    match form:
        case Format.COMPOSE:
            exported = write_project([workload])
        case Format.KUBERNETES:
            exported = write_manifests(workload)
        case Format.MARATHON:
            exported = write_app(workload)
        case _:
            assert_never(form)
    _write(exported, strict=strict)


def _read(file: Path, form: Format | None) -> Imported:
    from naru.formats.compose import Ask, read_project
    from naru.formats.guess import guessed
    from naru.formats.kubernetes import read_manifests
    from naru.formats.marathon import read_apps
    from naru.formats.text import decoded

    content = read_file(file)
    if content is None:
        raise NotFound(f"there is no file {file}", "check its name and the directory you are in")
    text = decoded(content, str(file))
    match form or guessed(text, str(file)):
        case Format.COMPOSE:
            return read_project(Ask(read_file, os.environ, (file,)))
        case Format.KUBERNETES:
            return read_manifests(text, str(file))
        case Format.MARATHON:
            return read_apps(text, str(file))
        case other:
            assert_never(other)


def _write(exported: Exported, *, strict: bool) -> None:
    from naru.formats.loss import refuse

    for loss in exported.losses:
        remark(f"lost: {loss.where}: {loss.what}; {loss.why}; instead: {loss.instead}")
    if strict:
        refuse(exported.losses)
    typer.echo(exported.text, nl=False)


def _wanted(status: AppStatus) -> Workload:
    """Return what the app was asked to be; the versions of secrets that its release holds are the newest again."""
    if status.release:
        workload = status.release.workload
    elif status.rollout:
        workload = status.rollout.workload
    else:
        raise Conflict(f"{status.app.name} was never deployed", "deploy it first")
    return replace(workload, secrets=tuple(replace(secret, version=0) for secret in workload.secrets))
