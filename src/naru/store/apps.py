"""Apps: one row a name, also after the app is removed, so that its history keeps its numbers."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from naru.domain.app import App, AppState
from naru.domain.errors import Conflict, NotFound, Stale
from naru.domain.workload import Address
from naru.store.database import Database, whole
from naru.store.schema import apps

_PRESENT = apps.c.state != AppState.REMOVED


@whole
class Apps:
    """The apps. Among those that are not removed, a host and a port belong to one app each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str, *, include_removed: bool = False) -> App:
        """Return the app; raise NotFound when there is none, or it is removed."""
        async with self._database.read() as connection:
            return await read_app(connection, name, include_removed=include_removed)

    async def page(self, after: str = "", limit: int = 100) -> list[App]:
        """List up to `limit` apps that are not removed and whose names come after `after`, by name."""
        query = sa.select(apps).where(_PRESENT, apps.c.name > after).order_by(apps.c.name).limit(limit)
        async with self._database.read() as connection:
            return [app_of(row) for row in (await connection.execute(query)).mappings()]

    async def on(self, target: str) -> list[str]:
        """List the names of the apps that live on the target."""
        query = sa.select(apps.c.name).where(_PRESENT, apps.c.target == target).order_by(apps.c.name)
        async with self._database.read() as connection:
            return list(await connection.scalars(query))

    async def by_host(self, host: str) -> App | None:
        """Return the app that has the host name."""
        return await self._holder(apps.c.host == host) if host else None

    async def by_port(self, port: int) -> App | None:
        """Return the app that has the port of the front door's machine."""
        return await self._holder(apps.c.port == port) if port else None

    async def ports_in_use(self) -> set[int]:
        """Return the ports that apps have."""
        async with self._database.read() as connection:
            return set(await connection.scalars(sa.select(apps.c.port).where(_PRESENT, apps.c.port != 0)))

    async def create(self, app: App) -> App:
        """Store a new app and return it with its version.

        A removed app's name may be used again; its version and the numbers of its releases go on. Raises Conflict
        when the app exists, or when another one has the host or the port, which is named.
        """
        fields = _columns(app)
        statement = (
            self._database.insert(apps)
            .values(fields)
            .on_conflict_do_update(
                index_elements=[apps.c.name],
                set_={**fields, "version": apps.c.version + 1},
                where=apps.c.state == AppState.REMOVED,
            )
            .returning(*apps.c)
        )
        row = await self._change(app, statement)
        if row is None:
            raise Conflict(f"there is an app {app.name} already", "update it, or choose another name")
        return app_of(row)

    async def update(self, app: App, expected_version: int) -> App:
        """Store the app's fields and return it with its next version.

        Raises Stale when its version is not `expected_version` any more, NotFound when there is no such app, and
        Conflict when another app has the host or the port.
        """
        fields = _columns(app) | {"version": apps.c.version + 1}
        statement = (
            sa.update(apps)
            .where(apps.c.name == app.name, apps.c.version == expected_version, _PRESENT)
            .values(fields)
            .returning(*apps.c)
        )
        row = await self._change(app, statement)
        if row is not None:
            return app_of(row)
        current = await self.get(app.name)
        raise Stale(
            f"{app.name} was changed meanwhile: it is at version {current.version}, not {expected_version}",
            "look at it again and repeat the change",
        )

    async def _change(self, app: App, statement: Any) -> Mapping[Any, Any] | None:
        try:
            async with self._database.write() as connection:
                return (await connection.execute(statement)).mappings().first()
        except IntegrityError as error:
            raise await self._taken(app) from error

    async def _taken(self, app: App) -> Conflict:
        mend = "choose another address, or remove that app"
        if (holder := await self.by_host(app.address.host)) and holder.name != app.name:
            return Conflict(f"the host {app.address.host} belongs to the app {holder.name}", mend)
        if (holder := await self.by_port(app.address.port)) and holder.name != app.name:
            return Conflict(f"the port {app.address.port} belongs to the app {holder.name}", mend)
        return Conflict(f"the address of {app.name} was taken by another app a moment ago", "try again")

    async def _holder(self, condition: sa.ColumnElement[bool]) -> App | None:
        async with self._database.read() as connection:
            row = (await connection.execute(sa.select(apps).where(_PRESENT, condition))).mappings().first()
            return None if row is None else app_of(row)


async def read_app(connection: AsyncConnection, name: str, *, include_removed: bool = False, lock: bool = False) -> App:
    """Return the app, on request kept from others until the transaction ends; raise NotFound as Apps.get does."""
    query = sa.select(apps).where(apps.c.name == name)
    row = (await connection.execute(query.with_for_update() if lock else query)).mappings().first()
    if row is None or (row["state"] is AppState.REMOVED and not include_removed):
        raise NotFound(f"there is no app {name}", "list the apps to see their names")
    return app_of(row)


def app_of(row: Mapping[Any, Any]) -> App:
    """Read a row of `apps`."""
    return App(
        name=row["name"],
        state=row["state"],
        address=Address(host=row["host"], port=row["port"], tls=row["tls"]),
        live=row["live"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        version=row["version"],
        target=row["target"],
    )


def _columns(app: App) -> dict[str, Any]:
    return {
        "name": app.name,
        "state": app.state,
        "host": app.address.host,
        "port": app.address.port,
        "tls": app.address.tls,
        "live": app.live,
        "created_by": app.created_by,
        "created_at": app.created_at,
        "version": app.version,
        "target": app.target,
    }
