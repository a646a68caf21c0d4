"""Images that were loaded as archives."""

from collections.abc import AsyncIterator
from http import HTTPStatus

from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, Response

from naru.console.desk import Visit
from naru.domain.errors import Invalid, NaruError, http_status

CHUNK = 1024 * 1024


async def index(visit: Visit) -> Response:
    """List the loaded images."""
    return await _page(visit)


async def upload(visit: Visit) -> Response:
    """Load an archive that is the whole body; answers with the references that it held."""
    try:
        images = await visit.platform.images.load(visit.request.stream(), subject=visit.subject)
    except NaruError as error:
        told = {"cause": visit.said(error.cause), "mend": visit.said(error.mend)}
        return JSONResponse(told, status_code=http_status(error))
    return JSONResponse({"references": [image.reference for image in images]})


async def upload_form(visit: Visit) -> Response:
    """Load an archive from a form: the way without JavaScript."""
    archive = (await visit.form()).get("archive")
    if not isinstance(archive, UploadFile) or not archive.filename:
        return await _page(visit, Invalid("no archive was chosen", "choose a file made by `docker save`"))
    try:
        await visit.platform.images.load(_chunks(archive), subject=visit.subject)
    except NaruError as error:
        return await _page(visit, error)
    return visit.go("/images?notice=image-loaded")


async def remove(visit: Visit) -> Response:
    """Forget an image."""
    try:
        await visit.platform.images.remove(str((await visit.form()).get("reference", "")), subject=visit.subject)
    except NaruError as error:
        return await _page(visit, error)
    return visit.go("/images?notice=image-removed")


async def _page(visit: Visit, error: NaruError | None = None) -> Response:
    images = await visit.platform.images.images()
    return visit.page("images.html", http_status(error) if error else HTTPStatus.OK, images=images, error=error)


async def _chunks(archive: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await archive.read(CHUNK):
        yield chunk
