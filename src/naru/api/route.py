"""How every route begins: who is asking comes first, then whether the body says anything that nobody knows."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from naru.api.identity import identify
from naru.api.unknown import refuse_unknown
from naru.domain.errors import Invalid


class Route(APIRoute):
    """A route that nobody uses without a sign-in: not even the body is read before."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's handler."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            await identify(request)
            if any("\0" in text for text in (request.scope["path"], *request.query_params.values())):
                raise Invalid("the address holds a NUL character", "remove it")
            await self.check_body(request)
            return await handle(request)

        return checked

    async def check_body(self, request: Request) -> None:
        """Raise Invalid for a field that the body's type does not have; what is no JSON is left to the validation."""
        if self.body_field is None:
            return
        try:
            refuse_unknown(self.body_field.field_info.annotation, await request.json())
        except ValueError:
            return
        except RecursionError:
            raise Invalid("the body is nested too deeply", "send fewer levels") from None


class OpenRoute(Route):
    """A route for those who sign in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's handler."""
        handle = APIRoute.get_route_handler(self)

        async def checked(request: Request) -> Response:
            await self.check_body(request)
            return await handle(request)

        return checked
