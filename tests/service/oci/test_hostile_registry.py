"""Registries that lie, stall, flood or lead astray: each is refused, and no password goes where it does not belong."""

import asyncio
import gzip
import json

import pytest
from tests.service.oci.conftest import account
from tests.service.oci.hostile import Answer, Hostile
from tests.unit.oci.archives import AMD64, oci_members

from naru.domain.errors import Forbidden, Invalid, NaruError, NotFound, Unavailable
from naru.oci.exchange import Exchange, Patience
from naru.oci.manifest import MAX_MANIFEST, OCI_MANIFEST, Manifest, parse_manifest
from naru.oci.reference import Digest, Reference
from naru.oci.registry import RegistryClient


class Waits:
    """A sleep that only remembers."""

    def __init__(self):
        self.seconds = []

    async def __call__(self, seconds):
        self.seconds.append(seconds)


@pytest.fixture
def waits():
    return Waits()


@pytest.fixture
async def client(waits):
    patience = Patience(connect=5, silence=5, document=5, attempts=3)
    async with RegistryClient(Exchange(patience=patience, sleep=waits, jitter=lambda: 0.5)) as client:
        yield client


@pytest.fixture
def shop(hostile: Hostile) -> Reference:
    """An honest image; tests then make single answers dishonest."""
    members = oci_members()
    digest = json.loads(members["index.json"])["manifests"][0]["digest"]
    for path, content in members.items():
        if path.startswith("blobs/sha256/"):
            name = path.rpartition("/")[2]
            hostile.answers[f"/v2/team/shop/blobs/sha256:{name}"] = Answer(200, content)
    content = members[f"blobs/sha256/{Digest.parse(digest).hex}"]
    served = Answer(200, content, {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": digest})
    hostile.answers |= {"/v2/team/shop/manifests/1": served, f"/v2/team/shop/manifests/{digest}": served}
    return Reference.parse(f"{hostile.host}/team/shop:1")


def manifest_of(hostile: Hostile) -> Manifest:
    served = hostile.answers["/v2/team/shop/manifests/1"]
    assert isinstance(served, Answer)
    assert isinstance(served.body, bytes)
    manifest = parse_manifest(served.body)
    assert isinstance(manifest, Manifest)
    return manifest


async def endless():
    while True:
        yield bytes(65536)


async def silence():
    yield b"{"
    await asyncio.Event().wait()


async def test_the_honest_answers_resolve(client, shop):
    assert (await client.resolve(shop, AMD64)).reference == str(shop)


async def test_a_manifest_that_is_not_the_digest_asked_for_is_refused(client, shop, hostile):
    wrong = Digest.of(b"something else")
    hostile.answers[f"/v2/team/shop/manifests/{wrong}"] = hostile.answers["/v2/team/shop/manifests/1"]
    with pytest.raises(Forbidden, match="where sha256:"):
        await client.resolve(shop.at(wrong), AMD64)


async def test_a_manifest_that_is_not_what_its_header_says_is_refused(client, shop, hostile):
    told = {"Docker-Content-Digest": str(Digest.of(b"something else"))}
    hostile.answers["/v2/team/shop/manifests/1"] = Answer(200, manifest_of(hostile).encode(), told)
    with pytest.raises(Forbidden, match="where sha256:"):
        await client.resolve(shop, AMD64)


@pytest.mark.parametrize(
    "body",
    [b"<html>captive portal</html>", b"", b"[]", b"{}", gzip.compress(b"{}"), b"[" * 100_000],
    ids=["html", "nothing", "list", "empty", "gzip", "deep"],
)
async def test_a_manifest_that_is_none_is_invalid(client, shop, hostile, body):
    hostile.answers["/v2/team/shop/manifests/1"] = Answer(200, body)
    with pytest.raises(Invalid):
        await client.resolve(shop, AMD64)


@pytest.mark.parametrize("body", [b" " * (MAX_MANIFEST + 1), endless], ids=["giant", "endless"])
async def test_a_manifest_beyond_its_bound_is_refused(client, shop, hostile, body):
    hostile.answers["/v2/team/shop/manifests/1"] = Answer(200, body if isinstance(body, bytes) else body())
    with pytest.raises(Invalid, match="more than"):
        await client.resolve(shop, AMD64)


async def test_a_registry_that_falls_silent_is_unavailable(shop, hostile):
    hostile.answers["/v2/team/shop/manifests/1"] = lambda _: Answer(200, silence())
    async with RegistryClient(Exchange(patience=Patience(document=0.3, attempts=1))) as client:
        with pytest.raises(Unavailable, match="too long"):
            await client.resolve(shop, AMD64)


@pytest.mark.parametrize("change", ["other", "longer", "shorter", "endless", "cut"])
async def test_a_blob_that_is_not_its_digest_is_refused(client, shop, hostile, change):
    config = manifest_of(hostile).config
    path = f"/v2/team/shop/blobs/{config.digest}"
    hostile.answers[path] = {
        "other": Answer(200, bytes(config.size)),
        "longer": Answer(200, bytes(config.size + 1)),
        "shorter": Answer(200, bytes(config.size - 1)),
        "endless": Answer(200, endless()),
        "cut": Answer(200, b"{", length=config.size),
    }[change]
    with pytest.raises((Forbidden, Unavailable)) as refused:
        await client.resolve(shop, AMD64)
    assert isinstance(refused.value, Unavailable) == (change in ("shorter", "cut"))


async def test_a_redirect_takes_no_password_to_another_host(client, shop, hostile, other_host):
    login = account(hostile.host)
    layer = manifest_of(hostile).layers[0]
    path = f"/v2/team/shop/blobs/{layer.digest}"
    content = hostile.answers[path]

    def guarded(request):
        if "authorization" not in request.headers:
            return Answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return Answer(307, headers={"Location": f"http://{other_host.host}/elsewhere?sig=1"})

    hostile.answers[path] = guarded
    other_host.answers["/elsewhere"] = content
    received = b"".join([chunk async for chunk in client.blob(shop, layer, login)])
    assert Digest.of(received) == layer.digest
    assert [request.headers.get("authorization") for request in other_host.asked] == [None]
    assert hostile.asked[-1].headers["authorization"].startswith("Basic ")


async def test_a_host_that_a_redirect_leads_to_cannot_ask_for_the_password(client, shop, hostile, other_host):
    hostile.answers["/v2/team/shop/manifests/1"] = Answer(302, headers={"Location": f"http://{other_host.host}/trap"})
    other_host.answers["/trap"] = Answer(401, headers={"WWW-Authenticate": 'Basic realm="yours, please"'})
    with pytest.raises(Forbidden):
        await client.resolve(shop, AMD64, account(hostile.host))
    assert all("authorization" not in request.headers for request in other_host.asked)


async def test_an_upload_that_is_sent_elsewhere_takes_no_password_along(client, hostile, other_host):
    def begun(request):
        if "authorization" not in request.headers:
            return Answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return Answer(202, headers={"Location": f"http://{other_host.host}/take?state=1"})

    hostile.answers["/v2/team/shop/blobs/uploads/"] = begun
    other_host.answers["/take"] = Answer(201)
    reference = Reference.parse(f"{hostile.host}/team/shop:1")
    pushed = await client.push_blob(reference, b"content", account(hostile.host))
    [taken] = other_host.asked
    assert taken.query == {"state": "1", "digest": str(pushed.digest)}
    assert "authorization" not in taken.headers


@pytest.mark.parametrize(
    "location",
    [
        "http://registry.example/x",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "http://me:you@127.0.0.1/x",
        "http://[",
        "",
    ],
)
async def test_a_redirect_to_where_it_is_not_safe_is_refused(client, shop, hostile, location):
    hostile.answers["/v2/team/shop/manifests/1"] = Answer(302, headers={"Location": location})
    with pytest.raises((Forbidden, Invalid)):
        await client.resolve(shop, AMD64)


async def test_redirects_without_end_are_refused(client, shop, hostile):
    path = "/v2/team/shop/manifests/1"
    hostile.answers[path] = Answer(302, headers={"Location": path})
    with pytest.raises(Invalid, match="without end"):
        await client.resolve(shop, AMD64)
    assert len(hostile.asked) == 6


@pytest.mark.parametrize("realm", ["http://tokens.example/x", "ftp://127.0.0.1/", "http://a:b@127.0.0.1/", "nonsense"])
async def test_a_token_is_not_fetched_from_where_it_is_not_safe(client, shop, hostile, realm):
    told = {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'}
    hostile.answers["/v2/team/shop/manifests/1"] = Answer(401, headers=told)
    with pytest.raises((Forbidden, Invalid)):
        await client.resolve(shop, AMD64, account(hostile.host))


@pytest.mark.parametrize("body", [b"", b"{}", b'{"token":"a\\r\\nX-Evil: 1"}', b'{"token":1}', endless])
async def test_a_token_that_is_none_is_refused(client, shop, hostile, other_host, body):
    told = {"WWW-Authenticate": f'Bearer realm="http://{other_host.host}/token",service="x"'}
    hostile.answers["/v2/team/shop/manifests/1"] = Answer(401, headers=told)
    other_host.answers["/token"] = Answer(200, body if isinstance(body, bytes) else body())
    with pytest.raises(Invalid):
        await client.resolve(shop, AMD64)


async def test_a_busy_registry_is_asked_again_when_it_says(client, shop, hostile, waits):
    answers = iter(
        [Answer(429, headers={"Retry-After": "7"}), Answer(503), hostile.answers["/v2/team/shop/manifests/1"]]
    )
    hostile.answers["/v2/team/shop/manifests/1"] = lambda _: next(answers)
    await client.resolve(shop, AMD64)
    assert waits.seconds == [7.0, 1.0]


async def test_a_registry_that_stays_busy_is_given_up(client, shop, hostile, waits):
    hostile.answers["/v2/team/shop/manifests/1"] = Answer(502)
    with pytest.raises(Unavailable, match="status 502"):
        await client.resolve(shop, AMD64)
    assert len(waits.seconds) == 2


async def test_a_long_wait_is_left_to_the_caller(client, shop, hostile, waits):
    hostile.answers["/v2/team/shop/manifests/1"] = Answer(429, headers={"Retry-After": "3600"})
    with pytest.raises(Unavailable) as busy:
        await client.resolve(shop, AMD64)
    assert busy.value.retry_after == 3600
    assert waits.seconds == []


async def test_cookies_are_not_kept(client, shop, hostile):
    for path, answer in list(hostile.answers.items()):
        assert isinstance(answer, Answer)
        hostile.answers[path] = Answer(answer.status, answer.body, answer.headers | {"Set-Cookie": "session=1"})
    await client.resolve(shop, AMD64)
    assert all("cookie" not in request.headers for request in hostile.asked)


@pytest.mark.parametrize("status", [204, 300, 301, 400, 402, 404, 405, 418, 451, 500, 599])
async def test_any_status_is_an_error_of_ours(client, shop, hostile, status):
    hostile.answers["/v2/team/shop/manifests/1"] = Answer(status)
    with pytest.raises(NaruError) as refused:
        await client.resolve(shop, AMD64)
    assert isinstance(refused.value, NotFound) == (status == 404)


async def test_plain_http_is_spoken_only_where_it_is_allowed():
    exchange = Exchange(insecure=["registry.example:5000"])
    try:
        assert exchange.endpoint("registry.example:5000") == "http://registry.example:5000/"
        assert exchange.endpoint("registry.example") == "https://registry.example/"
        assert exchange.endpoint("localhost.example") == "https://localhost.example/"
        assert exchange.endpoint("localhost:5000") == "http://localhost:5000/"
        assert exchange.endpoint("docker.io") == "https://registry-1.docker.io/"
    finally:
        await exchange.close()
