"""Style sheets, scripts and pictures: named by their content, compressed once, kept by browsers for a year."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response

PREFIX = "/assets"
FOREVER = "public, max-age=31536000, immutable"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its bytes, plain and gzipped, and the URL path that changes whenever they do."""

    url: str
    media_type: str
    plain: bytes
    gzipped: bytes


class Assets:
    """Every file under static/, read once."""

    def __init__(self, found: Mapping[str, bytes]) -> None:
        self._by_name = {name: _asset(name, content) for name, content in found.items()}
        self._by_url = {asset.url: asset for asset in self._by_name.values()}

    def url(self, name: str) -> str:
        """Say where `name` is served; raises LookupError for a file that the package does not hold."""
        try:
            return self._by_name[name].url
        except KeyError:
            raise LookupError(f"the console has no {name}; run `python hatch_build.py` to fill static/vendor") from None

    async def answer(self, request: Request) -> Response:
        """Serve one file; only its current URL answers."""
        asset = self._by_url.get(request.url.path)
        if asset is None:
            return Response("no such file", status_code=404, media_type="text/plain")
        headers = {"Cache-Control": FOREVER, "Vary": "Accept-Encoding", "Content-Type": asset.media_type}
        if "gzip" in request.headers.get("accept-encoding", "") and len(asset.gzipped) < len(asset.plain):
            return Response(asset.gzipped, headers={**headers, "Content-Encoding": "gzip"})
        return Response(asset.plain, headers=headers)


def packaged() -> Assets:
    """Read the files that the package carries."""
    return Assets(dict(_walk(files("naru.console") / "static", "")))


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
        elif any(entry.name.endswith(suffix) for suffix in _TYPES):
            found.append((f"{prefix}{entry.name}", entry.read_bytes()))
    return found


def _asset(name: str, content: bytes) -> Asset:
    digest = hashlib.sha256(content).hexdigest()[:12]
    media_type = next(kind for suffix, kind in _TYPES.items() if name.endswith(suffix))
    return Asset(f"{PREFIX}/{digest}/{name}", media_type, content, gzip.compress(content, 9, mtime=0))
