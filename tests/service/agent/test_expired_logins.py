"""A registry that takes a node's password no more in the middle of an image."""

import base64
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.service.oci.hostile import Answer, Hostile, Request

from naru.agent.logins import Logins
from naru.agent.mirror.blobs import Blobs
from naru.agent.mirror.upstream import Upstream
from naru.agent.objects import ObjectStore
from naru.domain.errors import NaruError
from naru.oci.exchange import Exchange
from naru.oci.reference import Digest, Reference

LAYERS = tuple(bytes([number]) * 3000 for number in range(3))
DIGESTS = tuple(Digest(hashlib.sha256(content).hexdigest()) for content in LAYERS)


@pytest_asyncio.fixture
async def registry() -> AsyncIterator[Hostile]:
    async with Hostile() as server:
        yield server


def basic(password: str) -> str:
    return base64.b64encode(f"edge:{password}".encode()).decode()


async def test_a_login_that_expires_stops_what_is_missing_until_a_new_one_is_written(
    tmp_path: Path, registry: Hostile
) -> None:
    valid = ["old"]

    def layer(content: bytes):
        def answer(request: Request) -> Answer:
            if request.headers.get("authorization") == f"Basic {basic(valid[0])}":
                return Answer(body=content)
            return Answer(401, headers={"WWW-Authenticate": 'Basic realm="tests"'})

        return answer

    for digest, content in zip(DIGESTS, LAYERS, strict=True):
        registry.answers[f"/v2/team/shop/blobs/{digest}"] = layer(content)
    logins = tmp_path / "config.json"
    logins.write_text(json.dumps({"auths": {registry.host: {"auth": basic("old")}}}))
    of, store = Reference(registry.host, "team/shop", tag="1"), ObjectStore(tmp_path / "store")
    async with Exchange() as exchange:
        blobs = Blobs(store, Upstream(exchange, login=Logins(logins).of))
        await blobs.fetch(of, DIGESTS[0])
        valid[0] = "new"

        for digest in DIGESTS[1:]:
            with pytest.raises(NaruError) as refused:
                await blobs.fetch(of, digest)
            assert registry.host in str(refused.value)
        await blobs.fetch(of, DIGESTS[0])  # what is here asks nobody
        assert store.usage().objects == 1

        logins.write_text(json.dumps({"auths": {registry.host: {"auth": basic("new")}}}))
        os.utime(logins, (1, 1))  # another time than before, however quick this was
        for digest in DIGESTS:
            await blobs.fetch(of, digest)
        assert [store.read(bytes.fromhex(digest.hex)) for digest in DIGESTS] == list(LAYERS)
        await blobs.close()
    store.close()
