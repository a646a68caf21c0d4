"""How images reach nodes: who has what, and how long it took."""

from starlette.responses import Response

from naru.console.desk import Visit


async def index(visit: Visit) -> Response:
    """List the nodes with what they have and carried, and the last distributions."""
    nodes, courses = await visit.platform.nodes.all(), await visit.platform.nodes.distributions(limit=20)
    return visit.page("nodes.html", nodes=nodes, distributions=courses)
