"""Which images a store has indexes of, when each was used last, and who needs which.

indexes/HEX        encoded indexes by the digest of their image; the time of the file is its last use
pins/HEX/HOLDER    who runs an image
"""

import logging
import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote
from weakref import WeakValueDictionary

from naru.agent.disk import write_durably
from naru.agent.index.index import MAX_ENCODED, Index
from naru.domain.errors import Invalid, NotFound
from naru.oci.reference import Digest

_LOG = logging.getLogger(__name__)


class Catalogue:
    """The indexes and pins below `root`, which are made where they are missing. Blocking."""

    def __init__(self, root: Path) -> None:
        self._indexes = root / "indexes"
        self._pins = root / "pins"
        self._indexes.mkdir(exist_ok=True)
        self._pins.mkdir(exist_ok=True)
        self._known: WeakValueDictionary[str, Index] = WeakValueDictionary()

    def has(self, image: str) -> bool:
        """Whether there is an index of an image; it may have rotted."""
        return self._index(image).exists()

    def save(self, index: Index, staged: Path) -> None:
        """Remember an index, durably; `staged` is a free name on the same file system."""
        write_durably(self._index(index.image), index.encode(), staged)
        self._known[index.image] = index

    def load(self, image: str) -> Index | None:
        """Return the index of an image or None; one that has rotted is dropped, as if it had never been here."""
        path = self._index(image)
        try:
            # Decoding takes tens of milliseconds: what somebody here still uses is not decoded again.
            if (known := self._known.get(image)) is not None and path.exists():
                return known
            with path.open("rb") as file:
                content = file.read(MAX_ENCODED + 1)
            index = Index.decode(content)
            if index.image != image:
                raise Invalid(f"the index of {index.image} lies where that of {image} belongs", "derive it again")
        except FileNotFoundError:
            return None
        except Invalid as error:
            _LOG.error("the index of image %s was dropped: %s", image, error)
            path.unlink(missing_ok=True)
            return None
        self._known[image] = index
        return index

    def forget(self, image: str) -> None:
        """Forget the index of an image."""
        self._index(image).unlink(missing_ok=True)

    def used(self) -> dict[str, int]:
        """Return when each image that has an index here was used last (ns), the one used longest ago first."""
        found = []
        with os.scandir(self._indexes) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    found.append((entry.stat().st_mtime_ns, entry.name))
        return {f"sha256:{name}": used for used, name in sorted(found)}

    def pin(self, image: str, holder: str) -> None:
        """Remember that `holder` needs an image; raise NotFound when there is no index of it."""
        try:
            os.utime(self._index(image))
        except FileNotFoundError:
            raise NotFound(f"the object store has no index of image {image}", "fetch the image first") from None
        pin = self._pin(image, holder)
        pin.parent.mkdir(exist_ok=True)
        pin.touch()

    def unpin(self, image: str, holder: str) -> None:
        """Forget that; the image counts as used until now."""
        with suppress(FileNotFoundError):
            self._pin(image, holder).unlink()
            os.utime(self._index(image))

    def pins(self) -> dict[str, tuple[str, ...]]:
        """Return who needs which image."""
        held = {
            f"sha256:{image.name}": tuple(sorted(unquote(pin.name) for pin in image.iterdir()))
            for image in self._pins.iterdir()
        }
        return {image: holders for image, holders in held.items() if holders}

    def _index(self, image: str) -> Path:
        return self._indexes / Digest.parse(image).hex

    def _pin(self, image: str, holder: str) -> Path:
        return self._pins / Digest.parse(image).hex / quote(holder, safe="")
