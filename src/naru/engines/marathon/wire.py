"""Talks to Marathon over HTTP: one client, its errors named, its locks understood."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Self, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from naru.domain.errors import Conflict, Forbidden, Invalid, NaruError, NotFound, Unavailable
from naru.engines.base import APP_LABEL
from naru.engines.marathon.answers import App, Apps, Deployment, Group, Info, Queue, Refusal, Started
from naru.engines.marathon.translate import Json, Place

T = TypeVar("T")
Query = Mapping[str, str | Sequence[str]] | None

ANSWER_SECONDS = 15.0
POLL_SECONDS = 0.2
TELLING = (
    "status_update_event",
    "health_status_changed_event",
    "instance_health_changed_event",
    "app_terminated_event",
    "deployment_success",
    "deployment_failed",
)
"""The events after which an instance may be another than before."""
EMBED = ("apps.tasks", "apps.deployments", "apps.lastTaskFailure")
_DEPLOYMENTS = TypeAdapter(list[Deployment])
_KINDS: Mapping[int, type[NaruError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Invalid,
}


class Wire:
    """A connection to one Marathon; `url` is http:// or https://, with user info where it wants a password."""

    def __init__(self, url: str, name: str, place: Place) -> None:
        try:
            whole = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise Invalid(
                f"the URL of {name} cannot be read: {error}", "write it as marathon+http://HOST:PORT"
            ) from error
        self.name = name
        self.place = place
        # Without the user info, so that no message and no other host ever sees it.
        self.url = str(whole.copy_with(userinfo=b"")).rstrip("/")
        auth = httpx.BasicAuth(whole.username, whole.password) if whole.userinfo else None
        self._http = httpx.AsyncClient(base_url=self.url, auth=auth, timeout=ANSWER_SECONDS)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def info(self) -> Info:
        """Ask what this Marathon is."""
        return self._read(Info.model_validate_json, await self._ask("GET", "/v2/info"))

    async def apps(self, app: str = "") -> Sequence[App]:
        """List the applications that carry Naru's label, of one app or of all, with what belongs to them embedded."""
        query: Query = {"label": f"{APP_LABEL}=={app}" if app else APP_LABEL, "embed": EMBED}
        return self._read(Apps.model_validate_json, await self._ask("GET", "/v2/apps", query)).apps

    async def exists(self, app_id: str) -> bool:
        """Say whether there is an application of that name, whoever made it."""
        return (await self._send("GET", f"/v2/apps{app_id}")).status_code != httpx.codes.NOT_FOUND

    async def queue(self) -> Queue:
        """Ask what waits for a launch."""
        return self._read(Queue.model_validate_json, await self._ask("GET", "/v2/queue"))

    async def define(self, app: str, app_id: str, definition: Json) -> None:
        """Make the application exactly what is defined; returns when Marathon has accepted that."""
        await self._change(app, "PUT", f"/v2/apps{app_id}", {"partialUpdate": "false"}, definition)

    async def scale(self, app: str, app_id: str, instances: int, *, patience: float = 0) -> None:
        """Change nothing but the count; with `patience`, return when Marathon's deployment has ended."""
        answer = await self._change(app, "PUT", f"/v2/apps{app_id}", {}, {"instances": instances})
        if patience:
            await self._follow(answer, patience)

    async def launch_now(self, app_id: str) -> None:
        """Forget failures that hold launches back."""
        answer = await self._send("DELETE", f"/v2/queue{app_id}/delay")
        if answer.status_code != httpx.codes.NOT_FOUND:
            self._check(answer)

    async def stop(self, app: str, tasks: Sequence[str], *, patience: float) -> None:
        """Kill tasks and count their application down with them; returns when Marathon's deployment has ended."""
        answer = await self._change(app, "POST", "/v2/tasks/delete", {"scale": "true"}, {"ids": list(tasks)})
        await self._follow(answer, patience)

    async def replace(self, app: str, tasks: Sequence[str]) -> None:
        """Kill tasks, so that Marathon starts others from the present definition."""
        await self._change(app, "POST", "/v2/tasks/delete", {}, {"ids": list(tasks)})

    async def remove(self, app: str, app_id: str) -> None:
        """Remove an application without tasks, also one that is gone already."""
        with suppress(NotFound):
            await self._change(app, "DELETE", f"/v2/apps{app_id}", {})

    async def remove_group_if_empty(self, app: str) -> None:
        """Remove the app's group, unless somebody put something into it."""
        path = f"/v2/groups{self.place.of(app)}"
        answer = await self._send("GET", path, {"embed": ("group.apps", "group.groups", "group.pods")})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return
        group = self._read(Group.model_validate_json, self._check(answer))
        if not (group.apps or group.groups or group.pods):
            await self._send("DELETE", path)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[str]]:
        """Listen to the names of Marathon's events, for as long as it sends them."""
        stream = self._http.stream(
            "GET",
            "/v2/events",
            params={"event_type": TELLING},
            headers={"Accept": "text/event-stream"},
            timeout=httpx.Timeout(ANSWER_SECONDS, read=None),
        )
        async with stream as answer:
            yield (line async for line in answer.aiter_lines() if line.startswith("event:"))

    # --- changes and their locks ------------------------------------------------------------------------------

    async def _change(self, app: str, method: str, path: str, query: Query, body: Json | None = None) -> httpx.Response:
        """Ask for a change; where a deployment of the same app, and of nothing else, holds the lock, override it.

        Marathon keeps an app locked until every instance is healthy, which may be never; the counts that Naru asks
        for replace each other, so what the older deployment still wants is of no interest.
        """
        answer = await self._send(method, path, query, body)
        if answer.status_code == httpx.codes.CONFLICT:
            await self._refuse_foreign_locks(app, answer)
            answer = await self._send(method, path, {**(query or {}), "force": "true"}, body)
        return self._check(answer)

    async def _refuse_foreign_locks(self, app: str, answer: httpx.Response) -> None:
        """Raise Conflict unless each deployment that holds the lock affects the app alone."""
        refusal = self._refusal(answer)
        holding = {one.id for one in refusal.deployments}
        if not holding:
            raise Conflict(f"{self.name}: {refusal.message}", "see what has the name, and remove it")
        own = f"{self.place.of(app)}/"
        for one in await self._deployments():
            foreign = [*one.affected_pods, *(name for name in one.affected_apps if not name.startswith(own))]
            if one.id in holding and foreign:
                raise Conflict(
                    f"{self.name}: the deployment {one.id} locks {app} together with {', '.join(foreign)}",
                    "wait for it, or cancel it if it is yours",
                )

    async def _deployments(self) -> Sequence[Deployment]:
        return self._read(_DEPLOYMENTS.validate_json, await self._ask("GET", "/v2/deployments"))

    async def _follow(self, answer: httpx.Response, patience: float) -> None:
        """Wait for the end of the deployment that was started; raise Unavailable after `patience` seconds."""
        started = answer.headers.get("Marathon-Deployment-Id")
        started = started or self._read(Started.model_validate_json, answer).deployment_id
        deadline = time.monotonic() + patience
        while any(one.id == started for one in await self._deployments()):
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{self.name}: the deployment {started} has not ended within {patience:g} s",
                    "see in /v2/deployments what it waits for; an agent that is away cannot stop its tasks",
                )
            await asyncio.sleep(POLL_SECONDS)

    # --- requests and errors ----------------------------------------------------------------------------------

    async def _ask(self, method: str, path: str, query: Query = None) -> httpx.Response:
        return self._check(await self._send(method, path, query))

    async def _send(self, method: str, path: str, query: Query = None, body: Json | None = None) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, params=query, json=body)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise Unavailable(
                f"{self.name} does not answer at {self.url} ({why})", "start it, or name another engine"
            ) from error
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise Forbidden(
                f"{self.name}: {self._refusal(answer).message}", "put a user who may deploy into the engine's URL"
            )
        return answer

    def _check(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        kind = _KINDS.get(answer.status_code, Unavailable)
        raise kind(f"{self.name}: {self._refusal(answer).message}")

    def _refusal(self, answer: httpx.Response) -> Refusal:
        try:
            refusal = Refusal.model_validate_json(answer.content)
        except ValidationError:
            refusal = Refusal()
        return refusal if refusal.message else refusal.model_copy(update={"message": f"HTTP {answer.status_code}"})

    def _read(self, parse: Callable[[bytes], T], answer: httpx.Response) -> T:
        try:
            return parse(answer.content)
        except ValidationError as error:
            raise Unavailable(
                f"{self.name} at {self.url} answered what no Marathon answers", "check the engine's URL"
            ) from error
