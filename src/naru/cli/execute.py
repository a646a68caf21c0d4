"""`naru exec`: a command inside an instance."""

from __future__ import annotations

import sys
from base64 import b64encode
from typing import TYPE_CHECKING, Annotated

import typer

from naru.cli.complete import AppArgument, InstanceOption
from naru.cli.output import Output, OutputOption, emit
from naru.cli.session import call
from naru.domain.errors import Conflict
from naru.domain.instance import ExecResult

if TYPE_CHECKING:
    from naru.client import Client


def execute(
    app: AppArgument,
    command: Annotated[list[str], typer.Argument(metavar="-- CMD…", help="The program and its arguments.")],
    instance: InstanceOption = "",
    stdin: Annotated[bool, typer.Option("--stdin", "-i", help="Send it our standard input, read to its end.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a command inside an instance, the first ready one unless another is named; its exit code is ours."""
    sent = sys.stdin.buffer.read() if stdin else b""

    async def work(client: Client) -> ExecResult:
        return await client.apps.execute(app, instance or await _ready_one(client, app), command, stdin=sent)

    result = call(work)
    match output:
        case Output.JSON:
            stdout, stderr = (b64encode(text).decode() for text in (result.stdout, result.stderr))
            emit({"exit_code": result.exit_code, "stdout": stdout, "stderr": stderr})
        case Output.TABLE:
            typer.echo(result.stdout, nl=False)
            typer.echo(result.stderr, nl=False, err=True)
    raise typer.Exit(result.exit_code)


async def _ready_one(client: Client, app: str) -> str:
    for instance in await client.apps.instances(app):
        if instance.ready:
            return instance.id
    raise Conflict(f"no instance of {app} is ready", f"name one with --instance; see: naru instances {app}")
