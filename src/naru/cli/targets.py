"""`naru targets`: where instances can run."""

from naru.cli import views
from naru.cli.output import Output, OutputOption, emit_list, table
from naru.cli.session import call


def targets(output: OutputOption = Output.TABLE) -> None:
    """List the engines that instances can run on."""
    found = call(lambda client: client.targets())
    match output:
        case Output.JSON:
            emit_list(found)
        case Output.TABLE:
            table(views.TARGET_HEADINGS, (views.target_row(target) for target in found))
