"""`naru up` and `naru down`: a Compose file as apps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from naru.cli.apps import sure
from naru.cli.carry import DetachOption
from naru.cli.exits import FAILED
from naru.cli.output import Output, OutputOption
from naru.cli.session import call
from naru.domain.errors import Invalid

if TYPE_CHECKING:
    from naru.formats.loss import Imported

MAX_FILE = 2 * 1024 * 1024

FileOption = Annotated[
    list[Path] | None,
    typer.Option("--file", "-f", metavar="FILE", help="A Compose file; several are merged.", show_default="as Compose"),
]
ProjectOption = Annotated[
    str, typer.Option("--project-name", "-p", metavar="NAME", help="Apps are called NAME-SERVICE.")
]
ProfileOption = Annotated[
    list[str] | None, typer.Option("--profile", metavar="NAME", help="Take the services of a profile too.")
]
EnvFileOption = Annotated[
    list[Path] | None,
    typer.Option("--env-file", metavar="FILE", help="Variables for the Compose file.", show_default=".env"),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Refuse when anything of the file would be lost.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would change and be lost, and stop.")]


def up(
    file: FileOption = None,
    project_name: ProjectOption = "",
    profile: ProfileOption = None,
    env_file: EnvFileOption = None,
    strict: StrictOption = False,
    dry_run: DryRunOption = False,
    detach: DetachOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Deploy the services of a Compose file, in the order in which they depend on each other.

    What would change and what of the file is lost is shown before anything runs. Services that are live as the file
    says are left alone.
    """
    from naru.cli.bring import bring

    project = read_files(file, project_name, profile, env_file)
    bring(project, strict=strict, dry_run=dry_run, detach=detach, output=output)


def down(
    file: FileOption = None,
    project_name: ProjectOption = "",
    profile: ProfileOption = None,
    env_file: EnvFileOption = None,
    volumes: Annotated[bool, typer.Option("--volumes", help="Remove their volumes and what they hold.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove the apps of a Compose file, those first that depend on others."""
    from naru.cli.bring import remove

    apps = [w.app for w in reversed(read_files(file, project_name, profile or ["*"], env_file).workloads)]
    sure(f"Remove {', '.join(apps)}{' with their volumes and what they hold' if volumes else ''}?", yes)
    done = call(lambda client: remove(client, apps, volumes=volumes, output=output))
    raise typer.Exit(0 if done else FAILED)


def read_file(path: PurePath) -> bytes | None:
    """Return what a file holds, None when there is none; raise Invalid when it cannot be read or is huge."""
    try:
        with Path(path).expanduser().open("rb") as opened:
            content = opened.read(MAX_FILE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}", "name a readable file") from error
    if len(content) > MAX_FILE:
        raise Invalid(f"{path} is larger than 2 MiB", "name a smaller file")
    return content


def read_files(
    files: Sequence[Path] | None,
    name: str = "",
    profiles: Sequence[str] | None = None,
    env_files: Sequence[Path] | None = None,
) -> Imported:
    """Return the apps of Compose files."""
    from naru.formats.compose import Ask, read_project  # PyYAML is loaded with it, which no other command needs

    return read_project(
        Ask(
            read=read_file,
            environ=os.environ,
            files=tuple(files or ()),
            env_files=tuple(env_files or ()),
            project=name,
            profiles=tuple(profiles or ()),
            directory=Path.cwd(),
        )
    )
