"""What Naru's objects are called, and the labels that say whose they are."""

import hashlib
from collections.abc import Mapping

from naru.domain.errors import Conflict
from naru.domain.image import Image, Origin
from naru.engines.base import APP_LABEL, OWNER_LABEL, REVISION_LABEL
from naru.oci.reference import Digest, Reference

MANAGER = "naru"
"""Naru's name as a field manager, and the value of the usual label on everything that it made."""
MANAGER_LABEL = "app.kubernetes.io/managed-by"
NUMBER_LABEL = "naru.number"
"""Which instance of a stateful app it is, from 1."""
CONTAINER = "app"
PORT = "app"
_CRON_NAME = 52
"""Characters of a CronJob's name: its Jobs' names get eleven more."""
LONGEST_NAMESPACE = 63
"""Characters of a namespace's name."""


def image_name(image: Image) -> str:
    """Say under which name the nodes pull an image: always by digest. Raises Conflict when no registry has it."""
    if image.origin is not Origin.REGISTRY:
        raise Conflict(
            f"the nodes of a cluster pull {image.reference} from a registry, and none has it",
            "push it to a registry that the nodes reach, and deploy that name",
        )
    return f"{Reference.parse(image.reference).name}@{Digest.parse(image.digest)}"


def revision_name(app: str, revision: str) -> str:
    """Name the Deployment or Job of a revision; its secrets and autoscaler have the same name."""
    return f"{app}-{revision}"


def schedule_name(app: str, revision: str) -> str:
    """Name the CronJob of a revision, within the shorter length that those have."""
    return revision_name(app, revision)[:_CRON_NAME]


def numbered_name(app: str, number: int) -> str:
    """Name the StatefulSet of one instance of a stateful app: no two revisions can have the same number at once."""
    return f"{app}-{number}"


def claim_name(app: str, volume: str, number: int = 1) -> str:
    """Name the claim of one of the app's volumes; later instances of a stateful app have their own."""
    return f"{app}-{volume}" if number == 1 else f"{app}-{volume}-{number}"


def pull_secret_name(owner: str, registry: str) -> str:
    """Name the Secret with the credentials for a registry; a registry's own name may be no name of an object."""
    return f"naru-pull-{hashlib.sha256(f'{owner} {registry}'.encode()).hexdigest()[:12]}"


def namespace_of(home: str, project: str) -> str:
    """Name the namespace of a project's apps; those of none are at home."""
    return f"{home}-{project}" if project else home


def labels(owner: str, app: str = "") -> dict[str, str]:
    """The labels that say whose an object is; also the selector that finds it."""
    return {MANAGER_LABEL: MANAGER, OWNER_LABEL: owner, **({APP_LABEL: app} if app else {})}


def belongs(held: Mapping[str, str], owner: str, app: str) -> bool:
    """Whether an object with these labels is this Naru's and the app's."""
    return labels(owner, app).items() <= held.items()


def revision_labels(owner: str, app: str, revision: str) -> dict[str, str]:
    """The labels of what belongs to one revision; never its release, which changes without it."""
    return {**labels(owner, app), REVISION_LABEL: revision}


def selector(owner: str, app: str = "", revision: str = "", number: int = 0) -> str:
    """Write `labels`, a revision's and an instance's number, as a query does."""
    wanted = labels(owner, app)
    if revision:
        wanted[REVISION_LABEL] = revision
    if number:
        wanted[NUMBER_LABEL] = str(number)
    return ",".join(f"{key}={value}" for key, value in wanted.items())
