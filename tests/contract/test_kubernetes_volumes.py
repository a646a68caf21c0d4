"""How Kubernetes' volumes are carried, beyond the common contract: by which pod, and what is left of it."""

from collections.abc import AsyncIterator

import pytest
from tests.contract.engine_labs import everything
from tests.contract.kubernetes_disks import archive
from tests.contract.kubernetes_labs import NAMESPACE, SimulatorLab, manifest_rules, simulated_kubernetes_lab
from tests.contract.kubernetes_plane import PROJECTS

from naru.control.cargo import counted
from naru.domain.errors import Conflict, Invalid
from naru.domain.kind import WorkloadKind
from naru.domain.release import Release
from naru.domain.workload import Volume
from naru.engines.kubernetes.carrier import CARRIER_LABEL

pytestmark = [pytest.mark.asyncio, pytest.mark.needs("published kubernetes")]
FILES = archive(3)


@pytest.fixture
async def lab():
    async with simulated_kubernetes_lab() as lab:
        yield lab


@pytest.fixture
async def release(lab) -> Release:
    """A release with a volume that exists, of which nothing runs."""
    release = lab.release(volumes=(Volume("data", "/data"),))
    await lab.apply(release, 1)
    await lab.settled(1)
    await lab.apply(release, 0)
    return release


async def chunks(*archive: bytes) -> AsyncIterator[bytes]:
    for chunk in archive:
        yield chunk


def carriers(lab: SimulatorLab) -> list[dict]:
    held = [*lab.simulator.objects.all("jobs"), *lab.simulator.objects.all("pods")]
    return [value for _, value in held if CARRIER_LABEL in value["metadata"]["labels"]]


async def test_a_carrier_is_no_instance_and_nothing_leads_to_it(lab, release):
    seen = []

    async def looked_at() -> AsyncIterator[bytes]:
        yield FILES
        seen.extend([await lab.engine.observe(lab.app), carriers(lab)])

    await lab.engine.unpack(release, "data", looked_at())

    instances, (job, pod) = seen
    assert instances == []
    assert job["metadata"]["labels"]["naru.app"] == lab.app
    assert "naru.app" not in pod["metadata"]["labels"]
    assert carriers(lab) == []


async def test_a_tar_that_would_lose_times_is_not_used(lab, release):
    lab.simulator.disks.about = b"BusyBox v1.35.0\n"

    with pytest.raises(Conflict, match=r"keeps not all.*carrier="):
        await lab.engine.unpack(release, "data", chunks(FILES))

    assert carriers(lab) == []


async def test_an_image_without_tar_is_told_from_one_that_is_named(lab, release):
    lab.simulator.cluster.images.clear()

    with pytest.raises(Conflict, match=r"ErrImagePull.*carrier="):
        await everything(lab.engine.pack(release, "data"))

    assert carriers(lab) == []


async def test_another_image_carries_where_the_url_names_one():
    other = "registry.example/tools/tar@sha256:" + "c" * 64
    async with simulated_kubernetes_lab(query=f"?carrier={other}") as lab:
        lab.simulator.cluster.images.add(other)
        release = lab.release(volumes=(Volume("data", "/data"),))
        await lab.engine.unpack(release, "data", chunks(FILES))
        assert await counted(lab.engine.pack(release, "data")) == await counted(chunks(FILES))
        await lab.engine.remove(lab.app, volumes=True)


async def test_what_tar_complains_of_is_told(lab, release):
    with pytest.raises(Conflict, match="Unexpected EOF"):
        await lab.engine.unpack(release, "data", chunks(b"half of an archive"))


async def test_a_claim_that_somebody_else_made_is_left_alone(lab, release):
    lab.simulator.cluster.edit(
        "persistentvolumeclaims", f"{lab.app}-data", {"metadata": {"labels": {"naru.owner": "another"}}}
    )

    with pytest.raises(Conflict, match="that Naru did not make"):
        await lab.engine.unpack(release, "data", chunks(FILES))

    assert lab.simulator.objects.get(("persistentvolumeclaims", NAMESPACE, f"{lab.app}-data"))


async def test_a_volume_that_two_namespaces_have_is_told_and_neither_is_taken():
    async with simulated_kubernetes_lab(rules=manifest_rules(PROJECTS)) as lab:
        for project in ("", "mall"):
            release = lab.release(volumes=(Volume("data", "/data"),), project=project)
            await lab.engine.unpack(release, "data", chunks(FILES))

        with pytest.raises(Conflict, match=f"{NAMESPACE} and {NAMESPACE}-mall have a volume data"):
            await lab.engine.volumes(lab.app)


async def test_each_instance_of_a_stateful_app_has_its_volume_named_and_carried(lab):
    release = lab.release(kind=WorkloadKind.STATEFUL, volumes=(Volume("data-2", "/data"),))
    await lab.apply(release, 2)
    await lab.settled(2)
    await lab.apply(release, 0)

    await lab.engine.unpack(release, "data-2.2", chunks(FILES))

    assert [one.name for one in await lab.engine.volumes(lab.app)] == ["data-2", "data-2.2"]
    first, second = [await counted(lab.engine.pack(release, name)) for name in ("data-2", "data-2.2")]
    assert (first.entries, second.entries) == (1, 4)
    with pytest.raises(Invalid):
        await lab.engine.unpack(release, "data.two", chunks(FILES))
