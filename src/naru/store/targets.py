"""Targets: the engines that Naru runs instances on, their URLs encrypted at rest, as they may hold passwords."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from naru.domain.app import AppState
from naru.domain.errors import Conflict, NotFound
from naru.domain.rollout import RolloutState
from naru.domain.target import Enrolment, TargetState
from naru.store.database import Database, whole
from naru.store.schema import apps, rollouts, targets
from naru.store.seal import Seal


@whole
class Targets:
    """The targets, one a name."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal

    async def add(self, target: Enrolment) -> None:
        """Store a new target; raise Conflict when there is one of that name."""
        try:
            async with self._database.write() as connection:
                await connection.execute(sa.insert(targets).values(self._columns(target)))
        except IntegrityError as error:
            raise Conflict(f"there is a target {target.name} already", "choose another name") from error

    async def put(self, target: Enrolment) -> None:
        """Store the target's URL and site; one that is there keeps its state and who added it when."""
        values = self._columns(target)
        moved = {key: values[key] for key in ("url", "site")}
        statement = (
            self._database.insert(targets)
            .values(values)
            .on_conflict_do_update(index_elements=[targets.c.name], set_=moved)
        )
        async with self._database.write() as connection:
            await connection.execute(statement)

    async def all(self) -> list[Enrolment]:
        """List the targets, those that were added first before the others."""
        async with self._database.read() as connection:
            rows = await connection.execute(sa.select(targets).order_by(targets.c.added_at, targets.c.name))
            return [self._enrolment(row) for row in rows.mappings()]

    async def set_state(self, name: str, state: TargetState) -> None:
        """Store the target's state; raise NotFound."""
        statement = sa.update(targets).where(targets.c.name == name).values(state=state)
        async with self._database.write() as connection:
            if (await connection.execute(statement)).rowcount == 0:
                raise _unknown(name)

    async def delete(self, name: str) -> None:
        """Forget the target; raise NotFound, and Conflict, naming them, while apps live there or come to it."""
        async with self._database.write() as connection:
            query = sa.select(targets.c.name).where(targets.c.name == name).with_for_update()
            if await connection.scalar(query) is None:
                raise _unknown(name)
            here = sa.select(apps.c.name).where(apps.c.target == name, apps.c.state != AppState.REMOVED)
            coming = sa.select(rollouts.c.app).where(
                rollouts.c.target == name, rollouts.c.state.not_in([state for state in RolloutState if state.ended])
            )
            if users := sorted(set(await connection.scalars(here.union(coming)))):
                shown = ", ".join(users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
                raise Conflict(f"{name} runs {shown}", f"move them away first: naru targets drain {name}")
            await connection.execute(sa.delete(targets).where(targets.c.name == name))

    def _columns(self, target: Enrolment) -> dict[str, Any]:
        return {
            "name": target.name,
            "url": self._seal.close(target.url.encode()),
            "site": target.site,
            "state": target.state,
            "added_by": target.added_by,
            "added_at": target.added_at,
        }

    def _enrolment(self, row: Mapping[Any, Any]) -> Enrolment:
        return Enrolment(
            name=row["name"],
            url=self._seal.open(row["url"]).decode(),
            site=row["site"],
            added_by=row["added_by"],
            added_at=row["added_at"],
            state=row["state"],
        )


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no target {name}", "list the targets to see their names")
