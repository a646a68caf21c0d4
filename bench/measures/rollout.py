"""How long from the order until all pods of an app are ready on a real cluster, against `kubectl` doing the same.

Both make the same Service and the same Deployment of three pods, of an image that the node holds; what is made before
is removed before the next is measured, and the two take turns. A pod is ready at its first check, which a kubelet makes
within a second, so single pairs differ widely.
"""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import yaml
from lightkube import AsyncClient
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Namespace, Service

from bench.figures import Figure, measured
from bench.measures import Absent
from naru.domain.image import Image, Origin, Platform
from naru.domain.release import Release, ReleaseState
from naru.domain.workload import Health, HttpCheck, Workload
from naru.engines.base import OpenEngine
from naru.engines.kubernetes import open_kubernetes
from naru.engines.kubernetes.access import access
from naru.engines.kubernetes.pods import Birth
from naru.engines.kubernetes.translate import deployment, service

REPEATS = 15
REPLICAS = 3
PATIENCE_SECONDS = 60
_KINDS = {
    Service: {"apiVersion": "v1", "kind": "Service"},
    Deployment: {"apiVersion": "apps/v1", "kind": "Deployment"},
}
HEALTH = Health(HttpCheck("/cgi-bin/health"), interval=1)


def measure() -> Iterator[Figure]:
    """Deploy by Naru's engine and by kubectl in turn."""
    if not (kubeconfig := os.environ.get("NARU_TEST_KUBECONFIG", "")):
        raise Absent("make bench was given no KUBECONFIG=…")
    if "@" not in (name := os.environ.get("NARU_TEST_IMAGE", "")):
        raise Absent("make bench was given no NARU_TEST_IMAGE=REPOSITORY@sha256:DIGEST, of tests/images.py")
    if not (kubectl := shutil.which("kubectl")):
        raise Absent("the program kubectl is not installed")
    repository, _, digest = name.partition("@")
    image = Image(f"{repository}:1", digest, digest, Platform(), Origin.REGISTRY)
    ours, theirs, version = asyncio.run(_in_turn(kubectl, kubeconfig, image))
    day = datetime.now(UTC).date()
    yield measured(
        "kubernetes-ratio",
        f"order to {REPLICAS} ready pods on Kubernetes {version}, by the engine",
        [mine / other for mine, other in zip(ours, theirs, strict=True)],
        unit="×",
        goal=1.15,
        better="lower",
        against="`kubectl apply` and `kubectl rollout status` of the same objects, pair by pair",
        day=day,
    )
    yield measured(
        "kubernetes-seconds",
        f"order to {REPLICAS} ready pods on Kubernetes, in seconds",
        ours,
        unit="s",
        better="lower",
        day=day,
    )


async def _in_turn(kubectl: str, kubeconfig: str, image: Image) -> tuple[list[float], list[float], str]:
    ours: list[float] = []
    theirs: list[float] = []
    namespace = f"naru-bench-{uuid4().hex[:8]}"
    url = f"kubernetes://{Path(kubeconfig).resolve()}?namespace={namespace}"
    given = access(url)
    client = AsyncClient(given.config, namespace=namespace)
    with TemporaryDirectory(prefix="naru-bench-") as home:
        async with asyncio.TaskGroup() as tasks, open_kubernetes(url, tasks, owner="bench") as engine:
            version = (await engine.describe()).version
            try:
                await _deploy(engine, _release("warm", image))
                for number in range(REPEATS):
                    mine, other = _release(f"ours-{number}", image), _release(f"theirs-{number}", image)
                    ours.append(await _deploy(engine, mine))
                    manifest = Path(home, f"{number}.yaml")
                    manifest.write_text(_manifest(other))
                    name = f"deployment/{other.app}-{other.revision}"
                    by_hand = (kubectl, f"--kubeconfig={kubeconfig}", f"--namespace={namespace}")
                    theirs.append(await asyncio.to_thread(_by_hand, by_hand, manifest, name))
                    await engine.remove(mine.app)
                    await engine.remove(other.app)
            finally:
                await client.delete(Namespace, namespace)
                await client.close()
    return ours, theirs, version


async def _deploy(engine: OpenEngine, release: Release) -> float:
    started = time.perf_counter()
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(engine.watch()) as changes:  # type: ignore[type-var]
        await engine.apply(release, REPLICAS, secrets={})
        while sum(one.ready for one in await engine.observe(release.app)) < REPLICAS:
            await anext(changes)
    return time.perf_counter() - started


def _by_hand(kubectl: tuple[str, ...], manifest: Path, name: str) -> float:
    started = time.perf_counter()
    for words in (
        ("apply", "--filename", str(manifest)),
        ("rollout", "status", name, f"--timeout={PATIENCE_SECONDS}s"),
    ):
        subprocess.run((*kubectl, *words), check=True, capture_output=True)
    return time.perf_counter() - started


def _release(app: str, image: Image) -> Release:
    workload = Workload(app=app, image=image.reference, port=8080, replicas=REPLICAS, health=HEALTH, stop_grace=0)
    return Release(app, 1, workload, image, ReleaseState.PENDING, "bench", datetime.now(UTC))


def _manifest(release: Release) -> str:
    made = service("bench", release.workload, release.app), deployment("bench", release, REPLICAS, Birth(1))
    return "---\n".join(yaml.safe_dump({**_KINDS[type(one)], **one.to_dict()}) for one in made)
