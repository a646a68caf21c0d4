"""`naru token`: API tokens for programs and other machines."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from naru.cli import parse, views
from naru.cli.output import Output, OutputOption, done, emit, emit_list, remark, table
from naru.cli.session import call

tokens = typer.Typer(help="API tokens for programs.", no_args_is_help=True)


@tokens.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long it works: 90d.", show_default="always")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Create an API token; its value is shown this once."""
    end = datetime.now(UTC) + timedelta(seconds=parse.duration(expires)) if expires else None
    token, value = call(lambda client: client.accounts.create_token(name, expires_at=end))
    match output:
        case Output.JSON:
            emit({"token": token, "value": value})
        case Output.TABLE:
            remark(f"token {token.id}; keep its value, it is not shown again:")
            typer.echo(value)


@tokens.command("list")
def list_tokens(output: OutputOption = Output.TABLE) -> None:
    """List the API tokens, without their values."""
    found = call(lambda client: client.accounts.tokens())
    match output:
        case Output.JSON:
            emit_list(found)
        case Output.TABLE:
            now = datetime.now(UTC)
            table(views.TOKEN_HEADINGS, (views.token_row(token, now) for token in found))


@tokens.command("revoke")
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="The token's id.")], output: OutputOption = Output.TABLE
) -> None:
    """End an API token at once."""
    call(lambda client: client.accounts.revoke_token(token))
    done(f"the token {token} is revoked", output)
