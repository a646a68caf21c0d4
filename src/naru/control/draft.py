"""The release that a rollout brings up: the one that it has made already, else a new one."""

from dataclasses import replace
from datetime import datetime

from naru.control.resolve import Resolver
from naru.control.worlds import DESCRIBED_SECONDS, HOME_SECONDS, Worlds
from naru.domain.image import Image
from naru.domain.release import Release, ReleaseState
from naru.domain.rollout import Rollout
from naru.domain.workload import SecretFile, Workload
from naru.store import Store


async def drafted(store: Store, rollout: Rollout) -> Release | None:
    """Return the release that the rollout made, also when its worker died before it could say so."""
    if rollout.release:
        return await store.releases.get(rollout.app, rollout.release)
    for newest in await store.releases.page(rollout.app, limit=1):
        if newest.state is ReleaseState.PENDING and newest.created_at >= rollout.requested_at:
            return newest
    return None


async def draft(store: Store, resolver: Resolver, worlds: Worlds, rollout: Rollout, now: datetime) -> Release:
    """Make a release of what was asked for, with its image by digest and its secrets in the versions of now."""
    image = rollout.image or await _resolved(store, resolver, worlds, rollout)
    workload = await _with_secret_versions(store, rollout.workload)
    return await store.releases.add(rollout.app, workload, image, rollout.requested_by, now)


async def _resolved(store: Store, resolver: Resolver, worlds: Worlds, rollout: Rollout) -> Image:
    app = await store.apps.get(rollout.app)
    world = worlds.home(app)
    target = await world.describe(DESCRIBED_SECONDS, HOME_SECONDS)
    if target.problem:
        world = worlds.home(replace(app, target=""))
        target = await world.describe(DESCRIBED_SECONDS)
    return await resolver.resolve(rollout.workload.image, world.engine, target.platform)


async def _with_secret_versions(store: Store, workload: Workload) -> Workload:
    pinned: list[SecretFile] = []
    for secret in workload.secrets:
        version = secret.version or await store.secrets.newest_version(secret.name)
        pinned.append(replace(secret, version=version))
    return replace(workload, secrets=tuple(pinned))
