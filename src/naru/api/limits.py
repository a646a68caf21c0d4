"""What a request may weigh."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 8 * 1024 * 1024


class BodyLimit:
    """Ends requests whose body is larger than 8 MiB with 413; archives of images may have any size."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count what it brings."""
        if scope["type"] != "http" or (scope["method"] == "POST" and scope["path"].endswith("/images")):
            await self._app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"")
        declared = int(said) if said.isdigit() else 0
        size = 0

        async def counted() -> Message:
            nonlocal size
            if declared > MAX_BODY:
                raise _too_large()
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY:
                raise _too_large()
            return message

        await self._app(scope, counted, send)


def _too_large() -> HTTPException:
    return HTTPException(413, f"the body is larger than {MAX_BODY >> 20} MiB")
