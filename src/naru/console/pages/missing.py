"""The page for every address that leads nowhere."""

from starlette.responses import Response

from naru.console.desk import Visit
from naru.domain.errors import NotFound


async def page(visit: Visit) -> Response:
    """Say so."""
    return visit.refuse(NotFound("there is no such page", "start from the list of apps"))
