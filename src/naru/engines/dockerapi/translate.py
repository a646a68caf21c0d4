"""What Naru's words mean to every engine that speaks Docker's API, and the other way round.

The shapes are those of the Docker Engine API, version 1.41.
"""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import assert_never

from naru.domain.errors import Invalid
from naru.domain.image import Image, Origin
from naru.domain.instance import Usage
from naru.domain.kind import WorkloadKind
from naru.domain.workload import CommandCheck, Health, HttpCheck, TcpCheck, Workload
from naru.engines.base import APP_LABEL, OWNER_LABEL, PROJECT_LABEL
from naru.engines.dockerapi.answers import NEVER, Stats
from naru.oci.reference import Digest, Reference

Json = dict[str, object]


def network_name(app: str, project: str = "") -> str:
    """Name the network of the app's project, or of the app alone; no app's name has an underscore."""
    return f"naru_{project}" if project else f"naru-{app}"


def volume_name(app: str, volume: str, number: int = 1) -> str:
    """Name a volume of the app, or of its instance of that number; no volume's name has a full stop."""
    return f"naru-{app}-{volume}" if number == 1 else f"naru-{app}-{volume}.{number}"


def volume_number(workload: Workload, number: int) -> int:
    """Say whose volumes instance `number` uses: its own, or those of all."""
    return number if workload.kind is WorkloadKind.STATEFUL else 1


def image_names(image: Image) -> tuple[str, ...]:
    """Say by which names the engine may hold the image, the best first: never by tag."""
    if image.origin is Origin.REGISTRY:
        reference = Reference.parse(image.reference)
        return (f"{reference.name}@{Digest.parse(image.digest)}", image.config_digest)
    return (image.config_digest, image.digest)


def labels(owner: str, app: str) -> dict[str, str]:
    """Say whose something is."""
    return {OWNER_LABEL: owner, APP_LABEL: app}


def network_labels(owner: str, app: str, project: str = "") -> dict[str, str]:
    """Say whose a network is: the project's, or the app's alone."""
    return {OWNER_LABEL: owner, PROJECT_LABEL: project} if project else labels(owner, app)


def belongs(found: Mapping[str, str], owner: str, app: str) -> bool:
    """Whether this Naru made it for the app."""
    return (found.get(OWNER_LABEL), found.get(APP_LABEL)) == (owner, app)


def keep_secrets_out_of_volumes(workload: Workload) -> None:
    """Raise Invalid when a secret would land in a volume, where it would outlive the instance."""
    for secret in workload.secrets:
        for volume in workload.volumes:
            if PurePosixPath(secret.path).is_relative_to(volume.path):
                raise Invalid(
                    f"the secret {secret.name} lies inside the volume {volume.name}",
                    "choose a path outside of every volume",
                )


def healthcheck(health: Health) -> Json:
    """Let the engine run a command check; what is checked from outside is no business of its."""
    match health.check:
        case CommandCheck(command):
            return {
                "Test": ["CMD", *command],
                "Interval": nanoseconds(health.interval),
                "Timeout": nanoseconds(health.timeout),
                "Retries": health.retries,
                "StartPeriod": nanoseconds(health.start_period),
            }
        case HttpCheck() | TcpCheck():
            return {"Test": ["NONE"]}
        case _ as never:
            assert_never(never)


def command_failure(command: tuple[str, ...], exit_code: int, output: str) -> str:
    """Tell of a failed command check."""
    said = f": {output.strip()[:300]}" if output.strip() else ""
    return f"{' '.join(command)} exited with {exit_code}{said}"


def usage(one: str, sample: Stats) -> Usage | None:
    """Read one sample of the statistics; None for the first, which has nothing to compare with."""
    if sample.preread.year == NEVER or sample.read <= sample.preread:
        return None
    used = sample.cpu_stats.cpu_usage.total_usage - sample.precpu_stats.cpu_usage.total_usage
    seconds = (sample.read - sample.preread).total_seconds()
    memory = sample.memory_stats
    cache = memory.stats.get("total_inactive_file", memory.stats.get("inactive_file", 0))
    return Usage(
        instance=one,
        at=sample.read,
        cpu=max(0.0, used / 1e9 / seconds),
        memory=memory.usage - cache if cache < memory.usage else memory.usage,
        memory_limit=memory.limit,
        received=sum(network.rx_bytes for network in sample.networks.values()),
        sent=sum(network.tx_bytes for network in sample.networks.values()),
    )


def nanoseconds(seconds: float) -> int:
    """Write a duration as Go does."""
    return round(seconds * 1e9)


def in_bytes(limit: int) -> str:
    """Write a memory limit for a reader."""
    return f"{limit / (1 << 20):g} MiB" if limit else "unlimited"


def in_cores(limit: float) -> str:
    """Write a limit of cores for a reader."""
    return f"{limit:g} cores" if limit > 0 else "unlimited"


def dumps(value: object) -> str:
    """Write JSON as the API's query parameters want it."""
    return json.dumps(value, separators=(",", ":"))
