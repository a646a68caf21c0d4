"""Releases: what ran or was meant to run, numbered within an app from 1 without gaps."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from naru.domain.app import App, AppState
from naru.domain.errors import Conflict, NotFound
from naru.domain.image import Image
from naru.domain.release import Release, ReleaseState
from naru.domain.verdict import Verdict
from naru.domain.workload import Workload
from naru.store.apps import app_of, read_app
from naru.store.database import Database, whole
from naru.store.schema import apps, releases


@whole
class Releases:
    """The releases of every app; at most one of an app is live."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, app: str, workload: Workload, image: Image, created_by: str, created_at: datetime) -> Release:
        """Store a pending release under the app's next number; raise NotFound when there is no such app."""
        async with self._database.write() as connection:
            await read_app(connection, app, lock=True)
            highest = await connection.scalar(sa.select(sa.func.max(releases.c.number)).where(releases.c.app == app))
            release = Release(
                app=app,
                number=(highest or 0) + 1,
                workload=workload,
                image=image,
                state=ReleaseState.PENDING,
                created_by=created_by,
                created_at=created_at,
            )
            await connection.execute(
                sa.insert(releases).values({c.name: getattr(release, c.name) for c in releases.columns})
            )
        return release

    async def get(self, app: str, number: int) -> Release:
        """Return a release, also of a removed app; raise NotFound when there is none."""
        query = sa.select(releases).where(releases.c.app == app, releases.c.number == number)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise _unknown(app, number)
        return _release(row)

    async def page(self, app: str, before: int | None = None, limit: int = 50) -> list[Release]:
        """List up to `limit` releases, newest first, below the number `before`."""
        query = sa.select(releases).where(releases.c.app == app).order_by(releases.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(releases.c.number < before)
        async with self._database.read() as connection:
            return [_release(row) for row in (await connection.execute(query)).mappings()]

    async def live(self, after: str = "", limit: int | None = None) -> list[Release]:
        """List the live releases, or up to `limit` of apps whose names come after `after`, by name."""
        query = (
            sa.select(releases)
            .where(releases.c.state == ReleaseState.LIVE, releases.c.app > after)
            .order_by(releases.c.app)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return [_release(row) for row in (await connection.execute(query)).mappings()]

    async def set_verdict(self, app: str, number: int, verdict: Verdict) -> None:
        """Store what the gate decided; raise NotFound when there is no such release."""
        await self._set(app, number, {"verdict": verdict}, lasting=False)

    async def set_state(self, app: str, number: int, state: ReleaseState) -> None:
        """Store where the release stands. Only `go_live` makes it live: asking for that here raises Conflict."""
        if state is ReleaseState.LIVE:
            raise Conflict(f"release {number} of {app} cannot be made live alone", "let it go live with its app")
        await self._set(app, number, {"state": state})

    async def go_live(self, app: str, number: int) -> App:
        """Make the release the app's live one, supersede the former, and return the app as it is then.

        All of it or nothing. The app's version grows by one, unless the release was live already. Raises NotFound
        when there is no such app or release.
        """
        async with self._database.write() as connection:
            current = await read_app(connection, app, lock=True)
            if current.state is AppState.LIVE and current.live == number:
                return current
            mine = releases.c.app == app
            await connection.execute(
                sa.update(releases)
                .where(mine, releases.c.state == ReleaseState.LIVE, releases.c.number != number)
                .values(state=ReleaseState.SUPERSEDED)
            )
            changed = await connection.execute(
                sa.update(releases).where(mine, releases.c.number == number).values(state=ReleaseState.LIVE)
            )
            if changed.rowcount == 0:
                raise _unknown(app, number)
            row = await connection.execute(
                sa.update(apps)
                .where(apps.c.name == app)
                .values(live=number, state=AppState.LIVE, version=apps.c.version + 1)
                .returning(*apps.c)
            )
            return app_of(row.mappings().one())

    async def _set(self, app: str, number: int, values: dict[str, Any], *, lasting: bool = True) -> None:
        statement = sa.update(releases).where(releases.c.app == app, releases.c.number == number).values(values)
        async with self._database.write(lasting=lasting) as connection:
            if (await connection.execute(statement)).rowcount == 0:
                raise _unknown(app, number)


def _unknown(app: str, number: int) -> NotFound:
    return NotFound(f"there is no release {number} of {app}", "list its releases to see their numbers")


def _release(row: Mapping[Any, Any]) -> Release:
    return Release(**row)
