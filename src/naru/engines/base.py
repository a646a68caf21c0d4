"""What every engine can be asked."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from naru.domain.account import Credentials
from naru.domain.image import Image
from naru.domain.instance import ExecResult, Instance, LogLine, Usage
from naru.domain.release import Release
from naru.domain.rollout import LayerProgress
from naru.domain.target import Target

OWNER_LABEL = "naru.owner"
"""Which Naru made it: several may share an engine, and none touches what is another's."""
APP_LABEL = "naru.app"
PROJECT_LABEL = "naru.project"
RELEASE_LABEL = "naru.release"
REVISION_LABEL = "naru.revision"


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to an app's instances: look again. `app` is empty when everything may have changed."""

    app: str
    what: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A volume that exists.

    It is named as in the workload, with `.N` behind it for instance N of a stateful app, from the second on. `storage`
    says where its bytes are, in the engine's own words: two targets that say the same show the same bytes. Empty for
    an engine that cannot tell.
    """

    name: str
    storage: str


class Engine(Protocol):
    """Runs instances. Every method raises only errors of naru.domain.errors; Unavailable when the engine is away."""

    name: str

    async def describe(self) -> Target:
        """Say what the engine is, can do, and has room for."""

    async def find(self, reference: str) -> Image | None:
        """Return an image that only this engine has under that name: built on it, never pulled from a registry."""

    def fetch(
        self, image: Image, *, credentials: Credentials | None = None, archive: Path | None = None
    ) -> AsyncIterator[Sequence[LayerProgress]]:
        """Bring an image by its digest, yielding how far each layer has come; at the end the engine holds it.

        A stored image comes from `archive`, a docker-archive file; without one NotFound says that the engine lacks it.
        One that the engine already holds costs nothing.
        """

    async def apply(
        self, release: Release, replicas: int, *, secrets: Mapping[str, bytes], retire: Collection[str] = ()
    ) -> None:
        """Make exactly `replicas` instances of the release's revision exist, or be on their way.

        Idempotent. Instances of other revisions stay as they are. Those named in `retire` are the first to go;
        after them those that are not ready, then the youngest. One that drifted is made anew when it does not
        serve, or when `retire` names it: so the caller decides how many go at once. Returns when the change is
        accepted, before the new instances are ready, and after the stopped ones are gone. `secrets` holds the
        value of every secret that the workload names.

        The kind of the workload decides more, as far as the engine has the feature for it:

        - An instance that is not `checked` is ready as soon as its process runs; without a port it has no address.
        - One that is meant to end stays when it has ended, counts, and is started again only after a failure, if at
          all: COMPLETED with exit code 0, else EXITED. All of them are started at once.
        - Of a scheduled workload exactly one instance in the state SCHEDULED exists, or none for no replicas. The
          runs that it starts are instances too, of the same revision, and do not count; old ones may be forgotten.
        - Instances of a stateful workload have numbers from 1, each with volumes of its own under each volume's
          name; two that live at once never share a number. The first has the volumes that a service would have.
        - Instances of a project reach each other's apps by the workloads' `hosts`, and nobody else's; a name may
          lead to instances that are not ready yet.
        """

    async def observe(self, app: str = "") -> Sequence[Instance]:
        """List the instances that Naru owns, of one app or of all, oldest first."""

    def watch(self) -> AsyncIterator[Change]:
        """Yield a change whenever an owned instance's state, readiness or shape may have changed.

        Ends or raises Unavailable when the engine goes away; the caller asks again.
        """

    async def remove(self, app: str, *, volumes: bool = False) -> None:
        """Remove everything that Naru made for the app; its named volumes only when asked.

        What a project has in common goes with the last of its apps.
        """


class Window(Protocol):
    """Looks into instances. Every engine that can, offers it beside Engine."""

    def logs(
        self, instance: str, *, follow: bool = False, since: datetime | None = None, tail: int | None = None
    ) -> AsyncIterator[LogLine]:
        """Yield what the instance wrote; with `follow`, until it is gone."""

    async def execute(self, instance: str, command: Sequence[str], *, stdin: bytes = b"") -> ExecResult:
        """Run a command inside the instance to its end."""

    def usage(self, instance: str) -> AsyncIterator[Usage]:
        """Yield what the instance uses, about once a second."""


class Volumes(Protocol):
    """Reads and writes what an app's volumes hold; an engine without Feature.VOLUME_COPIES refuses with Conflict."""

    name: str

    async def volumes(self, app: str) -> Sequence[Stored]:
        """List the app's volumes that exist, by name; Conflict for one of which there are several."""

    def pack(self, release: Release, volume: str) -> AsyncIterator[bytes]:
        """Yield a volume as a tar archive (POSIX 1003.1, PAX), its root first, whether or not an instance uses it.

        The engine holds the release's image, of which nothing need run. Raises NotFound without the volume.
        """

    async def unpack(self, release: Release, volume: str, archive: AsyncIterator[bytes]) -> None:
        """Make the volume anew, with what the archive holds and nothing else.

        Raises Conflict when an instance uses it, and whatever the archive raises. What was there before is lost, and
        after an error what is there is of no use.
        """


class OpenEngine(Engine, Window, Volumes, Protocol):
    """An engine whose instances and volumes can be looked into."""
