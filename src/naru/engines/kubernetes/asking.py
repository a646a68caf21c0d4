"""How an API server is asked, as one account and of one namespace, whatever is asked."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from copy import copy
from typing import Self, TypeVar

import httpx2
from lightkube import AsyncClient
from lightkube.config import client_adapter
from lightkube.core.resource import NamespacedResource
from pydantic import BaseModel

from naru.engines.kubernetes.access import Access
from naru.engines.kubernetes.answers import Page
from naru.engines.kubernetes.errors import kubernetes_errors
from naru.engines.kubernetes.naming import MANAGER
from naru.engines.kubernetes.transport import transport

A = TypeVar("A", bound=BaseModel)
ANSWER = 20.0
"""Seconds for an answer that is no stream."""
PAGE = 500


class Asking:
    """Speaks as one account, of one namespace."""

    def __init__(self, access: Access, name: str, owner: str) -> None:
        self.name = name
        self.owner = owner
        self.access = access
        self.namespace = access.namespace
        self._client = AsyncClient(
            access.config,
            namespace=access.namespace,
            field_manager=MANAGER,
            timeout=httpx2.Timeout(ANSWER),
            transport=transport(access),
        )
        self._http = client_adapter.AsyncClient(
            access.config,
            client_adapter.ConnectionParams(
                timeout=httpx2.Timeout(ANSWER),
                transport=transport(access),  # type: ignore[arg-type]  # it serves both clients
            ),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
        await self._client.close()

    def within(self, namespace: str) -> Self:
        """Speak of another namespace, through the same connections."""
        other = copy(self)
        other.namespace = namespace
        return other

    def _errors(self) -> AbstractContextManager[None]:
        return kubernetes_errors(self.name, self.access.server)

    async def _get(self, path: str, model: type[A], params: Mapping[str, str] | None = None) -> A:
        with self._errors():
            response = await self._http.get(path, params=dict(params or {}))
            response.raise_for_status()
            return model.model_validate_json(response.content)

    async def _listed(self, path: str, model: type[A], params: Mapping[str, str]) -> AsyncIterator[A]:
        query = {**params, "limit": str(PAGE)}
        while True:
            page = await self._get(path, Page[model], query)  # type: ignore[valid-type]
            for item in page.items:
                yield item
            if not page.metadata.next_page:
                return
            query["continue"] = page.metadata.next_page

    @asynccontextmanager
    async def _stream(
        self, path: str, params: Mapping[str, str], timeout: httpx2.Timeout
    ) -> AsyncIterator[AsyncIterator[str]]:
        with self._errors():
            async with self._http.stream("GET", path, params=dict(params), timeout=timeout) as response:
                if response.is_error:
                    await response.aread()
                response.raise_for_status()
                yield response.aiter_lines()

    def _path(self, group: str, *parts: str) -> str:
        return "/".join(("", group, "namespaces", self.namespace, *parts))

    def _path_of(self, kind: type[NamespacedResource], *parts: str) -> str:
        info = kind._api_info
        group = f"apis/{info.resource.group}" if info.resource.group else "api"
        return self._path(f"{group}/{info.resource.version}", info.plural, *parts)
