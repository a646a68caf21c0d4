"""What a volume holds, read and written by GNU tar in a pod that does nothing else.

The pod is of the app's own image, which the nodes can pull, or of the one that the engine's URL names. It runs tar
reading an input that nobody writes, so it needs no shell and no sleep. busybox's tar would not do: it restores the
times neither of directories nor of symbolic links. Kept are modes, owners, times, links, devices and file
capabilities; what is sparse is written out, and lost+found at the root is a file system's own.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise

from lightkube.models.batch_v1 import JobSpec
from lightkube.models.core_v1 import (
    Container,
    LocalObjectReference,
    PersistentVolumeClaimVolumeSource,
    PodSpec,
    PodTemplateSpec,
    SecurityContext,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import PersistentVolumeClaim

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, Invalid, NotFound, Unavailable
from naru.domain.release import Release
from naru.engines.base import Stored
from naru.engines.kubernetes import translate
from naru.engines.kubernetes.answers import Object, Pod
from naru.engines.kubernetes.naming import (
    CONTAINER,
    MANAGER,
    MANAGER_LABEL,
    NUMBER_LABEL,
    belongs,
    claim_name,
    image_name,
    labels,
    pull_secret_name,
)
from naru.engines.kubernetes.wire import Wire
from naru.oci.reference import Reference

CARRIER_LABEL = "naru.carrier"
PLACE = "/naru-volume"
IDLE = ("tar", "-tf", "-")
ABOUT = ("tar", "--version")
_ALIKE = ("--numeric-owner", "--xattrs", "--xattrs-include=security.capability", "-C", PLACE)
PACK = ("tar", *_ALIKE, "--format=posix", "--sort=name", "--anchored", "--exclude=./lost+found", "-cf", "-", ".")
UNPACK = ("tar", *_ALIKE, "-xpf", "-")
STARTING = 300.0
"""Seconds for the pod to run: its node may have to pull the image first."""
LEAVING = 60.0
"""Seconds for the pod and the old claim to go."""
LOOK = 0.2
"""Seconds between two looks."""
_HOPELESS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerError", "StartError"})
_MEND = "name an image with GNU tar in the engine's URL: carrier=REPOSITORY@sha256:DIGEST"


async def stored(wires: Iterable[Wire], app: str) -> list[Stored]:
    """List the app's volumes in these namespaces, by name; raises Conflict for one that several have."""
    claims = [(_volume(app, one), one.metadata) for wire in wires for one in await wire.claims(app)]
    claims.sort(key=lambda one: one[0])
    for (name, one), (next_, other) in pairwise(claims):
        if name == next_:
            cause = f"{one.namespace} and {other.namespace} have a volume {name} of {app}, each with data of its own"
            raise Conflict(cause, f"remove the wrong one: kubectl delete pvc {one.name} --namespace …")
    return [Stored(name, meta.uid) for name, meta in claims]


class Carrier:
    """Carries the volumes of a release's app, in the namespace of `wire`."""

    def __init__(self, wire: Wire, release: Release, credentials: Mapping[str, Credentials]) -> None:
        self._wire = wire
        self._app = release.app
        self._release = release
        self._image = wire.access.carrier or image_name(release.image)
        self._credentials = credentials.get(Reference.parse(self._image).domain)

    async def pack(self, volume: str) -> AsyncGenerator[bytes, None]:
        """Read a volume as a tar archive, its root first; raises NotFound without the volume."""
        if await self._held(volume) is None:
            raise NotFound(f"{self._wire.name} has no volume {volume} of {self._app}", "look at its claims")
        async with (
            self._carrying(volume) as pod,
            aclosing(self._wire.read(pod, PACK)) as chunks,
        ):
            async for chunk in chunks:
                yield chunk

    async def unpack(self, volume: str, archive: AsyncIterator[bytes]) -> None:
        """Make the volume anew and write an archive into it."""
        owner, project = self._wire.owner, self._release.workload.project
        await self._wire.ensure_namespace(translate.namespace_for(owner, self._wire.access.namespace, project))
        if project and self._credentials:
            await self._wire.apply_blindly(translate.pull_secret(owner, self._credentials))
        await self.clear()
        name, number = _parts(volume)
        if held := await self._held(volume):
            if not belongs(held.metadata.labels, owner, self._app):
                cause = f"a claim that Naru did not make for {self._app} is called {held.metadata.name}"
                raise Conflict(cause, "rename or remove it")
            await self._wire.delete_claim(self._app, held.metadata.name)
            await self._until_gone(volume)
        size = self._wire.access.claim_size
        await self._wire.apply(translate.claim(owner, self._app, name, size, number), self._app)
        async with self._carrying(volume) as pod:
            await self._wire.write(pod, UNPACK, archive)

    async def clear(self) -> None:
        """Remove a carrier that was left behind: what a pod uses cannot be removed."""
        await self._wire.delete_marked(Job, f"{CARRIER_LABEL}={self._name}")
        deadline = time.monotonic() + LEAVING
        while pods := await self._wire.marked(f"{CARRIER_LABEL}={self._name}"):
            if time.monotonic() > deadline:
                raise Unavailable(f"{self._wire.name} does not end the pod {pods[0].metadata.name}", "see its node")
            await asyncio.sleep(LOOK)

    @property
    def _name(self) -> str:
        return f"naru-carrier-{hashlib.sha256(f'{self._wire.owner} {self._app}'.encode()).hexdigest()[:12]}"

    async def _held(self, volume: str) -> Object | None:
        return await self._wire.holder(PersistentVolumeClaim, claim_name(self._app, *_parts(volume)))

    async def _until_gone(self, volume: str) -> None:
        deadline = time.monotonic() + LEAVING
        while await self._held(volume):
            if time.monotonic() > deadline:
                raise Conflict(f"something still uses the volume {volume} of {self._app}", "stop what does")
            await asyncio.sleep(LOOK)

    @asynccontextmanager
    async def _carrying(self, volume: str) -> AsyncIterator[str]:
        """Have a pod with the volume while the block runs."""
        await self.clear()
        try:
            await self._wire.apply(self._job(claim_name(self._app, *_parts(volume))), self._app)
            pod = await self._running()
            about = await self._wire.run(pod, ABOUT, b"")
            if b"GNU tar" not in about.stdout:
                raise Conflict(f"the tar of {self._image} keeps not all of what a volume holds", _MEND)
            yield pod
        finally:
            await self.clear()

    async def _running(self) -> str:
        """Wait until the pod runs, and name it; raises why it does not."""
        deadline = time.monotonic() + STARTING
        told = "it was not made"
        while time.monotonic() < deadline:
            for pod in await self._wire.marked(f"{CARRIER_LABEL}={self._name}"):
                for status in pod.status.container_statuses:
                    if status.state.running:
                        return pod.metadata.name
                    waits, ended = status.state.waiting, status.state.terminated
                    if ended or (waits and waits.reason in _HOPELESS):
                        cause = ended or waits
                        assert cause  # noqa: S101 - one of them is there
                        raise Conflict(f"{self._image} cannot carry volumes ({cause.reason}: {cause.message})", _MEND)
                told = _condition(pod) or told
            await asyncio.sleep(LOOK)
        raise Unavailable(f"{self._wire.name} starts no pod to carry the volumes of {self._app} ({told})")

    def _job(self, claim: str) -> Job:
        owner, key, marks = self._wire.owner, self._credentials, {CARRIER_LABEL: self._name}
        platform = self._release.image.platform
        container = Container(
            name=CONTAINER,
            image=self._image,
            imagePullPolicy="IfNotPresent",
            command=list(IDLE),
            stdin=True,
            securityContext=SecurityContext(runAsUser=0, runAsGroup=0),
            volumeMounts=[VolumeMount(name="volume", mountPath=PLACE)],
        )
        spec = PodSpec(
            containers=[container],
            restartPolicy="Never",
            terminationGracePeriodSeconds=1,
            automountServiceAccountToken=False,
            enableServiceLinks=False,
            nodeSelector={"kubernetes.io/os": platform.os, "kubernetes.io/arch": platform.architecture},
            imagePullSecrets=[LocalObjectReference(name=pull_secret_name(owner, key.registry))] if key else None,
            volumes=[Volume(name="volume", persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName=claim))],
        )
        # No label of the app's on the pod: it is no instance, and its Service must not lead to it.
        template = PodTemplateSpec(metadata=ObjectMeta(labels={MANAGER_LABEL: MANAGER, **marks}), spec=spec)
        return Job(
            metadata=ObjectMeta(name=self._name, labels={**labels(owner, self._app), **marks}),
            spec=JobSpec(backoffLimit=0, template=template),
        )


def _parts(volume: str) -> tuple[str, int]:
    """Split a volume's name and the number of the instance that it belongs to."""
    name, _, number = volume.partition(".")
    if number and not number.isdecimal():
        raise Invalid(f"{volume!r} names no volume", "write it as the app's volumes are listed")
    return name, int(number or 1)


def _volume(app: str, claim: Object) -> str:
    name = claim.metadata.name.removeprefix(f"{app}-")
    number = claim.metadata.labels.get(NUMBER_LABEL, "")
    return f"{name.removesuffix(f'-{number}')}.{number}" if number else name


def _condition(pod: Pod) -> str:
    return next((f"{one.reason}: {one.message}" for one in pod.status.conditions if one.status != "True"), "")
