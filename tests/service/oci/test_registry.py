"""The registry client against Debian's registry: open, behind a password, behind tokens."""

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest
from tests.service.oci.conftest import TlsRegistry, TokenRegistry, account
from tests.unit.oci.archives import AMD64, oci_members, stream, tar

from naru.domain.errors import Forbidden, Invalid, NotFound, Unavailable
from naru.domain.image import Origin, Platform
from naru.oci.exchange import Exchange, Patience
from naru.oci.layout import ImageStore
from naru.oci.manifest import OCI_INDEX, Descriptor, Index
from naru.oci.reference import Digest, Reference
from naru.oci.registry import RegistryClient

pytestmark = pytest.mark.needs("docker-registry")
ARM64 = Platform("linux", "arm64")


@pytest.fixture
async def client():
    async with RegistryClient() as client:
        yield client


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


async def pushed(client, store, host, *, name="team/shop:1", login=None, platforms=(AMD64, ARM64)):
    """Load an image for some platforms into the store and push it as one index; return what was pushed."""
    reference = Reference.parse(f"{host}/{name}")
    images = await store.load(stream(tar(oci_members([str(reference)], platforms))))
    entries = []
    for image in images:
        found = await store.inspect(image)
        for blob in (found.manifest.config, *found.manifest.layers):
            async with store.content(blob.digest) as path:
                await client.push_blob(reference, path, login)
        by_digest = Reference(reference.domain, reference.path, digest=Digest.parse(image.digest))
        pushed = await client.push_manifest(by_digest, found.manifest, login)
        entries.append(Descriptor(pushed.media_type, pushed.digest, pushed.size, image.platform))
    index = await client.push_manifest(reference, Index(tuple(entries), OCI_INDEX), login)
    return reference, images, index


async def test_an_image_that_was_pushed_is_resolved_for_each_platform(client, store, open_registry):
    reference, images, index = await pushed(client, store, open_registry)
    for image in images:
        resolved = await client.resolve(reference, image.platform)
        assert resolved.digest == image.digest
        assert resolved.config_digest == image.config_digest
        assert resolved.origin is Origin.REGISTRY
        assert resolved.size == image.size
        assert resolved.reference == str(reference)
    assert await client.digest(reference) == index.digest


async def test_an_image_is_resolved_by_its_digest_whatever_the_tag_means_now(client, store, open_registry):
    reference, images, index = await pushed(client, store, open_registry, name="team/moving:1")
    await client.push_manifest(reference, (await store.inspect(images[1])).manifest)
    assert (await client.resolve(reference.at(index.digest), AMD64)).digest == images[0].digest
    assert await client.digest(reference) != index.digest


async def test_another_platform_is_named_with_those_that_exist(client, store, open_registry):
    reference, _, _ = await pushed(client, store, open_registry)
    with pytest.raises(Invalid, match="exists for linux/amd64, linux/arm64, not linux/riscv64"):
        await client.resolve(reference, Platform("linux", "riscv64"))


async def test_an_image_without_index_for_another_platform_is_refused_too(client, store, open_registry):
    reference, images, _ = await pushed(client, store, open_registry, name="team/single:1", platforms=[ARM64])
    await client.push_manifest(reference, (await store.inspect(images[0])).manifest)
    with pytest.raises(Invalid, match="exists for linux/arm64, not linux/amd64"):
        await client.resolve(reference, AMD64)


async def test_an_unknown_tag_or_image_is_named(client, store, open_registry):
    reference, _, _ = await pushed(client, store, open_registry)
    with pytest.raises(NotFound, match="team/shop:nine"):
        await client.resolve(Reference.parse(f"{reference.name}:nine"), AMD64)
    with pytest.raises(NotFound, match="team/nothing:1"):
        await client.resolve(Reference.parse(f"{open_registry}/team/nothing:1"), AMD64)


@pytest.mark.needs("skopeo")
async def test_skopeo_reads_what_was_pushed(client, store, open_registry):
    reference, images, _ = await pushed(client, store, open_registry, name="team/skopeo:1")
    command = ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{reference.name}@{images[0].digest}"]
    shown = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, timeout=30)
    assert str(Digest.of(shown.stdout)) == images[0].digest


@pytest.mark.needs("htpasswd")
async def test_a_password_opens_its_registry(client, store, password_registry):
    login = account(password_registry)
    reference, images, _ = await pushed(client, store, password_registry, login=login)
    await client.ping(password_registry, login)
    assert (await client.resolve(reference, AMD64, login)).digest == images[0].digest


@pytest.mark.needs("htpasswd")
@pytest.mark.parametrize("login", [None, "wrong"])
async def test_without_the_right_password_the_mend_is_to_sign_in(client, password_registry, login):
    credentials = account(password_registry, password=login) if login else None
    for asking in (
        client.ping(password_registry, credentials),
        client.resolve(Reference.parse(f"{password_registry}/team/shop:1"), AMD64, credentials),
    ):
        with pytest.raises(Forbidden) as refused:
            await asking
        assert f"naru registry login {password_registry}" in refused.value.mend


async def test_a_token_opens_its_registry_and_is_kept(client, store, token_registry: TokenRegistry):
    login = account(token_registry.host)
    reference, images, _ = await pushed(client, store, token_registry.host, login=login)
    asked = len(token_registry.asked)
    assert asked == 2  # one to look for blobs, one to write them
    assert (await client.resolve(reference, AMD64, login)).digest == images[0].digest
    assert (await client.resolve(reference, ARM64, login)).digest == images[1].digest
    assert len(token_registry.asked) == asked


async def test_a_ping_tells_good_credentials_from_bad_ones(client, token_registry: TokenRegistry):
    await client.ping(token_registry.host, account(token_registry.host))
    with pytest.raises(Forbidden):
        await client.ping(token_registry.host, account(token_registry.host, password="wrong"))


async def test_without_credentials_no_token_is_had(client, token_registry: TokenRegistry):
    with pytest.raises(Forbidden, match="without signing in") as refused:
        await client.resolve(Reference.parse(f"{token_registry.host}/team/shop:1"), AMD64)
    assert "naru registry login" in refused.value.mend


async def test_credentials_of_another_registry_are_not_used(client, open_registry):
    with pytest.raises(Invalid, match=r"credentials are for other\.example"):
        await client.ping(open_registry, account("other.example"))


async def test_a_registry_that_is_away_is_unavailable():
    async with RegistryClient(Exchange(patience=Patience(attempts=1))) as client:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 does not answer"):
            await client.ping("127.0.0.1:1")
        with pytest.raises(Unavailable, match=r"registry\.invalid does not answer"):
            await client.ping("registry.invalid")


async def test_a_certificate_is_checked(store, tls_registry: TlsRegistry):
    async with RegistryClient(Exchange(patience=Patience(attempts=1))) as client:
        with pytest.raises(Unavailable, match="certificate"):
            await client.ping(tls_registry.host)
    trusting = ssl.create_default_context(cafile=str(tls_registry.authority))
    async with RegistryClient(Exchange(tls=trusting)) as trusted:
        reference, images, _ = await pushed(trusted, store, tls_registry.host)
        assert (await trusted.resolve(reference, AMD64)).digest == images[0].digest
