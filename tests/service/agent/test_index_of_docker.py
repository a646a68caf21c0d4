"""An image that a real engine built, layer upon layer: the index shows what the engine's containers see."""

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.images import BUSYBOX
from tests.service.agent.test_index import described, mounted, run

from naru.agent.index.derive import derive, from_image_store
from naru.agent.index.index import Index
from naru.agent.objects import ObjectStore
from naru.oci.layout import ImageStore

pytestmark = [pytest.mark.needs("docker"), pytest.mark.needs("lazy roots")]

# Each step is a layer: makes, changes, replaces and removes what the steps before it made.
STEPS = (
    "mkdir -p /a/b/deep /c /etc && echo 1 >/a/b/one && echo 2 >/c/two && ln /c/two /c/hard && ln -s ../c /a/link",
    "chmod 4755 /a/b/one && chown 70000:5 /c/two && mkfifo /c/fifo && mknod /c/null c 1 3",
    "rm -r /a/b && mkdir -m 700 /a/b && echo new >/a/b/new && rm /c/hard && touch -t 200001010000 /c/two",
    "rm -r /c && echo 'a file now' >/c && ln /a/b/new /new && rm /a/link && mkdir /a/link && : >/a/link/empty",
    "dd if=/dev/urandom of=/large bs=1000 count=2500 2>/dev/null && mv /a/b /moved && rm /c && mkdir -p /c/again",
)
INJECTED = (b"dev", b"etc", b"proc", b"sys", b".dockerenv")


@pytest.fixture
def built(docker_socket: str, tmp_path: Path) -> tuple[Path, Path]:
    """The image as `docker save` writes it, and the tree that its containers see."""
    name, context = f"naru-test/{uuid.uuid4().hex}:1", tmp_path / "context"
    context.mkdir()
    shutil.copy(BUSYBOX, context / "busybox")
    steps = "".join(f'RUN ["/bin/busybox", "sh", "-c", "set -e; export PATH=/bin; {step}"]\n' for step in STEPS)
    (context / "Dockerfile").write_text(
        'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n' + steps
    )
    docker = ("docker", "-H", docker_socket)
    saved, seen = tmp_path / "saved.tar", tmp_path / "seen"
    seen.mkdir()
    run(*docker, "build", "--quiet", "--force-rm", "--network", "none", "--no-cache", "--tag", name, str(context))
    try:
        run(*docker, "save", "--output", str(saved), name)
        container = run(*docker, "create", name, "/bin/sh").decode().strip()
        try:
            run(*docker, "export", "--output", str(tmp_path / "seen.tar"), container)
        finally:
            run(*docker, "rm", container)
    finally:
        run(*docker, "rmi", "--force", name)
    run("tar", "-C", str(seen), "--numeric-owner", "--same-owner", "-xpf", str(tmp_path / "seen.tar"))
    return saved, seen


def test_the_index_shows_what_containers_of_docker_see(built: tuple[Path, Path], tmp_path: Path) -> None:
    saved, seen = built
    store = ObjectStore(tmp_path / "store")

    index = asyncio.run(loaded(saved, tmp_path / "images", store))

    with mounted(index, store, tmp_path) as root:
        assert without_injected(described(root)) == without_injected(described(seen))
    store.close()


async def loaded(archive: Path, root: Path, store: ObjectStore) -> Index:
    content = await asyncio.to_thread(archive.read_bytes)

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    images = ImageStore(root)
    [image] = await images.load(chunks())
    return await derive(await images.inspect(image), from_image_store(images), store)


def without_injected(tree: dict[bytes, tuple[object, ...]]) -> dict[bytes, tuple[object, ...]]:
    """Leave out what an engine puts into every container, and the root, whose times and links that changes."""
    return {path: what for path, what in tree.items() if path != b"." and path.split(b"/")[0] not in INJECTED}
