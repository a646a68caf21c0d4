"""The secrets of apps as Swarm holds them; a version's value never changes."""

from collections.abc import Mapping

from naru.domain.errors import NotFound
from naru.domain.release import Release
from naru.engines.swarm import translate
from naru.engines.swarm.wire import SwarmWire


def demand_values(release: Release, values: Mapping[str, bytes]) -> None:
    """Raise NotFound when a secret of the release has no value."""
    for secret in release.workload.secrets:
        if secret.name not in values:
            raise NotFound(f"no value was given for the secret {secret.name}", "store it, then deploy again")


async def ensure(wire: SwarmWire, release: Release, values: Mapping[str, bytes]) -> Mapping[str, str]:
    """Make Swarm hold the release's secrets; return Swarm's id of each."""
    wanted = release.workload.secrets
    if not wanted:
        return {}
    held = {one.spec.name: one.id for one in await wire.secrets(release.app)}
    ids: dict[str, str] = {}
    for secret in wanted:
        name = translate.secret_name(release.app, secret, wire.owner)
        if name not in held:
            config = translate.secret_config(wire.owner, release.app, secret, values[secret.name])
            held[name] = await wire.create_secret(config)
        ids[secret.name] = held[name]
    return ids


async def tidy(wire: SwarmWire, app: str) -> None:
    """Remove the app's secrets that no service of it uses any more."""
    held = await wire.secrets(app)
    if not held:
        return
    services = await wire.services(app)
    used = {use.secret_name for one in services for use in one.spec.task_template.container_spec.secrets}
    for secret in held:
        if secret.spec.name not in used:
            await wire.delete_secret(secret.id)
