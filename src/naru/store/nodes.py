"""Nodes with agents as they last reported, and how images went to them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from naru.domain.app import AppState
from naru.domain.distribution import Course, Distribution, NodeReport
from naru.domain.errors import NotFound
from naru.domain.image import Image
from naru.domain.release import ReleaseState
from naru.domain.rollout import RolloutState
from naru.store.database import Database, whole
from naru.store.schema import apps, courses, distributions, nodes, releases, rollouts


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that a release of an app has, live on a target or on its way there; `index` as the release names it.

    `begun` is false as long as nodes were not asked for it.
    """

    app: str
    release: int
    target: str
    image: Image
    index: str
    begun: bool = True


@whole
class Nodes:
    """What agents said last, one row a node; reports may be lost with the power, as the next one comes soon."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, report: NodeReport, at: datetime) -> None:
        """Store the report in place of the node's earlier one."""
        values = {"site": report.site, "report": report, "seen_at": at}
        statement = (
            self._database.insert(nodes)
            .values(name=report.name, **values)
            .on_conflict_do_update(index_elements=[nodes.c.name], set_=values)
        )
        async with self._database.write(lasting=False) as connection:
            await connection.execute(statement)

    async def all(self, site: str | None = None) -> list[tuple[NodeReport, datetime]]:
        """List the last reports and when they came, by name; of one site when `site` is given."""
        query = sa.select(nodes.c.report, nodes.c.seen_at).order_by(nodes.c.name)
        if site is not None:
            query = query.where(nodes.c.site == site)
        async with self._database.read() as connection:
            return [(row.report, row.seen_at) for row in await connection.execute(query)]

    async def delete(self, name: str) -> None:
        """Forget the node; raise NotFound."""
        async with self._database.write() as connection:
            if (await connection.execute(sa.delete(nodes).where(nodes.c.name == name))).rowcount == 0:
                raise NotFound(f"there is no node {name}", "list the nodes to see their names")

    async def wanted(self, targets: Collection[str]) -> list[Wanted]:
        """List what is live on these targets and what is coming to them."""
        live = (
            sa.select(releases.c.app, releases.c.number, apps.c.target, releases.c.image, releases.c.index_digest)
            .join(apps, apps.c.name == releases.c.app)
            .where(releases.c.state == ReleaseState.LIVE, apps.c.state != AppState.REMOVED, apps.c.target.in_(targets))
        )
        ended = [state for state in RolloutState if state.ended]
        named = sa.func.coalesce(releases.c.index_digest, "")
        made = sa.and_(releases.c.app == rollouts.c.app, releases.c.number == rollouts.c.release)
        begun = sa.exists().where(distributions.c.rollout == rollouts.c.id)
        coming = (
            sa.select(rollouts.c.app, rollouts.c.release, rollouts.c.target, rollouts.c.image, named, begun)
            .join(releases, made, isouter=True)
            .where(rollouts.c.target.in_(targets), rollouts.c.state.not_in(ended), rollouts.c.image.is_not(None))
        )
        async with self._database.read() as connection:
            found = [*await connection.execute(live), *await connection.execute(coming)]
        return [Wanted(*row) for row in found]

    async def pin(self, wanted: Collection[Wanted], index: str) -> None:
        """Let these releases name an index; one that names one already keeps it."""
        async with self._database.write() as connection:
            for one in wanted:
                mine = sa.and_(releases.c.app == one.app, releases.c.number == one.release)
                await connection.execute(
                    sa.update(releases).where(mine, releases.c.index_digest == "").values(index_digest=index)
                )

    async def save(self, distribution: Distribution) -> None:
        """Store how an image goes to a site for a rollout."""
        async with self._database.write(lasting=False) as connection:
            await self._save(connection, distribution)

    async def begin(self, course: Course) -> None:
        """Store a distribution that is under way from now on, in place of an earlier one of its rollout and site."""
        of = course.distribution
        values = {"begun_at": of.begun_at, "course": course}
        statement = (
            self._database.insert(courses)
            .values(rollout=of.rollout, site=of.site, **values)
            .on_conflict_do_update(index_elements=[courses.c.rollout, courses.c.site], set_=values)
        )
        async with self._database.write() as connection:
            await connection.execute(statement)
            await self._save(connection, of)

    async def courses(self, site: str) -> list[Course]:
        """List what is under way to a site, those that began first first."""
        query = sa.select(courses.c.course).where(courses.c.site == site).order_by(courses.c.begun_at)
        async with self._database.read() as connection:
            return list(await connection.scalars(query))

    async def advance(self, rollout: str, site: str, after: Callable[[Course], Course]) -> None:
        """Put what `after` makes of a course in its place, if it is under way; servers do so one after another."""
        mine = sa.and_(courses.c.rollout == rollout, courses.c.site == site)
        async with self._database.write(lasting=False) as connection:
            before = await connection.scalar(sa.select(courses.c.course).where(mine).with_for_update())
            if before is None or (course := after(before)) == before:
                return
            await connection.execute(sa.update(courses).where(mine).values(course=course))
            await self._save(connection, course.distribution)

    async def end(self, course: Course) -> None:
        """Follow a distribution no more; what became of it stays."""
        of = course.distribution
        async with self._database.write(lasting=False) as connection:
            mine = sa.and_(courses.c.rollout == of.rollout, courses.c.site == of.site)
            if (await connection.execute(sa.delete(courses).where(mine))).rowcount:
                await self._save(connection, of)

    async def _save(self, connection: AsyncConnection, distribution: Distribution) -> None:
        values = {"begun_at": distribution.begun_at, "distribution": distribution}
        key = {"rollout": distribution.rollout, "site": distribution.site}
        statement = (
            self._database.insert(distributions)
            .values(**key, **values)
            .on_conflict_do_update(index_elements=[distributions.c.rollout, distributions.c.site], set_=values)
        )
        await connection.execute(statement)

    async def distributions(
        self, since: datetime | None = None, limit: int = 50, rollout: str = ""
    ) -> list[Distribution]:
        """List up to `limit` distributions, those that began last first.

        None that began before `since`, and of one rollout when it is given.
        """
        query = sa.select(distributions.c.distribution).order_by(distributions.c.begun_at.desc()).limit(limit)
        if since is not None:
            query = query.where(distributions.c.begun_at >= since)
        if rollout:
            query = query.where(distributions.c.rollout == rollout)
        async with self._database.read() as connection:
            return list(await connection.scalars(query))

    async def prune(self, before: datetime) -> None:
        """Forget what began, and who was seen last, before that time."""
        async with self._database.write() as connection:
            await connection.execute(sa.delete(distributions).where(distributions.c.begun_at < before))
            await connection.execute(sa.delete(courses).where(courses.c.begun_at < before))
            await connection.execute(sa.delete(nodes).where(nodes.c.seen_at < before))
