"""The mirror before Debian's registry and before one that lies, asked by the real engines and by hand."""

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from tests.conftest import answers
from tests.containerds import containerd
from tests.layered import base, layer, push
from tests.relay import enter
from tests.service.oci.hostile import Answer, Hostile

from naru.agent.http import serving
from naru.agent.mirror.application import mirror
from naru.agent.mirror.blobs import Blobs
from naru.agent.mirror.manifests import Manifests
from naru.agent.mirror.upstream import Upstream
from naru.agent.objects import ObjectStore
from naru.domain.image import Image
from naru.oci.exchange import Exchange, Patience
from naru.oci.reference import Reference

pytestmark = pytest.mark.needs("docker-registry", "busybox")
OCI = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Mirrored:
    url: str
    blobs: Blobs
    store: ObjectStore

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")


@pytest_asyncio.fixture
async def opened(tmp_path: Path):
    """Return what opens a mirror of a registry."""
    stack = []

    async def open_mirror(default: str) -> Mirrored:
        store = ObjectStore(tmp_path / "objects")
        exchange = Exchange(patience=Patience(backoff=0.01, attempts=2))
        upstream = Upstream(exchange)
        blobs = Blobs(store, upstream)
        server = serving(
            mirror(blobs, Manifests(tmp_path / "manifests", upstream), upstream, default), ("127.0.0.1", 0)
        )
        port = await server.__aenter__()
        stack.extend([blobs.close, lambda: server.__aexit__(None, None, None), exchange.close])
        return Mirrored(f"http://127.0.0.1:{port}", blobs, store)

    yield open_mirror
    for end in stack:
        await end()


@pytest_asyncio.fixture
async def mirrored(opened, open_registry: str) -> Mirrored:
    return await opened(open_registry)


@pytest_asyncio.fixture
async def image(open_registry: str, tmp_path: Path) -> Image:
    return await push(tmp_path / "made", f"{open_registry}/team/shop:1", [base(), layer({"greeting": b"hello"})])


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20) as client:
        yield client


@pytest_asyncio.fixture
async def hostile() -> AsyncIterator[Hostile]:
    async with Hostile() as server:
        yield server


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


async def test_manifests_and_blobs_are_those_of_the_registry(mirrored, image, http):
    manifest = await http.get(f"{mirrored.url}/v2/team/shop/manifests/1", headers={"Accept": OCI})
    assert manifest.headers["docker-content-digest"] == image.digest == digest(manifest.content)
    for entry in manifest.json()["layers"]:
        blob = await http.get(f"{mirrored.url}/v2/team/shop/blobs/{entry['digest']}")
        assert (digest(blob.content), len(blob.content)) == (entry["digest"], entry["size"])


async def test_a_name_through_the_mirror_itself_means_what_the_mirror_makes_of_it(open_registry, image):
    own = "127.0.0.1:7072"
    async with Exchange() as exchange:
        upstream = Upstream(exchange, mirror=own, default=open_registry)
        assert await upstream.digest(Reference(own, "team/shop", tag="1"), "1") == image.digest


async def test_ranges_are_answered_while_a_blob_arrives_and_after(mirrored, open_registry, tmp_path, http):
    content = os.urandom(3_500_000)
    await push(tmp_path / "made", f"{open_registry}/big:1", [content])
    url = f"{mirrored.url}/v2/big/blobs/{digest(content)}"
    for asked, told in (("bytes=10-19", slice(10, 20)), ("bytes=3400000-", slice(3_400_000, None))):
        answer = await http.get(url, headers={"Range": asked})
        assert answer.status_code == 206
        assert answer.content == content[told]
    beyond = await http.get(url, headers={"Range": "bytes=3500000-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */3500000")


async def test_many_who_ask_at_once_cost_the_registry_one_copy(opened, hostile, http):
    content = os.urandom(2_500_000)
    gate = asyncio.Event()

    async def slowly():
        yield content[:1_200_000]
        await gate.wait()
        yield content[1_200_000:]

    path = f"/v2/team/shop/blobs/{digest(content)}"
    hostile.answers[path] = lambda _: Answer(body=slowly(), headers={"Content-Length": str(len(content))})
    mirrored = await opened(hostile.host)
    asking = [asyncio.create_task(http.get(mirrored.url + path)) for _ in range(8)]
    async with http.stream("GET", mirrored.url + path) as first:
        async for part in first.aiter_raw():
            assert part == content[: len(part)]  # the first bytes come before the last have left the registry
            break
        gate.set()
    assert {digest((await one).content) for one in asking} == {digest(content)}
    assert len([one for one in hostile.asked if one.path == path and one.method == "GET"]) == 1
    assert mirrored.blobs.from_origin == len(content)


@pytest.mark.parametrize("size", [10, 2_500_000])
async def test_a_wrong_blob_breaks_the_connection_and_is_never_kept(opened, hostile, http, size):
    right, wrong = os.urandom(size), os.urandom(size)
    path = f"/v2/team/shop/blobs/{digest(right)}"
    hostile.answers[path] = Answer(body=wrong)
    mirrored = await opened(hostile.host)
    for _ in range(2):
        with pytest.raises(httpx.HTTPError):
            await http.get(mirrored.url + path)
    hostile.answers[path] = Answer(body=right)
    assert (await http.get(mirrored.url + path)).content == right


@pytest.mark.parametrize("sent", [b"", b"short"])
async def test_a_blob_that_ends_early_breaks_the_connection(opened, hostile, http, sent):
    path = f"/v2/team/shop/blobs/{digest(b'whole')}"
    hostile.answers[path] = Answer(body=sent, length=1000)
    mirrored = await opened(hostile.host)
    with pytest.raises(httpx.HTTPError):
        (await http.get(mirrored.url + path)).raise_for_status()
    assert not mirrored.store.has(hashlib.sha256(b"whole").digest())


async def test_what_was_pulled_is_still_there_when_the_registry_is_away(opened, hostile, http):
    manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI, "layers": []}).encode()
    told = {"Content-Type": OCI, "Docker-Content-Digest": digest(manifest)}
    hostile.answers["/v2/team/shop/manifests/1"] = Answer(body=manifest, headers=told)
    hostile.answers[f"/v2/team/shop/blobs/{digest(b'blob')}"] = Answer(body=b"blob")
    mirrored = await opened(hostile.host)
    urls = [f"{mirrored.url}/v2/team/shop/{path}" for path in ("manifests/1", f"blobs/{digest(b'blob')}")]
    before = [(await http.get(url)).content for url in urls]

    hostile.answers.clear()
    hostile.answers["/v2/team/shop/manifests/1"] = Answer(503)

    assert [(await http.get(url)).content for url in urls] == before == [manifest, b"blob"]


async def test_a_manifest_with_another_digest_is_refused(opened, hostile, http):
    hostile.answers[f"/v2/team/shop/manifests/{digest(b'right')}"] = Answer(body=b"wrong")
    mirrored = await opened(hostile.host)
    answer = await http.get(f"{mirrored.url}/v2/team/shop/manifests/{digest(b'right')}")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "DENIED")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/team/shop/blobs/sha256:../../../etc/passwd", 404),
        ("/v2/team/shop/blobs/md5:00", 400),
        ("/v2/UPPER/manifests/1", 400),
        ("/v2/team/../../shop/manifests/1", 400),
        ("/v2/team/shop/manifests/..%2f..%2fx", 404),
        ("/v2/team/shop/manifests/nothing", 404),
        ("/v2/team/shop/uploads/", 404),
        ("/v2/team/shop/manifests/1?ns=user:secret@example.org", 400),
    ],
)
async def test_hostile_names_are_refused(mirrored, http, path, status):
    del http
    reader, writer = await asyncio.open_connection(*mirrored.host.split(":"))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    said = await reader.read()
    writer.close()
    assert int(said.split()[1]) == status


async def test_it_takes_no_pushes(mirrored, http):
    assert (await http.put(f"{mirrored.url}/v2/team/shop/manifests/1", content=b"{}")).status_code == 405
    assert (await http.post(f"{mirrored.url}/v2/team/shop/blobs/uploads/")).status_code in (404, 405)


@pytest.mark.needs("containerd", "runc")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run containerd")
async def test_containerd_says_which_registry_it_means(mirrored, image, open_registry):
    with TemporaryDirectory(prefix="nm-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        hosts = home / "certs.d" / open_registry
        hosts.mkdir(parents=True)
        text = Path(__file__).parents[3].joinpath("deploy/agent/hosts.toml").read_text()
        (hosts / "hosts.toml").write_text(text.replace("http://127.0.0.1:7072", mirrored.url))
        words = (
            "images",
            "pull",
            f"--hosts-dir={home}/certs.d",
            "--snapshotter=native",
            f"{open_registry}/team/shop:1",
        )
        with containerd(home / "engine") as engine:
            await asyncio.to_thread(engine.ctr, *words)
    assert mirrored.blobs.served == mirrored.blobs.from_origin > 0


@pytest.mark.needs("podman")
async def test_podman_pulls_through_it(mirrored, image):
    with TemporaryDirectory(prefix="naru-podman-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        shop = '[[registry]]\nlocation = "shop.example.org"\n'
        aside = f'[[registry.mirror]]\nlocation = "{mirrored.host}"\ninsecure = true\n'
        (home / "registries.conf").write_text(shop + aside)
        (home / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        words = [f"--root={home}/data", f"--runroot={home}/run", "--storage-driver=vfs", "pull"]
        command = ["podman", *words, f"--signature-policy={home}/policy.json", "shop.example.org/team/shop:1"]
        env = {**os.environ, "CONTAINERS_REGISTRIES_CONF": str(home / "registries.conf")}
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env=env, timeout=60)
    assert done.stdout.strip() == image.config_digest.removeprefix("sha256:"), done.stderr
    assert mirrored.blobs.served > 0


@pytest.mark.needs("dockerd", "ip")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a Docker engine")
async def test_docker_pulls_through_it(mirrored, image):
    async with (
        AsyncExitStack() as stack,
        inside(mirrored.url) as (namespace, url),
    ):
        home = Path(stack.enter_context(TemporaryDirectory(prefix="nd-", ignore_cleanup_errors=True)))
        docker = stack.enter_context(dockerd(home, namespace, f"--registry-mirror={url}"))
        said = await asyncio.to_thread(docker, "pull", "team/shop:1")
        assert image.digest in said
        assert image.config_digest in await asyncio.to_thread(docker, "inspect", "--format={{.Id}}", "team/shop:1")
    assert mirrored.blobs.served > 0


@asynccontextmanager
async def inside(url: str):
    """Make a network namespace, and let what is at `url` be reached from its loopback; give both.

    A second Docker engine beside the machine's would take that one's bridge away.
    """
    host, port = urlsplit(url).hostname, urlsplit(url).port
    namespace = f"nd{secrets.token_hex(3)}"

    def listen() -> socket.socket:
        enter(namespace)
        return socket.create_server(("127.0.0.1", 0))

    async def forward(near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        far_reader, far = await asyncio.open_connection(host, port)
        await asyncio.gather(pump(near_reader, far), pump(far_reader, near), return_exceptions=True)

    ip("netns", "add", namespace)
    try:
        ip("-n", namespace, "link", "set", "lo", "up")
        with ThreadPoolExecutor(1) as there:
            door = await asyncio.get_running_loop().run_in_executor(there, listen)
        server = await asyncio.start_server(forward, sock=door)
        try:
            yield namespace, f"http://127.0.0.1:{door.getsockname()[1]}"
        finally:
            server.close()
    finally:
        ip("netns", "delete", namespace)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()


@contextmanager
def dockerd(home: Path, namespace: str, *flags: str):
    """Run a Docker engine of its own in a network namespace, without networks; give what runs its client."""
    door = home / "docker.sock"
    words = ["dockerd", f"--data-root={home}/data", f"--exec-root={home}/exec", f"--pidfile={home}/pid"]
    words += [f"--host=unix://{door}", "--bridge=none", "--iptables=false", "--ip-forward=false", *flags]
    # Its containerd looks for plugins of the machine's; with a /run of its own it disturbs no other.
    script = (
        "mkdir -p /run/docker /run/containerd && mount -t tmpfs none /run/docker && mount -t tmpfs none /run/containerd"
    )
    there = ["nsenter", f"--net=/run/netns/{namespace}"]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [*there, "unshare", "--mount", "sh", "-c", f'{script} && exec "$@"', "sh", *words],
            stdout=log,
            stderr=log,
        )

    def docker(*asked: str) -> str:
        done = subprocess.run(
            ["docker", f"--host=unix://{door}", *asked], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr + (home / "log").read_text()[-2000:]
        return done.stdout

    try:
        for _ in range(600):
            if answers(door) or server.poll() is not None:
                break
            time.sleep(0.05)
        yield docker
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(home / "data", ignore_errors=True)
