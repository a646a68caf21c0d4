"""The routes on disk, so that they outlive both Naru and Caddy."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from naru.domain.errors import Unavailable
from naru.routing.base import Route

_ROUTES: TypeAdapter[dict[str, Route]] = TypeAdapter(dict[str, Route])


def read(path: Path) -> dict[str, Route]:
    """Return the routes by app, none when nothing was written yet; raise Unavailable when they cannot be read."""
    try:
        return _ROUTES.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        raise Unavailable(
            f"the routes in {path} cannot be read: {type(error).__name__}", "remove the file; routes are then set anew"
        ) from error


def draft(path: Path, routes: Mapping[str, Route]) -> Path:
    """Write the routes beside the file, durably; renamed to `path` they replace it at once.

    What may fail, fails here and not between two states: raises Unavailable when the disk is full.
    """
    new = path.with_suffix(".new")
    try:
        with new.open("wb") as file:
            file.write(_ROUTES.dump_json(dict(routes), indent=1))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Unavailable(
            f"the routes cannot be written to {new}: {error.strerror}", "make room on the disk"
        ) from error
    return new
