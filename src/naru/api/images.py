"""Loaded images."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import Response

from naru.api.answers import Page, document, page
from naru.api.identity import By, Naru
from naru.api.route import Route
from naru.domain.image import Image

router = APIRouter(route_class=Route, tags=["images"])


@router.get("/images", response_model=Page[Image])
async def list_images(request: Request, naru: Naru, by: By) -> Response:
    """List the images that were loaded as archives."""
    images = await naru.images.images()
    return page(request, Image, images, len(images) + 1)


@router.post("/images", status_code=HTTPStatus.CREATED, response_model=Page[Image])
async def load_image(request: Request, naru: Naru, by: By, name: str = "") -> Response:
    """Load a `docker save` or OCI archive, which is the body."""
    loaded = await naru.images.load(request.stream(), name=name, subject=by)
    return document(request, Page[Image], Page(list(loaded)), status=HTTPStatus.CREATED)


@router.delete("/images", status_code=HTTPStatus.NO_CONTENT)
async def remove_image(naru: Naru, by: By, reference: str) -> Response:
    """Remove a loaded image."""
    await naru.images.remove(reference, subject=by)
    return Response(status_code=HTTPStatus.NO_CONTENT)
