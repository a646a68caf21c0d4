"""A client of image registries (OCI distribution-spec 1.1).

Nothing that a registry says is believed: manifests and blobs are held against their digests, sizes are bounded, and
an answer that does not match is refused.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from naru.domain.account import Credentials
from naru.domain.errors import Forbidden, Invalid, NotFound, Unavailable
from naru.domain.image import Image, Origin, Platform
from naru.oci.exchange import Ask, Exchange
from naru.oci.manifest import (
    MANIFEST_TYPES,
    MAX_CONFIG,
    MAX_MANIFEST,
    OCI_INDEX,
    Descriptor,
    Index,
    Inspected,
    Manifest,
    parse_config,
    parse_manifest,
    runs_on,
    select,
    wrong_platform,
)
from naru.oci.reference import Digest, Reference, registry_host

_ACCEPT: Final = ", ".join(MANIFEST_TYPES)
_BYTES: Final = "application/octet-stream"
_CHUNK: Final = 1024 * 1024
_MAX_DEPTH: Final = 3
_LIAR: Final = "do not trust this registry or what stands between it and us"


class RegistryClient:
    """Talks to any registry by HTTPS, and by HTTP to this machine and to the hosts that `exchange` lists as insecure.

    Every method raises NotFound, Forbidden, Unavailable, or Invalid when the registry answers wrongly. Credentials
    are used only for their own host. Close it, or use it as a context.
    """

    def __init__(self, exchange: Exchange | None = None) -> None:
        self._exchange = exchange or Exchange()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._exchange.close()

    async def ping(self, host: str, credentials: Credentials | None = None) -> None:
        """Return when `host` is a registry that lets us in."""
        domain = registry_host(host)
        await self._exchange.read(Ask("GET", domain, "/v2/", "registry API", login=credentials), MAX_MANIFEST)

    async def resolve(self, reference: Reference, platform: Platform, credentials: Credentials | None = None) -> Image:
        """Find the image that a reference means for a platform: from then on only its digest counts."""
        return (await self.inspect(reference, platform, credentials)).image

    async def inspect(
        self, reference: Reference, platform: Platform, credentials: Credentials | None = None
    ) -> Inspected:
        """Resolve a reference, and return its manifest and configuration too."""
        descriptor, document = await self.manifest(reference, credentials)
        for _ in range(_MAX_DEPTH):
            if isinstance(document, Manifest):
                break
            chosen = select(document.manifests, platform, reference.familiar)
            descriptor, document = await self.manifest(reference.at(chosen.digest), credentials)
        if not isinstance(document, Manifest) or not document.is_image:
            raise Invalid(f"{reference.familiar} is no container image", "name an image that can run")
        if document.config.size > MAX_CONFIG:
            raise Invalid(f"{reference.familiar} has a configuration of {document.config.size} bytes", _LIAR)
        config = parse_config(b"".join([chunk async for chunk in self.blob(reference, document.config, credentials)]))
        if not runs_on(config.platform, platform):
            raise wrong_platform(reference.familiar, [str(config.platform)], platform)
        if len(config.diff_ids) != len(document.layers):
            raise Invalid(f"{reference.familiar} has other layers than its configuration says", "push it again")
        image = Image(
            reference=str(reference),
            digest=str(descriptor.digest),
            config_digest=str(document.config.digest),
            platform=config.platform,
            origin=Origin.REGISTRY,
            size=document.size,
        )
        return Inspected(image, document, config)

    async def digest(self, reference: Reference, credentials: Credentials | None = None) -> Digest:
        """Ask, as cheaply as the registry allows, which manifest a tag means now."""
        ask = _manifest_ask("HEAD", reference, credentials)
        async with self._exchange.open(ask) as response:
            told = response.headers.get("Docker-Content-Digest", "")
        if told:
            return Digest.parse(told)
        descriptor, _ = await self.manifest(reference, credentials)
        return descriptor.digest

    async def manifest(
        self, reference: Reference, credentials: Credentials | None = None
    ) -> tuple[Descriptor, Manifest | Index]:
        """Fetch the manifest or index that a reference names, by its digest where it has one, verified."""
        response, content = await self._exchange.read(_manifest_ask("GET", reference, credentials), MAX_MANIFEST)
        digest = Digest.of(content)
        told = response.headers.get("Docker-Content-Digest", "")
        for expected in (str(reference.digest) if reference.digest else "", told):
            if expected.startswith("sha256:") and expected != str(digest):
                raise Forbidden(f"{reference.domain} answers {digest} where {expected} belongs", _LIAR)
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        document = parse_manifest(content, media_type)
        return Descriptor(document.media_type, digest, len(content)), document

    async def blob(
        self, reference: Reference, descriptor: Descriptor, credentials: Credentials | None = None
    ) -> AsyncIterator[bytes]:
        """Stream a blob of the reference's repository.

        What was yielded may be used only when the stream has ended: a wrong size or digest raises Forbidden, at the
        latest after the last chunk.
        """
        ask = Ask(
            "GET",
            reference.domain,
            f"/v2/{reference.path}/blobs/{descriptor.digest}",
            f"a part of {reference.familiar}",
            repository=reference.path,
            login=credentials,
        )
        sha256, size = hashlib.sha256(), 0
        async with self._exchange.open(ask) as response:
            async for chunk in response.aiter_raw(_CHUNK):
                size += len(chunk)
                if size > descriptor.size:
                    raise Forbidden(f"{reference.domain} sends more bytes than {descriptor.digest} has", _LIAR)
                sha256.update(chunk)
                yield chunk
        if size < descriptor.size:
            raise Unavailable(
                f"{reference.domain} sends only {size} of {descriptor.size} bytes of {descriptor.digest}", "try again"
            )
        if sha256.hexdigest() != descriptor.digest.hex:
            raise Forbidden(f"{reference.domain} answers other bytes than {descriptor.digest}", _LIAR)

    async def push_blob(
        self, reference: Reference, content: bytes | Path, credentials: Credentials | None = None
    ) -> Descriptor:
        """Put a blob into the reference's repository unless it is there (distribution-spec, "Pushing blobs")."""
        digest, size = await asyncio.to_thread(_measured, content)
        descriptor = Descriptor(_BYTES, digest, size)
        blobs, subject = f"/v2/{reference.path}/blobs", f"the repository {reference.name}"

        def ask(method: str, target: str, *headers: tuple[str, str], body: bytes | Path = b"") -> Ask:
            return Ask(
                method,
                reference.domain,
                target,
                subject,
                repository=reference.path,
                login=credentials,
                headers=headers,
                content=None if method == "HEAD" else lambda: _chunks(body),
            )

        try:
            async with self._exchange.open(ask("HEAD", f"{blobs}/{digest}")):
                return descriptor
        except NotFound:
            pass
        async with self._exchange.open(ask("POST", f"{blobs}/uploads/", ("Content-Length", "0"))) as begun:
            location = begun.url.join(begun.headers.get("Location", ""))
        finish = str(location.copy_merge_params({"digest": str(digest)}))
        headers = (("Content-Length", str(size)), ("Content-Type", _BYTES))
        async with self._exchange.open(ask("PUT", finish, *headers, body=content)):
            return descriptor

    async def push_manifest(
        self, reference: Reference, document: Manifest | Index, credentials: Credentials | None = None
    ) -> Descriptor:
        """Put a manifest under the reference's tag, or under its own digest; its blobs must be there already."""
        content = document.encode()
        digest = Digest.of(content)
        if reference.digest not in (None, digest):
            raise Invalid(f"the manifest is {digest}, not {reference.digest}", "push it under its own digest")
        ask = Ask(
            "PUT",
            reference.domain,
            f"/v2/{reference.path}/manifests/{reference.tag or digest}",
            f"the repository {reference.name}",
            repository=reference.path,
            login=credentials,
            headers=(("Content-Length", str(len(content))), ("Content-Type", document.media_type)),
            content=lambda: _chunks(content),
        )
        async with self._exchange.open(ask):
            return Descriptor(document.media_type, digest, len(content))

    async def referrers(
        self, subject: Reference, artifact_type: str, credentials: Credentials | None = None
    ) -> tuple[Descriptor, ...]:
        """List the artifacts of a type that refer to the manifest `subject` names by its digest.

        A registry without the referrers API is asked for the tag that takes its place (distribution-spec 1.1, "Listing
        Referrers" and "Referrers Tag Schema"). What is listed is a claim: the artifacts themselves say what they are.
        """
        listed = await self._listed(subject, artifact_type, credentials)
        if listed is None:
            listed = await self._tagged(subject, credentials)
        return tuple(entry for entry in listed if entry.artifact_type == artifact_type)

    async def attach(
        self, subject: Reference, artifact: Manifest, credentials: Credentials | None = None
    ) -> Descriptor:
        """Put an artifact about the manifest `subject` beside it; its blobs must be there already.

        Where the registry has no referrers API, the tag that takes its place is rewritten; of two who do that at the
        same moment one may have to do it again.
        """
        pushed = await self.push_manifest(subject.only(Digest.of(artifact.encode())), artifact, credentials)
        pushed = replace(pushed, artifact_type=artifact.artifact_type, annotations=artifact.annotations)
        if await self._listed(subject, artifact.artifact_type, credentials) is None:
            known = await self._tagged(subject, credentials)
            if pushed.digest not in {entry.digest for entry in known}:
                await self.push_manifest(_referrers_tag(subject), Index((*known, pushed)), credentials)
        return pushed

    async def _listed(
        self, subject: Reference, artifact_type: str, credentials: Credentials | None
    ) -> tuple[Descriptor, ...] | None:
        """Ask the referrers API; None where there is none."""
        ask = Ask(
            "GET",
            subject.domain,
            f"/v2/{subject.path}/referrers/{subject.digest}?artifactType={quote(artifact_type, safe='')}",
            f"what refers to {subject.familiar}",
            repository=subject.path,
            login=credentials,
            accept=OCI_INDEX,
        )
        try:
            _, content = await self._exchange.read(ask, MAX_MANIFEST)
        except NotFound:
            return None
        document = parse_manifest(content, OCI_INDEX)
        return document.manifests if isinstance(document, Index) else ()

    async def _tagged(self, subject: Reference, credentials: Credentials | None) -> tuple[Descriptor, ...]:
        try:
            _, document = await self.manifest(_referrers_tag(subject), credentials)
        except NotFound:
            return ()
        return document.manifests if isinstance(document, Index) else ()


def _referrers_tag(subject: Reference) -> Reference:
    if subject.digest is None:
        raise Invalid(f"{subject.familiar} has no digest", "name the manifest by its digest")
    return Reference(subject.domain, subject.path, tag=f"sha256-{subject.digest.hex}")


def _manifest_ask(method: str, reference: Reference, credentials: Credentials | None) -> Ask:
    return Ask(
        method,
        reference.domain,
        f"/v2/{reference.path}/manifests/{reference.digest or reference.tag}",
        reference.familiar,
        repository=reference.path,
        login=credentials,
        accept=_ACCEPT,
    )


def _measured(content: bytes | Path) -> tuple[Digest, int]:
    if isinstance(content, bytes):
        return Digest.of(content), len(content)
    with content.open("rb") as file:
        return Digest.of_stream(iter(lambda: file.read(_CHUNK), b"")), file.tell()


async def _chunks(content: bytes | Path) -> AsyncIterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with await asyncio.to_thread(content.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk
