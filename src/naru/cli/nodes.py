"""`naru nodes`: nodes with agents, how images went to them, and who joins."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from naru.cli import views
from naru.cli.output import Output, OutputOption, done, emit, emit_list, remark, table
from naru.cli.session import call

nodes = typer.Typer(help="Nodes with agents, which bring images to each other.", invoke_without_command=True)


@nodes.callback()
def every(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List the nodes that have an agent, let others join, or remove one."""
    if context.invoked_subcommand is None:
        list_nodes(output)


@nodes.command("list")
def list_nodes(output: OutputOption = Output.TABLE) -> None:
    """List the nodes that have an agent, with what they keep and carried."""
    found = call(lambda client: client.nodes.all())
    match output:
        case Output.JSON:
            emit_list(found)
        case Output.TABLE:
            table(views.NODE_HEADINGS, (views.node_row(node) for node in found))


@nodes.command("distributions")
def distributions(output: OutputOption = Output.TABLE) -> None:
    """List how images went to nodes: the way, what was expected of it and of the others, and what happened."""
    found = call(lambda client: client.nodes.distributions())
    match output:
        case Output.JSON:
            emit_list(found)
        case Output.TABLE:
            table(views.DISTRIBUTION_HEADINGS, (views.distribution_row(one) for one in found))


@nodes.command("invite")
def invite(
    hours: Annotated[float, typer.Option(help="How long it is good.", min=0.01, max=720)] = 1.0,
    node: Annotated[
        str, typer.Option(metavar="NAME", help="Only this node may use it, in place of an older one of that name.")
    ] = "",
    uses: Annotated[int, typer.Option(help="How many nodes may use it, 0 for any number.", min=0)] = 1,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a token that lets a node join the agents' cluster, and print the command for it; it is shown this once."""
    made = call(lambda client: client.nodes.invite(hours, node=node, uses=uses))
    match output:
        case Output.JSON:
            emit(made)
        case Output.TABLE:
            remark(f"join token {made.token.id}; run this on the node, it is not shown again:")
            typer.echo(f"naru agent join {made.value} --via {made.via}")


@nodes.command("invitations")
def invitations(output: OutputOption = Output.TABLE) -> None:
    """List the join tokens, without their values."""
    found = call(lambda client: client.nodes.join_tokens())
    match output:
        case Output.JSON:
            emit_list(found)
        case Output.TABLE:
            now = datetime.now(UTC)
            table(views.INVITATION_HEADINGS, (views.invitation_row(one, now) for one in found))


@nodes.command("uninvite")
def uninvite(
    token: Annotated[str, typer.Argument(metavar="ID", help="The join token's id.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Let nobody in by a join token any more."""
    call(lambda client: client.nodes.revoke_join_token(token))
    done(f"the join token {token} is revoked", output)


@nodes.command("remove")
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The node's name.")], output: OutputOption = Output.TABLE
) -> None:
    """Remove a node for good: its reports are refused, and other agents give it nothing any more."""
    call(lambda client: client.nodes.remove(name))
    done(f"the node {name} is removed", output)
