"""A release: one workload with one image, numbered within its app."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from naru.domain.image import Image
from naru.domain.kind import WorkloadKind
from naru.domain.verdict import Verdict
from naru.domain.workload import Workload


class ReleaseState(StrEnum):
    """Where a release stands; a live release becomes superseded when a later one goes live."""

    PENDING = "pending"
    LIVE = "live"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    REFUSED = "refused"

    @property
    def was_live(self) -> bool:
        """Whether requests have been answered by it, so that it can be gone back to."""
        return self in (ReleaseState.LIVE, ReleaseState.SUPERSEDED)


@dataclass(frozen=True, slots=True)
class Release:
    """What ran, or was meant to run: the workload, the digest, who asked, when, and the gate's verdict.

    `index_digest` is that of the only index of the image's files that agents may take, empty until one has told it.
    """

    app: str
    number: int
    workload: Workload
    image: Image
    state: ReleaseState
    created_by: str
    created_at: datetime
    verdict: Verdict | None = None
    index_digest: str = ""

    @property
    def revision(self) -> str:
        """See `revision`."""
        return revision(self.workload, self.image, self.number)


def revision(workload: Workload, image: Image, number: int) -> str:
    """Name what an instance is made of: equal revisions need no new instances.

    Twelve hexadecimal digits over the image's digest and every field that shapes a container. The replica count,
    the strategy, the proof and the address do not, so scaling or readdressing an app restarts nothing. What runs to
    its end once is a revision of its own in each release, of which `number` is the number.
    """
    shape: dict[str, object] = {
        "image": image.digest,
        "platform": str(image.platform),
        "port": workload.port,
        "command": workload.command,
        "arguments": workload.arguments,
        "environment": sorted(workload.environment.items()),
        "health": asdict(workload.health),
        "resources": asdict(workload.resources),
        "restart": workload.restart,
        "volumes": sorted((v.name, v.path, v.read_only) for v in workload.volumes),
        "secrets": sorted((s.name, s.path, s.version) for s in workload.secrets),
        "stop_grace": workload.stop_grace,
    }
    # Only what differs from before these existed: an upgrade of Naru restarts nothing.
    if workload.kind is not WorkloadKind.SERVICE:
        shape |= {"kind": workload.kind, "schedule": workload.schedule}
    if workload.kind.runs_once:
        shape |= {"run": number}
    if workload.project:
        shape |= {"project": workload.project}
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:12]
