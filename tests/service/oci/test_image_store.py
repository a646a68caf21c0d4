"""The store of images against the real thing: kills, a full disk, Skopeo and a Docker engine."""

import asyncio
import json
import os
import random
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.unit.oci.archives import docker_members, layer, oci_members, stream, tar

from naru.domain.errors import Unavailable
from naru.oci.layout import ImageStore
from naru.oci.reference import Digest, Reference
from naru.oci.sample import sample_image

SHOP = Reference.parse("shop:1")

LOADER = """
import asyncio, sys
from pathlib import Path
from naru.oci.layout import ImageStore
from naru.oci.reference import Reference

async def chunks(path):
    with open(path, "rb") as file:
        while chunk := file.read(65536):
            yield chunk

async def load_and_remove(root, archives):
    store = ImageStore(Path(root))
    print("ready", flush=True)
    while True:
        for number, archive in enumerate(archives):
            await store.load(chunks(archive), name=Reference.parse(f"shop:{number}"))
        await store.remove(Reference.parse("shop:0"))

asyncio.run(load_and_remove(sys.argv[1], sys.argv[2:]))
"""


async def ran(*command: str | Path) -> str:
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_kill_at_any_moment_leaves_a_valid_store(tmp_path):
    root, chance = tmp_path / "store", random.Random(7)
    archives = []
    for number in range(3):
        archives.append(tmp_path / f"{number}.tar")
        archives[-1].write_bytes(tar(docker_members([layer("base" * 50_000), layer(f"top {number}")])))
    for _ in range(12):
        command = [sys.executable, "-c", LOADER, root, *archives]
        with await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE) as loader:
            assert await asyncio.to_thread(loader.stdout.readline) == b"ready\n"
            await asyncio.sleep(chance.uniform(0, 0.1))  # the moment of the kill is what varies here
            loader.kill()

        store = ImageStore(root)
        for image in await store.images():
            found = await store.inspect(image)
            for described in (found.manifest.config, *found.manifest.layers):
                async with store.content(described.digest) as path:
                    assert Digest.of(path.read_bytes()) == described.digest
        await store.collect()
        assert list((root / "incoming").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
async def test_a_disk_that_is_full_keeps_what_was_there(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        await ran("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk)
    except AssertionError as refused:
        pytest.skip(f"a small disk cannot be mounted here: {refused}")
    try:
        store = ImageStore(disk / "store")
        [small] = await store.load(stream(tar(docker_members())))
        noise = random.Random(1).randbytes(4_000_000)
        with pytest.raises(Unavailable, match="is full"):
            await store.load(stream(tar(docker_members([noise], tags=["big:1"]))))
        assert await store.images() == [small]
        assert list((disk / "store" / "incoming").iterdir()) == []
        assert await store.collect() == 0
    finally:
        await ran("umount", disk)


@pytest.mark.needs("skopeo")
@pytest.mark.parametrize("compress", ["", "gzip", "zstd"])
async def test_skopeo_reads_the_layout(tmp_path, compress):
    store = ImageStore(tmp_path / "store")
    [image] = await store.load(stream(tar(oci_members(compress=compress))))
    shown = json.loads(await ran("skopeo", "inspect", f"oci:{tmp_path}/store:{image.reference}"))
    assert shown["Digest"] == image.digest
    assert shown["Architecture"] == "amd64"


@pytest.mark.needs("skopeo", "busybox")
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
async def test_what_skopeo_writes_is_loaded(tmp_path, form):
    store, other = ImageStore(tmp_path / "store"), ImageStore(tmp_path / "other")
    image = await sample_image(store)
    target = f"{form}:{tmp_path}/saved.tar:naru.local/hello:1"
    await ran("skopeo", "copy", f"oci:{tmp_path}/store:{image.reference}", target)
    [loaded] = await other.load(stream((tmp_path / "saved.tar").read_bytes()))
    assert loaded.reference == image.reference
    if form == "docker-archive":
        assert (await other.inspect(loaded)).config.diff_ids == (await store.inspect(image)).config.diff_ids
    else:
        assert loaded.config_digest == image.config_digest


@pytest.mark.needs("docker")
@pytest.mark.parametrize("compress", ["", "gzip", "zstd"])
async def test_docker_loads_an_export_whatever_its_layers_are(docker_socket, tmp_path, compress):
    store = ImageStore(tmp_path / "store")
    name = Reference.parse(f"naru.local/export-test:{os.getpid()}")
    plain = tar({"greeting": os.urandom(8)})
    [image] = await store.load(stream(tar(oci_members(compress=compress, plain=plain))), name=name)
    docker = ("docker", "-H", docker_socket)
    async with store.export(image) as archive:
        await ran(*docker, "load", "-i", archive)
    try:
        assert (
            await ran(*docker, "image", "inspect", "-f", "{{.Id}}", image.config_digest)
        ).strip() == image.config_digest
    finally:
        await ran(*docker, "rmi", image.config_digest)


@pytest.mark.needs("docker", "busybox")
async def test_the_sample_runs_says_who_it_is_and_stops_at_once(docker_socket, tmp_path):
    store = ImageStore(tmp_path / "store")
    version = f"2 \"quoted\" 'twice' {tmp_path.name}"
    image = await sample_image(store, version=version, reference=Reference.parse("naru.local/sample-test:2"))
    docker = ("docker", "-H", docker_socket)
    async with store.export(image) as archive:
        await ran(*docker, "load", "-i", archive)
    name = f"naru-sample-test-{os.getpid()}"
    await ran(*docker, "network", "create", name)
    try:
        run = (
            "run",
            "-d",
            f"--name={name}",
            f"--network={name}",
            "--read-only",
            "--cap-drop=ALL",
            "-p",
            "127.0.0.1::8080",
        )
        container = (await ran(*docker, *run, image.config_digest)).strip()
        address = (await ran(*docker, "port", name, "8080")).split()[0]
        assert await fetched(f"http://{address}/healthz") == b"ok\n"
        who = json.loads(await fetched(f"http://{address}/cgi-bin/whoami"))
        assert who == {"instance": container[:12], "version": version}
        assert b"Hello from Naru" in await fetched(f"http://{address}/")
        assert (await ran(*docker, "exec", name, "busybox", "id", "-u")).strip() == "10001"
        await ran(*docker, "stop", "--time=50", name)
        ended = await ran(*docker, "inspect", "-f", "{{.State.ExitCode}}", name)
        assert ended.strip() == "0"

        await ran(*docker, "save", "-o", tmp_path / "saved.tar", image.config_digest)
        [again] = await ImageStore(tmp_path / "again").load(
            stream((tmp_path / "saved.tar").read_bytes()), name=Reference.parse(image.reference)
        )
        assert again == image
    finally:
        await ran(*docker, "rm", "-f", "-v", name)
        await ran(*docker, "network", "rm", name)
        await ran(*docker, "rmi", image.config_digest)


async def fetched(url: str) -> bytes:
    """Return what a server that is about to start answers."""
    deadline = asyncio.get_running_loop().time() + 20
    while True:
        try:
            return await asyncio.to_thread(_get, url)
        except OSError:
            assert asyncio.get_running_loop().time() < deadline, f"{url} does not answer"
            await asyncio.sleep(0.02)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()
