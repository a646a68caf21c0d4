"""Talks to one API server; every error is one of naru.domain.errors.

Objects are written through lightkube, typed and by server-side apply. Reading goes through the HTTP client that
lightkube makes from a kubeconfig, because lightkube asks for no bookmarks, reads a log whole before it gives its first
line, and deletes collections without a selector.
"""

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

import httpx2
from lightkube.core.exceptions import ApiError
from lightkube.core.resource import NamespacedResource
from lightkube.generic_resource import GenericNamespacedResource
from lightkube.resources.apps_v1 import Deployment, StatefulSet
from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Namespace, PersistentVolumeClaim, Pod, Secret, Service
from lightkube.resources.networking_v1 import Ingress
from lightkube.resources.policy_v1 import PodDisruptionBudget
from lightkube.types import PatchType
from pydantic import BaseModel

from naru.domain.errors import Conflict, NotFound, Unavailable
from naru.domain.instance import ExecResult
from naru.engines.base import PROJECT_LABEL
from naru.engines.kubernetes import answers, channel
from naru.engines.kubernetes.answers import (
    AccessReview,
    Event,
    Holder,
    Metadata,
    Node,
    Object,
    Page,
    PodMetrics,
    Version,
)
from naru.engines.kubernetes.asking import ANSWER, Asking
from naru.engines.kubernetes.errors import claims, status_of
from naru.engines.kubernetes.naming import CONTAINER, belongs, namespace_of, selector

A = TypeVar("A", bound=BaseModel)

Wanted = (
    Deployment
    | StatefulSet
    | Job
    | CronJob
    | HorizontalPodAutoscaler
    | Service
    | PodDisruptionBudget
    | PersistentVolumeClaim
    | Secret
    | Ingress
    | GenericNamespacedResource
)
"""What Naru makes in its namespaces."""
W = TypeVar("W", bound=Wanted)

KEEP_OUTPUT = 1 << 20
"""Bytes kept of each stream of an executed command."""


class Kept(io.BytesIO):
    """Keeps the first bytes of what is written to it."""

    def write(self, chunk: bytes, /) -> int:  # type: ignore[override]
        """Take a chunk, and say that all of it was taken."""
        super().write(chunk[: max(0, KEEP_OUTPUT - self.tell())])
        return len(chunk)


class Wire(Asking):
    """Speaks as one account, of one namespace."""

    # --- reading ----------------------------------------------------------------------------------------------

    async def version(self) -> Version:
        """Say what the API server is."""
        return await self._get("/version", Version)

    async def nodes(self) -> Sequence[Node]:
        """List the cluster's machines."""
        return [one async for one in self._listed("/api/v1/nodes", Node, {})]

    async def measures(self) -> bool:
        """Whether the cluster has the metrics API, and it works."""
        try:
            await self._get("/apis/metrics.k8s.io/v1beta1", Object)
        except (NotFound, Unavailable):
            return False
        return True

    async def metrics(self, pod: str) -> PodMetrics | None:
        """Return a pod's newest sample; None before its first."""
        path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{self.namespace}/pods/{pod}"
        try:
            return await self._get(path, PodMetrics)
        except NotFound:
            return None

    async def held(self, kind: type[NamespacedResource], name: str) -> Holder | None:
        """Return what makes pods, by its kind and name."""
        try:
            return await self._get(self._path_of(kind, name), Holder)
        except NotFound:
            return None

    async def all_held(self, kind: type[NamespacedResource], app: str) -> Sequence[Holder]:
        """List what makes the app's pods, of one kind."""
        query = {"labelSelector": selector(self.owner, app)}
        return [one async for one in self._listed(self._path_of(kind), Holder, query)]

    async def claims(self, app: str) -> Sequence[Object]:
        """List the claims of the app's volumes, by name."""
        query = {"labelSelector": selector(self.owner, app)}
        found = [one async for one in self._listed(self._path_of(PersistentVolumeClaim), Object, query)]
        return sorted(found, key=lambda one: one.metadata.name)

    async def marked(self, label: str) -> Sequence[answers.Pod]:
        """List the pods with a label."""
        return [one async for one in self._listed(self._path("api/v1", "pods"), answers.Pod, {"labelSelector": label})]

    async def failures(self, name: str) -> Sequence[str]:
        """List why the object of that name could make no pods, in its controller's words."""
        query = {"fieldSelector": f"involvedObject.name={name},reason=FailedCreate"}
        return [one.message async for one in self._listed(self._path("api/v1", "events"), Event, query)]

    async def holder(self, kind: type[NamespacedResource], name: str) -> Object | None:
        """Return who has a name, as far as its metadata."""
        try:
            return await self._get(self._path_of(kind, name), Object)
        except NotFound:
            return None

    async def roams(self) -> bool:
        """Whether the account may make namespaces, and look into all of them."""
        asked = (("", "namespaces", "create"), ("", "pods", "watch"), ("batch", "cronjobs", "watch"))
        return all(await asyncio.gather(*(self._may(*one) for one in asked)))

    async def _may(self, group: str, resource: str, verb: str) -> bool:
        asked = {"group": group, "resource": resource, "verb": verb}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        with self._errors():
            response = await self._http.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json=review)
            response.raise_for_status()
            return AccessReview.model_validate_json(response.content).status.allowed

    async def gateways(self) -> Sequence[Metadata]:
        """List the Gateways of the cluster; none without the Gateway API."""
        return await self._known("/apis/gateway.networking.k8s.io/v1/gateways")

    async def ingress_classes(self) -> Sequence[Metadata]:
        """List the classes of Ingresses that somebody serves."""
        return await self._known("/apis/networking.k8s.io/v1/ingressclasses")

    async def _known(self, path: str) -> Sequence[Metadata]:
        try:
            return [one.metadata async for one in self._listed(path, Object, {})]
        except NotFound:
            return ()

    async def projects(self) -> Sequence[str]:
        """List the namespaces that Naru made for projects, of this home."""
        query = {"labelSelector": f"{selector(self.owner)},{PROJECT_LABEL}"}
        found = [one async for one in self._listed("/api/v1/namespaces", Object, query)]
        return [
            one.metadata.name
            for one in found
            if one.metadata.name == namespace_of(self.access.namespace, one.metadata.labels[PROJECT_LABEL])
        ]

    async def is_empty(self, kinds: Iterable[type[NamespacedResource]]) -> bool:
        """Whether the namespace holds nothing of these kinds, whoever made it."""
        for kind in kinds:
            if (await self._get(self._path_of(kind), Page[Object], {"limit": "1"})).items:
                return False
        return True

    def collection(self, group: str, plural: str, *, everywhere: bool) -> str:
        """The path of all objects of a kind, in the namespace or in all."""
        return f"/{group}/{plural}" if everywhere else self._path(group, plural)

    async def page(self, path: str, model: type[A], params: Mapping[str, str]) -> Page[A]:
        """Read one page of a list."""
        return await self._get(path, Page[model], params)  # type: ignore[valid-type]

    @asynccontextmanager
    async def watch(self, path: str, params: Mapping[str, str], seconds: int) -> AsyncIterator[AsyncIterator[str]]:
        """Open a watch that the API server ends after so many seconds; its lines are JSON."""
        timeout = httpx2.Timeout(ANSWER, read=seconds + ANSWER)
        query = {**params, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        async with self._stream(path, query, timeout) as lines:
            yield lines

    async def log(self, pod: str, *, follow: bool, seconds: int | None, tail: int | None) -> AsyncGenerator[str, None]:
        """Yield the lines of the container that runs, or ran last, each with its time in front.

        Of the last so many seconds, by the node's clock, or all.
        """
        query = {"container": CONTAINER, "timestamps": "true", "follow": str(follow).lower()}
        if seconds is not None:
            query["sinceSeconds"] = str(seconds)
        if tail is not None:
            query["tailLines"] = str(tail)
        timeout = httpx2.Timeout(ANSWER, read=None if follow else ANSWER)
        async with self._stream(self._path("api/v1", "pods", pod, "log"), query, timeout) as lines:
            async for line in lines:
                yield line

    # --- writing ----------------------------------------------------------------------------------------------

    async def ensure_namespace(self, wanted: Namespace) -> None:
        """Make the namespace, unless there is one: an operator's own is used as it is, but never for a project."""
        mine = (wanted.metadata and wanted.metadata.labels) or {}
        try:
            held = await self._get(f"/api/v1/namespaces/{self.namespace}", Object)
        except NotFound:
            with self._errors():
                await self._client.apply(wanted)
            return
        if PROJECT_LABEL in mine and not mine.items() <= held.metadata.labels.items():
            raise Conflict(
                f"there is a namespace {self.namespace} that Naru did not make for the project {mine[PROJECT_LABEL]}",
                "remove it, or call the project otherwise",
            )

    async def delete_namespace(self) -> None:
        """Remove the namespace and all that is in it."""
        try:
            with self._errors():
                await self._client.delete(Namespace, self.namespace)
        except NotFound:
            pass

    async def apply(self, wanted: Wanted, app: str, held: Object | None = None) -> None:
        """Let an object of the app's be as wanted; `held` is who has its name, when that is known already.

        Raises Conflict when the name belongs to somebody else, or when somebody who would set it again manages a field
        that is wanted otherwise. What was edited once is set back, and fields that are not wanted stay as they are.
        """
        name = wanted.metadata.name if wanted.metadata and wanted.metadata.name else ""
        held = held or await self.holder(type(wanted), name)
        if held and not belongs(held.metadata.labels, self.owner, app):
            raise Conflict(
                f"a {type(wanted).__name__} that Naru did not make for {app} is called {name}", "rename or remove it"
            )
        with self._errors():
            try:
                await self._client.apply(self._placed(wanted))
            except ApiError as error:
                taken = claims(status_of(error.response))
                for claim in taken:
                    if not claim.edited:
                        raise Conflict(
                            f"{claim.field} of the {type(wanted).__name__} {name} is managed by {claim.manager}",
                            "let it leave that field to Naru",
                        ) from error
                if not taken:
                    raise
                await self._client.apply(self._placed(wanted), force=True)

    async def apply_blindly(self, wanted: Wanted) -> None:
        """Let an object be as wanted that nobody else could have a name like."""
        with self._errors():
            await self._client.apply(self._placed(wanted), force=True)

    async def create(self, wanted: Wanted) -> None:
        """Make an object that never changes; it is well when it is there already."""
        with self._errors():
            try:
                await self._client.create(self._placed(wanted))
            except ApiError as error:
                if error.status.reason != "AlreadyExists":
                    raise

    async def annotate(self, pod: str, patch: Mapping[str, object]) -> None:
        """Change a pod's annotations; nothing happens when it is gone."""
        try:
            with self._errors():
                await self._client.patch(Pod, pod, dict(patch), namespace=self.namespace, patch_type=PatchType.MERGE)
        except NotFound:
            pass

    async def delete(self, pod: str) -> None:
        """Tell a pod to go; nothing happens when it is gone."""
        try:
            with self._errors():
                await self._client.delete(Pod, pod, namespace=self.namespace)
        except NotFound:
            pass

    async def delete_all(self, kind: type[NamespacedResource], app: str, revision: str = "", number: int = 0) -> None:
        """Remove everything of a kind that Naru made for the app, a revision or a number, and what that made."""
        await self._delete_selected(kind, {"labelSelector": selector(self.owner, app, revision, number)})

    async def delete_marked(self, kind: type[NamespacedResource], label: str) -> None:
        """Remove everything of a kind with a label that only Naru's own have, and what that made."""
        await self._delete_selected(kind, {"labelSelector": label})

    async def delete_claim(self, app: str, name: str) -> None:
        """Remove one claim of the app's."""
        query = {"labelSelector": selector(self.owner, app), "fieldSelector": f"metadata.name={name}"}
        await self._delete_selected(PersistentVolumeClaim, query)

    async def _delete_selected(self, kind: type[NamespacedResource], query: Mapping[str, str]) -> None:
        params = {**query, "propagationPolicy": "Background"}
        try:
            with self._errors():
                response = await self._http.delete(self._path_of(kind), params=params)
                response.raise_for_status()
        except NotFound:
            pass

    async def run(self, pod: str, command: Sequence[str], stdin: bytes) -> ExecResult:
        """Run a command in the pod's container to its end.

        Input is asked for only when there is some, which the library's own `exec` always does: what is written to a
        command that has ended already breaks the connection, and its output is lost.
        """
        out, err = Kept(), Kept()
        asked: dict[str, object] = {"command": list(command), "container": CONTAINER, "stdout": out, "stderr": err}
        if stdin:
            asked["stdin"] = stdin
        with self._errors():
            answer = await self._client._client.ws_request("exec", pod, self.namespace, asked)
        return ExecResult(answer.exit_code, out.getvalue(), err.getvalue())

    async def read(self, pod: str, command: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """Yield what a command in the pod's container writes, of any length."""
        with self._errors():
            async with aclosing(channel.read(self._http, self._exec_path(pod), command)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def write(self, pod: str, command: Sequence[str], source: AsyncIterator[bytes]) -> None:
        """Run a command in the pod's container to its end, with an input of any length."""
        with self._errors():
            await channel.write(self._http, self._exec_path(pod), command, source)

    def _exec_path(self, pod: str) -> str:
        return self._path("api/v1", "pods", pod, "exec")

    def _placed(self, wanted: W) -> W:
        assert wanted.metadata is not None  # noqa: S101 - see translate
        wanted.metadata.namespace = self.namespace
        return wanted
