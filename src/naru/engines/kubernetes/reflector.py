"""Follows the objects of one kind: a list, then a watch from its version, for ever.

Kubernetes documentation, "Efficient detection of changes": bookmarks keep the version young, a version that is too old
is answered by 410 and means listing anew, and a watch that ends is opened again where it ended.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from pydantic import BaseModel, JsonValue, TypeAdapter

from naru.domain.errors import NaruError
from naru.engines.kubernetes.answers import Object, Status
from naru.engines.kubernetes.asking import PAGE
from naru.engines.kubernetes.errors import Expired, refusal
from naru.engines.kubernetes.wire import Wire

O = TypeVar("O", bound=Object)  # noqa: E741 - an object

RECONNECT = (0.1, 5.0)
"""Seconds before the first and between later attempts to follow again."""
WATCH = 60
"""Seconds after which the API server ends a watch, so that one that died unnoticed is not waited for much longer."""


class Line(BaseModel):
    """One line of a watch."""

    type: str
    object: JsonValue


class Reflector(Generic[O]):
    """Tells of every object that is there, and of every change.

    `replaced` gets all objects whenever they were listed, `changed` one that came, changed or went (True), and `lost`
    why nothing is known any more, until the next `replaced`.
    """

    def __init__(
        self,
        wire: Wire,
        group: str,
        plural: str,
        model: type[O],
        params: Mapping[str, str],
        *,
        replaced: Callable[[Sequence[O]], None],
        changed: Callable[[O, bool], None],
        lost: Callable[[NaruError], None],
    ) -> None:
        self._wire = wire
        self._what = (group, plural)
        self._path = ""
        self._model = TypeAdapter(model)
        self._kind = model
        self._params = params
        self._replaced = replaced
        self._changed = changed
        self._lost = lost
        self._hurry = asyncio.Event()

    def hurry(self) -> None:
        """Try again now when the API server was away."""
        self._hurry.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        wait = RECONNECT[0]
        while True:
            try:
                version = await self._list()
                wait = RECONNECT[0]
                while True:
                    version = await self._watch(version)
            except Expired:
                await asyncio.sleep(RECONNECT[0])
            except NaruError as error:
                self._hurry.clear()
                self._lost(error)
                try:
                    # Not wait_for, which before Python 3.12 forgets a cancellation that comes with the wakening.
                    async with asyncio.timeout(wait):
                        await self._hurry.wait()
                except TimeoutError:
                    wait = min(wait * 2, RECONNECT[1])

    async def _list(self) -> str:
        """List everything, in all namespaces where the account may, and return the version to watch from."""
        self._path = self._wire.collection(*self._what, everywhere=await self._wire.roams())
        found: list[O] = []
        params = {**self._params, "limit": str(PAGE)}
        while True:
            page = await self._wire.page(self._path, self._kind, params)
            found += page.items
            if not page.metadata.next_page:
                break
            params["continue"] = page.metadata.next_page
        self._replaced(found)
        return page.metadata.resource_version

    async def _watch(self, version: str) -> str:
        """Watch until the API server ends it, and return the version to go on from."""
        params = {**self._params, "resourceVersion": version}
        async with self._wire.watch(self._path, params, WATCH) as lines:
            async for text in lines:
                line = Line.model_validate_json(text)
                if line.type == "ERROR":
                    raise refusal(self._wire.name, Status.model_validate(line.object))
                seen = self._model.validate_python(line.object)
                version = seen.metadata.resource_version
                if line.type != "BOOKMARK":
                    self._changed(seen, line.type == "DELETED")
        return version
