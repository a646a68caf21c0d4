"""A real kubelet pulls from a private registry, with the credentials that Naru gave to the cluster."""

import asyncio
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest
from tests.contract.engine_labs import everything
from tests.contract.kubernetes_labs import node_lab
from tests.images import busybox_image
from tests.service.engines.test_docker_pull import push
from tests.service.oci.conftest import account, private_registry

from naru.domain.image import Origin
from naru.domain.instance import InstanceState

pytestmark = [pytest.mark.asyncio, pytest.mark.needs("kubernetes node", "docker-registry", "htpasswd")]


@pytest.fixture
async def lab(kubernetes_of_ours, tmp_path):
    """A lab whose image is in a private registry, and nowhere else."""
    async with node_lab(kubernetes_of_ours) as lab:
        with contextmanager(private_registry)(tmp_path, kubernetes_of_ours.machine) as registry:
            await asyncio.to_thread(kubernetes_of_ours.trust, registry)
            archive = tmp_path / "image.tar"
            image = busybox_image(archive, reference=f"{registry}/team/shop:1", body=f"page of {lab.app}\n")
            await asyncio.to_thread(push, registry, archive, image)
            lab.image = replace(image, origin=Origin.REGISTRY)
            lab.registry = registry
            yield lab


@pytest.mark.parametrize("project", ["", "mall"])
async def test_an_image_is_pulled_by_digest_with_the_registrys_password(lab, project):
    await everything(lab.engine.fetch(lab.image, credentials=account(lab.registry)))
    await lab.apply(lab.release(project=project), 2)

    pods = await lab.settled(2)

    async with httpx.AsyncClient() as http:
        pages = {(await http.get(f"http://{one.address}/")).text for one in pods}
    assert pages == {f"page of {lab.app}\n"}


async def test_a_password_that_is_missing_is_told(lab):
    await lab.apply(lab.release(), 1)

    (instance,) = await lab.settled(1, lambda one: one.state is InstanceState.UNHEALTHY)

    assert instance.failure.startswith("ImagePullBackOff")
    assert "401" in instance.failure or "auth" in instance.failure
