"""The application that serves the API."""

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response

from naru import VERSION
from naru.api import apps, comparisons, images, nodes, problems, rollouts, session, targets, vault
from naru.api.identity import identify
from naru.api.limits import BodyLimit
from naru.control.platform import Platform

PREFIX = "/api/v1"


def api(platform: Platform) -> FastAPI:
    """Build the application; mount it at PREFIX."""
    app = FastAPI(title="Naru", version=VERSION, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.platform = platform
    app.add_middleware(BodyLimit)
    problems.install(app)
    for router in (
        apps.router,
        rollouts.router,
        targets.router,
        comparisons.router,
        nodes.router,
        images.router,
        vault.router,
        session.router,
        session.entrance,
    ):
        app.include_router(router)

    async def openapi(request: Request) -> Response:
        return JSONResponse(app.openapi())

    app.add_api_route("/openapi.json", openapi, dependencies=[Depends(identify)], include_in_schema=False)
    return app
