"""What operators can ask of targets: add, cordon, drain and remove them."""

import asyncio

from naru.control.apps import Apps
from naru.control.bulletin import Bulletin
from naru.control.deploy import Pipeline
from naru.control.record import Clock
from naru.control.worlds import TARGETS, first, without_password
from naru.domain import names
from naru.domain.account import Subject
from naru.domain.errors import Conflict, Invalid, NaruError, Unavailable
from naru.domain.evacuation import Evacuation, Staying
from naru.domain.rollout import Rollout
from naru.domain.target import Enrolment, Target, TargetState
from naru.engines.guard import Guarded, Patience

MAX_URL = 2048
TRIAL = Patience(answer=10.0)
"""How long a target may take to answer before it is refused."""


class Fleet:
    """The targets, as their operators see them."""

    def __init__(self, pipeline: Pipeline, apps: Apps, bulletin: Bulletin, clock: Clock) -> None:
        self._worlds = pipeline.worlds
        self._store = pipeline.store
        self._apps = apps
        self._bulletin = bulletin
        self._clock = clock

    async def show(self, name: str) -> Target:
        """Describe one target; raise NotFound."""
        return await self._worlds.describe_one(name)

    async def add(self, name: str, url: str, *, site: str = "", force: bool = False, subject: Subject) -> Target:
        """Add the engine at a URL as a target, once it has answered and shown its instances.

        Raises Invalid for a URL that is no engine's, Conflict for a name that is taken or an engine that is a target
        already, and what the engine answered: Unavailable when it is away, Forbidden when we may not. With `force` a
        target that does not answer well is added all the same, and works from when it does.
        """
        names.label(name, "a target")
        _check(url)
        if name in self._worlds:
            raise Conflict(f"there is a target {name} already", "choose another name, or remove that target first")
        enrolment = Enrolment(name, url, site or name, str(subject), self._clock())
        try:
            found = await self._tried(enrolment)
        except NaruError as error:
            if isinstance(error, Invalid):
                raise
            if not force:
                raise type(error)(f"{name} was not added: {error.cause}", error.mend, override="force") from error
        else:
            await self._demand_new(found)
        await self._store.targets.add(enrolment)
        await self._worlds.follow()
        await self._tell(subject, f"added the target {name} at {without_password(url)}")
        return await self.show(name)

    async def cordon(self, name: str, *, subject: Subject) -> Target:
        """Let nothing new come to the target; what runs there stays."""
        return await self._set_state(name, TargetState.CORDONED, subject)

    async def uncordon(self, name: str, *, subject: Subject) -> Target:
        """Let the target take new apps again."""
        return await self._set_state(name, TargetState.ACTIVE, subject)

    async def drain(self, name: str, *, copy_volumes: bool = False, subject: Subject) -> Evacuation:
        """Cordon the target and begin to move each app away, to the best other target; say which cannot go, and why.

        Apps with volumes go only with `copy_volumes`: each is stopped while its own are copied.
        """
        await self.cordon(name, subject=subject)
        moves: list[Rollout] = []
        staying: list[Staying] = []
        for app in await self._store.apps.on(name):
            try:
                moves.append(await self._apps.move(app, copy_volumes=copy_volumes, subject=subject))
            except NaruError as error:
                staying.append(Staying(app, str(error)))
        await self._tell(subject, f"drains the target {name}: {len(moves)} apps move, {len(staying)} stay")
        return Evacuation(name, tuple(moves), tuple(staying))

    async def remove(self, name: str, *, subject: Subject) -> None:
        """Forget a target; raise Conflict while apps live there, or while the configuration names it."""
        self._worlds.enrolment(name)
        if self._worlds.is_configured(name):
            raise Conflict(
                f"{name} is the target that the server's configuration names",
                "start the server with another NARU_ENGINE; to keep new apps away, cordon it",
            )
        await self._store.targets.delete(name)
        await self._worlds.follow()
        await self._tell(subject, f"removed the target {name}")

    async def _set_state(self, name: str, state: TargetState, subject: Subject) -> Target:
        if self._worlds.enrolment(name).state is not state:
            await self._store.targets.set_state(name, state)
            await self._worlds.follow()
            await self._tell(subject, f"made the target {name} {state}")
        return await self.show(name)

    async def _tried(self, enrolment: Enrolment) -> Target:
        """Open the engine for a moment, and ask what every day will ask of it."""
        opening = self._worlds.open_engine
        found: Target | None = None
        refusal: NaruError | None = None
        try:
            async with (
                asyncio.TaskGroup() as tasks,
                opening(enrolment.url, tasks, name=enrolment.name, site=enrolment.site) as engine,
            ):
                guarded = Guarded(engine, TRIAL)
                found = await guarded.describe()
                await guarded.observe()
        except* NaruError as errors:
            refusal = first(errors)
        except* (ValueError, OSError) as errors:
            refusal = Invalid(f"{enrolment.name} cannot be opened: {errors.exceptions[0]}", "look at its URL")
        if refusal:  # Python before 3.11.4 puts what is raised above into a group of its own
            raise refusal
        if found is None or found.problem:
            raise Unavailable(found.problem if found else f"{enrolment.name} did not open")
        return found

    async def _demand_new(self, found: Target) -> None:
        """Raise Conflict when another target is the same engine: what ran at one would look left over at the other."""
        for other in await self._worlds.describe(max_age=60.0):
            if found.identity and other.identity == found.identity:
                raise Conflict(
                    f"{found.name} was not added: it is the engine of the target {other.name}",
                    "use that target, or remove it first",
                )

    async def _tell(self, subject: Subject, text: str) -> None:
        await self._store.journal.append(self._clock(), "", "target", str(subject), text)
        self._bulletin.call(TARGETS)


def _check(url: str) -> None:
    if len(url) > MAX_URL or not url.isprintable() or " " in url:
        raise Invalid("that is no URL of an engine", "write it as tcp://HOST:PORT, or as the engine's page says")
    try:
        without_password(url)
    except ValueError as error:
        raise Invalid(f"that is no URL of an engine: {error}", "write it as the engine's page says") from error
