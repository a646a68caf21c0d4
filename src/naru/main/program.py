"""The `naru` command. What a server needs is imported when a server starts, so that every other command is quick."""

import os
import sys
from typing import Annotated

import typer

from naru.cli import app
from naru.config import settings

SERVER = "Server"


@app.command(rich_help_panel=SERVER)
def serve() -> None:
    """Run the server: API, console, front door and engine of this machine.

    It is configured by environment variables; see docs/configuration.md.
    """
    import asyncio

    from naru.main.serve import serve as run_server

    sys.exit(asyncio.run(run_server(settings(os.environ))))


@app.command(rich_help_panel=SERVER)
def run(
    check: Annotated[bool, typer.Option("--check", help="Stop everything again; exit 0 only if proven.")] = False,
    replicas: Annotated[int, typer.Option(help="Instances of the sample app.", min=1, max=100)] = 3,
) -> None:
    """Run the server and the main job: deploy the sample app and prove its endpoint."""
    import asyncio

    from naru.main.run import run as run_sample

    sys.exit(asyncio.run(run_sample(settings(os.environ), replicas=replicas, check=check)))


def cli() -> None:
    """Run the command line."""
    app()
