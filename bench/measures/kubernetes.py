"""What it costs to keep the picture of a large Kubernetes cluster."""

import json
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

from bench.figures import Figure, measured
from naru.domain.image import Image, Origin, Platform
from naru.domain.release import Release, ReleaseState
from naru.domain.workload import Workload
from naru.engines.kubernetes.answers import Pod
from naru.engines.kubernetes.pods import Birth
from naru.engines.kubernetes.reading import Owned, owned
from naru.engines.kubernetes.translate import deployment

PODS = 10_000
APPS = 500
REPEATS = 3
IMAGE = Image("nginx:1.27", f"sha256:{'a' * 64}", f"sha256:{'b' * 64}", Platform(), Origin.REGISTRY)
CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


def measure() -> Iterator[Figure]:
    """Read as many pods as the API server would tell of, and weigh what is kept."""
    day = datetime.now(UTC).date()
    told = [_pod(number) for number in range(PODS)]
    seconds, mebibytes = [], []
    for _ in range(REPEATS):
        started = time.perf_counter()
        _read(told)
        seconds.append(time.perf_counter() - started)
        tracemalloc.start()
        kept = _read(told)
        mebibytes.append(tracemalloc.get_traced_memory()[0] / (1 << 20))
        tracemalloc.stop()
        del kept
    yield measured("pods-read", f"reading {PODS:,} pods once", seconds, unit="s", better="lower", day=day)
    yield measured("pods-memory", f"memory of {PODS:,} watched pods", mebibytes, unit="MiB", better="lower", day=day)


def _read(told: list[str]) -> list[Owned | None]:
    return [owned(Pod.model_validate_json(text), datetime.now(UTC)) for text in told]


def _pod(number: int) -> str:
    """Write a running pod as an API server does, as far as Naru reads it and some more."""
    app = f"app-{number % APPS}"
    at = datetime.now(UTC).replace(microsecond=0)
    workload = Workload(app=app, image=IMAGE.reference, port=8080, replicas=PODS // APPS)
    release = Release(app, 1, workload, IMAGE, ReleaseState.LIVE, "bench", at)
    made = deployment("bench", release, 1, Birth(1)).to_dict()["spec"]["template"]
    since = at.isoformat()
    place = {"namespace": "naru", "uid": str(UUID(int=number))}
    made["metadata"] |= {**place, "name": f"{app}-{number}", "creationTimestamp": since, "resourceVersion": str(number)}
    made["spec"]["nodeName"] = f"node-{number % 100}"
    made["status"] = {
        "phase": "Running",
        "podIP": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
        "conditions": [{"type": name, "status": "True", "lastTransitionTime": since} for name in CONDITIONS],
        "containerStatuses": [
            {"name": "app", "ready": True, "restartCount": 0, "state": {"running": {"startedAt": since}}}
        ],
    }
    return json.dumps(made)
