"""The command line put together: which commands there are, and how their errors end."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from naru.cli import apps, logs, rollouts
from naru.cli.agent import agent
from naru.cli.choose import choose
from naru.cli.compare import compare
from naru.cli.convert import export, import_file
from naru.cli.deploy import deploy
from naru.cli.doctor import doctor
from naru.cli.execute import execute
from naru.cli.exits import EXIT_CODES, exit_code, told
from naru.cli.images import images
from naru.cli.login import login, login_link
from naru.cli.nodes import nodes
from naru.cli.output import remark
from naru.cli.registries import registries
from naru.cli.request import request
from naru.cli.secrets import secrets
from naru.cli.targets import targets
from naru.cli.tokens import tokens
from naru.cli.up import down, up
from naru.cli.version import print_version, version
from naru.domain.errors import NaruError

APPS = "Apps"
STORE = "Images and secrets"
PLACES = "Where apps run"
ACCESS = "Access"
MACHINE = "This machine"

COMMANDS: tuple[tuple[str, str, Callable[..., None]], ...] = (
    (APPS, "deploy", deploy),
    (APPS, "up", up),
    (APPS, "down", down),
    (APPS, "import", import_file),
    (APPS, "export", export),
    (APPS, "apps", apps.apps),
    (APPS, "status", apps.status),
    (APPS, "instances", apps.instances),
    (APPS, "logs", logs.logs),
    (APPS, "request", request),
    (APPS, "exec", execute),
    (APPS, "scale", apps.scale),
    (APPS, "update", apps.update),
    (APPS, "rollback", apps.rollback),
    (APPS, "move", apps.move),
    (APPS, "releases", apps.releases),
    (APPS, "rollouts", rollouts.rollouts),
    (APPS, "follow", rollouts.follow),
    (APPS, "cancel", rollouts.cancel),
    (APPS, "events", logs.events),
    (APPS, "rm", apps.remove),
    (PLACES, "choose", choose),
    (PLACES, "compare", compare),
    (ACCESS, "login", login),
    (ACCESS, "login-link", login_link),
    (MACHINE, "doctor", doctor),
    (MACHINE, "version", version),
)
GROUPS: tuple[tuple[str, str, typer.Typer], ...] = (
    (STORE, "image", images),
    (STORE, "registry", registries),
    (STORE, "secret", secrets),
    (ACCESS, "token", tokens),
    (MACHINE, "agent", agent),
    (PLACES, "nodes", nodes),
    (PLACES, "targets", targets),
)
EPILOG = "Exit codes: " + "; ".join(f"{row.code} {row.meaning}" for row in EXIT_CODES) + "."


class Commands(TyperGroup):
    """Commands whose domain errors become one message and one exit code, and never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command of the context."""
        try:
            return super().invoke(ctx)
        except NaruError as error:
            remark(told(error))
            raise typer.Exit(exit_code(error)) from error


def assembled() -> typer.Typer:
    """Return the program with all commands of this room; `naru.main` adds those that run the server."""
    program = typer.Typer(
        name="naru",
        cls=Commands,
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    program.callback()(_program)
    for panel, name, command in COMMANDS:
        program.command(name, rich_help_panel=panel)(command)
    for panel, name, group in GROUPS:
        program.add_typer(group, name=name, rich_help_panel=panel)
    return program


def _program(
    _: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Takes a container image to running, proven, watched instances."""


app = assembled()
