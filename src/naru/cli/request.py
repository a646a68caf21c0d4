"""`naru request`: a test request through an app's endpoint."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from naru.cli import parse
from naru.cli.complete import AppArgument
from naru.cli.exits import FAILED
from naru.cli.output import Output, OutputOption, bulk, clean, emit, remark, say, took
from naru.cli.session import call
from naru.domain.errors import Invalid
from naru.domain.proof import Answer, ProbeRequest

_EXPECT = "What the answer must be"


def request(
    app: AppArgument,
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="The path, with its query.")] = "/",
    method: Annotated[
        str, typer.Option("--method", "-X", help="The method.", show_default="GET, or POST with a body")
    ] = "",
    header: Annotated[list[str] | None, typer.Option("--header", "-H", metavar="NAME: VALUE", help="A header.")] = None,
    data: Annotated[str, typer.Option("--data", "-d", help="The body, or @FILE, or @- for standard input.")] = "",
    timeout: Annotated[str, typer.Option(metavar="TIME", help="How long to wait for the answer.")] = "5s",
    expect_status: Annotated[
        int, typer.Option(help="Its status.", show_default="any below 400", rich_help_panel=_EXPECT)
    ] = 0,
    expect_body: Annotated[str, typer.Option(help="Text that its body holds.", rich_help_panel=_EXPECT)] = "",
    expect_json: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH=JSON", help="A value in its body: status.ready=true.", rich_help_panel=_EXPECT),
    ] = None,
    expect_within: Annotated[
        str, typer.Option(metavar="TIME", help="How quickly it comes: 200ms.", rich_help_panel=_EXPECT)
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Send a test request through the app's endpoint and show status, headers, body and timing.

    Exits with 1 when the answer is not as expected.
    """
    probe = ProbeRequest(
        method=(method or ("POST" if data else "GET")).upper(),
        path=path,
        headers=parse.headers(header or ()),
        body=_body(data),
        expect_status=expect_status,
        expect_body=expect_body,
        expect_json=parse.expected_json(expect_json or ()),
        expect_within=parse.duration(expect_within) if expect_within else 0.0,
        timeout=parse.duration(timeout),
    )
    answer = call(lambda client: client.apps.request(app, probe))
    match output:
        case Output.JSON:
            emit(answer)
        case Output.TABLE:
            say(shown(answer))
            if answer.problem:
                remark(Text.assemble(("error: ", "red"), clean(answer.problem)))
    if answer.problem:
        raise typer.Exit(FAILED)


def shown(answer: Answer) -> Text:
    """Return an answer as it came: status and timing, headers, a blank line, the body."""
    text = Text()
    if answer.status:
        text.append(f"{answer.status}", style="bold green" if answer.status < 400 else "bold red")
        text.append(f"  {took(answer.seconds)}  {bulk(answer.body_bytes)}\n", style="dim")
    for name, value in answer.headers:
        text.append(f"{name}: ", style="cyan").append_text(clean(value)).append("\n")
    if answer.body:
        text.append("\n").append_text(clean(answer.body.rstrip("\n")))
        left = answer.body_bytes - len(answer.body.encode())
        if left > 0:
            text.append(f"\n… and {bulk(left)} more", style="dim")
    text.rstrip()
    return text


def _body(data: str) -> str:
    if not data.startswith("@"):
        return data
    try:
        return sys.stdin.read() if data == "@-" else Path(data[1:]).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise Invalid(f"{data[1:]} cannot be read: {error}", "name a readable text file") from error
