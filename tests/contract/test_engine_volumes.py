"""What every engine promises of volumes, where it has them: see test_engine."""

from collections.abc import AsyncIterator, Sequence

import pytest
from tests.contract.engine_labs import everything

from naru.control.cargo import counted
from naru.domain.errors import Conflict, NotFound, Unavailable
from naru.domain.kind import WorkloadKind
from naru.domain.target import Feature
from naru.domain.workload import SecretFile, Volume

pytestmark = pytest.mark.asyncio

FILL = r"""
cd /data && mkdir -p a/b empty && echo text > a/b/file && ln a/b/file a/hard && ln -s ../nowhere a/link && mkfifo a/fifo
echo own > a/owned && chown 1234:4321 a/owned && chmod 4751 a/owned && chmod 1733 empty && chown 7:8 .
dd if=/dev/zero of=a/sparse bs=1 count=1 seek=5000000 2>/dev/null && touch -d '2001-02-03 04:05:06' a/owned
long=$(printf '%0200d' 7) && mkdir -p $long/$long && echo odd > "$(printf 'a/line\nbreak \377 -rf *')"
"""


async def chunks(archive: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in archive:
        yield chunk


async def test_each_instance_of_a_stateful_app_gets_its_own_volume_again(lab):
    lab.takes(Feature.OWN_VOLUMES, Feature.EXEC)
    release = lab.release(kind=WorkloadKind.STATEFUL, volumes=(Volume("data", "/data"),))
    await lab.apply(release, 2)
    for one in await lab.settled(2):
        await lab.engine.execute(one.id, ("/bin/sh", "-c", f"echo {one.id} > /data/mark"))
    leaver, stayer = await lab.engine.observe(lab.app)

    await lab.apply(release, 1, retire=(leaver.id,))
    await lab.apply(release, 2)

    marks = {
        one.id: (await lab.engine.execute(one.id, ("/bin/cat", "/data/mark"))).stdout.decode().strip()
        for one in await lab.settled(2)
    }
    assert marks.pop(stayer.id) == stayer.id
    assert list(marks.values()) == [leaver.id]


async def test_the_next_release_of_a_stateful_app_has_the_numbers_that_are_free(lab):
    lab.takes(Feature.OWN_VOLUMES, Feature.EXEC)
    told = {"kind": WorkloadKind.STATEFUL, "volumes": (Volume("data", "/data"),)}
    old, new = lab.release(**told), lab.release(number=2, arguments=("again",), **told)
    await lab.apply(old, 2)
    for one in await lab.settled(2):
        await lab.engine.execute(one.id, ("/bin/sh", "-c", f"echo {one.id} > /data/mark"))
    leaver, _ = await lab.engine.observe(lab.app)

    await lab.apply(old, 1, retire=(leaver.id,))
    await lab.apply(new, 1)

    seen = await lab.settled(2)
    (fresh,) = (one for one in seen if one.revision == new.revision)
    mark = await lab.engine.execute(fresh.id, ("/bin/cat", "/data/mark"))
    assert mark.stdout.decode().strip() == leaver.id


async def test_volumes_and_secrets_are_accepted(lab):
    lab.takes(Feature.VOLUMES, Feature.SECRET_FILES)
    release = lab.release(
        volumes=(Volume("data", "/data"),), secrets=(SecretFile("password", "/run/secrets/password", 1),)
    )

    await lab.apply(release, 1, {"password": b"wide open"})

    assert await lab.settled(1)
    await lab.engine.remove(lab.app, volumes=True)


async def test_what_a_volume_holds_is_read_whole_and_written_anew(lab):
    lab.takes(Feature.VOLUME_COPIES, Feature.EXEC)
    release = lab.release(volumes=(Volume("data", "/data"),))
    await lab.apply(release, 1)
    (instance,) = await lab.settled(1)
    assert (await lab.engine.execute(instance.id, ("/bin/sh", "-c", FILL))).exit_code == 0
    await lab.apply(release, 0)
    (held,) = await lab.engine.volumes(lab.app)
    assert (held.name, await lab.engine.volumes(lab.app)) == ("data", [held])
    archive = await everything(lab.engine.pack(release, "data"))

    await lab.apply(release, 1)
    (instance,) = await lab.settled(1)
    spoilt = await lab.engine.execute(instance.id, ("/bin/sh", "-c", "rm -r /data/a; echo more > /data/later"))
    with pytest.raises(Conflict):
        await lab.engine.unpack(release, "data", chunks(archive))
    await lab.apply(release, 0)
    await lab.engine.unpack(release, "data", chunks(archive))

    assert spoilt.exit_code == 0
    before = await counted(chunks(archive))
    assert await counted(lab.engine.pack(release, "data")) == before
    assert before.entries >= 12 or lab.engine.name == "fake"
    with pytest.raises(NotFound, match="nothing"):
        await everything(lab.engine.pack(release, "nothing"))


async def test_a_volume_that_exists_nowhere_yet_is_made_and_a_broken_archive_is_told(lab):
    lab.takes(Feature.VOLUME_COPIES)
    release = lab.release(volumes=(Volume("data", "/data"),))
    await lab.apply(release, 1)
    await lab.settled(1)
    await lab.apply(release, 0)
    archive = await everything(lab.engine.pack(release, "data"))

    async def broken() -> AsyncIterator[bytes]:
        yield archive[0][:512]
        raise Conflict("it broke off")

    await lab.engine.unpack(release, "more", chunks(archive))
    with pytest.raises((Conflict, Unavailable)):
        await lab.engine.unpack(release, "more", broken())

    held = await lab.engine.volumes(lab.app)
    assert [one.name for one in held] == ["data", "more"]
    assert len({one.storage for one in held}) == 2
    await lab.engine.remove(lab.app, volumes=True)
    assert await lab.engine.volumes(lab.app) == []
