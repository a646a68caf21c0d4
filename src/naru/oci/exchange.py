"""One request to a registry and its answer: signed in where asked, retried where that helps, never led astray.

What the rest of the room relies on: a password or token goes only to the host that it is for, never along a redirect
to another; plain HTTP is spoken only where it is allowed; a broken connection is Unavailable.
"""

import asyncio
import base64
import random
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, Self

import httpx

from naru.domain.account import Credentials
from naru.domain.errors import Forbidden, Invalid, NaruError, NotFound, Unavailable
from naru.oci.challenge import Basic, Bearer, parse_challenge
from naru.oci.document import Document
from naru.oci.reference import DOCKER_HUB, registry_host

_HUB_ENDPOINT: Final = "registry-1.docker.io"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_BUSY: Final = frozenset({429, 500, 502, 503, 504})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 5
_MAX_TOKEN: Final = 256 * 1024
_TOKEN_LIFE: Final = 60
_MAX_KEPT: Final = 1000
_PRESENTABLE: Final = re.compile(r"[\x21-\x7e]{1,65536}")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a registry is waited for, in seconds, and how often it is asked."""

    connect: float = 10.0
    silence: float = 30.0
    document: float = 60.0
    longest_wait: float = 30.0
    backoff: float = 0.5
    attempts: int = 4


DEFAULT_PATIENCE: Final = Patience()


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: to the registry `domain`, about `repository` (empty for none), as `login`.

    `target` is a path on the registry, or a URL that it gave us. `subject` names in errors what was asked for.
    `content` is called for every attempt.
    """

    method: str
    domain: str
    target: str
    subject: str
    repository: str = ""
    login: Credentials | None = None
    accept: str = "*/*"
    headers: tuple[tuple[str, str], ...] = ()
    content: Callable[[], AsyncIterator[bytes]] | None = None

    @property
    def reads(self) -> bool:
        """Whether the request changes nothing, so that it may be repeated and redirected."""
        return self.method in ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class _Key:
    """What an authorization is good for."""

    domain: str
    repository: str
    writes: bool
    username: str
    password: str


class Exchange:
    """Talks to registries. Close it when done."""

    def __init__(
        self,
        *,
        insecure: Collection[str] = (),
        patience: Patience = DEFAULT_PATIENCE,
        tls: ssl.SSLContext | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._insecure = frozenset(insecure)
        self._patience = patience
        self._sleep = sleep
        self._jitter = jitter
        self._clock = clock
        self._now = now
        self._authorizations: dict[_Key, tuple[str, float]] = {}
        # Cookies would carry one user's session into another's request. Loopback is reached without any proxy.
        self._http = httpx.AsyncClient(
            verify=tls or _every_trust(),
            timeout=httpx.Timeout(patience.silence, connect=patience.connect),
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"User-Agent": "naru", "Accept-Encoding": "identity"},
            mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    def endpoint(self, domain: str) -> str:
        """Return the URL at which a registry is reached."""
        host = _HUB_ENDPOINT if domain == DOCKER_HUB else domain
        return f"{'http' if self._plain(domain) else 'https'}://{host}/"

    @asynccontextmanager
    async def open(self, ask: Ask) -> AsyncIterator[httpx.Response]:
        """Give a successful answer whose body is still to be read.

        Raises NotFound, Forbidden, Unavailable, or Invalid when the registry answers what no registry should.
        """
        response = await self._patiently(ask)
        try:
            if response.status_code >= 300:
                raise _refusal(ask, response, self._asked_to_wait(response))
            with connection_errors(ask):
                yield response
        finally:
            await response.aclose()

    async def read(self, ask: Ask, limit: int) -> tuple[httpx.Response, bytes]:
        """Return an answer and its body of at most `limit` bytes; Invalid when it is longer."""
        try:
            async with asyncio.timeout(self._patience.document), self.open(ask) as response:
                content = bytearray()
                async for chunk in response.aiter_raw():
                    content += chunk
                    if len(content) > limit:
                        raise Invalid(
                            f"{ask.domain} answers more than {limit} bytes for {ask.subject}",
                            "do not trust this registry",
                        )
                return response, bytes(content)
        except TimeoutError as error:
            raise Unavailable(f"{ask.domain} takes too long to send {ask.subject}") from error

    async def _patiently(self, ask: Ask) -> httpx.Response:
        """Ask again while the registry is busy or the connection breaks, as long as that is safe and not too long."""
        for attempt in range(1, self._patience.attempts + 1):
            last = attempt == self._patience.attempts
            wait = self._patience.backoff * 2 ** (attempt - 1) * (0.5 + self._jitter())
            try:
                response = await self._signed_in(ask)
            except Unavailable:
                if last or not ask.reads:
                    raise
            else:
                asked = self._asked_to_wait(response)
                again = response.status_code in _BUSY and (ask.reads or response.status_code in (429, 503))
                if last or not again or asked > self._patience.longest_wait:
                    return response
                await response.aclose()
                wait = max(wait, asked)
            await self._sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _asked_to_wait(self, response: httpx.Response) -> float:
        """Read Retry-After (RFC 9110, section 10.2.3) as seconds from now, 0 when there is none."""
        value = response.headers.get("Retry-After", "").strip()
        if value.isascii() and value.isdecimal() and len(value) < 10:
            return float(value)
        try:
            return max(0.0, (parsedate_to_datetime(value) - self._now()).total_seconds())
        except (ValueError, TypeError):
            return 0.0

    async def _signed_in(self, ask: Ask) -> httpx.Response:
        key = _key(ask)
        authorization, expires = self._authorizations.get(key, ("", 0.0))
        if authorization and expires > self._clock():
            response = await self._follow(ask, authorization)
            if response.status_code != 401:
                return response
            await response.aclose()
        response = await self._follow(ask, "")
        if response.status_code != 401 or response.history:
            return response
        await response.aclose()
        header = ", ".join(response.headers.get_list("WWW-Authenticate"))
        match parse_challenge(header):
            case Basic() if ask.login is not None:
                authorization, expires = _basic(ask.login), float("inf")
            case Bearer() as bearer:
                authorization, life = await self._token(ask, bearer, response.url)
                expires = self._clock() + life
            case _:
                return response
        self._keep(key, authorization, expires)
        return await self._follow(ask, authorization)

    def _keep(self, key: _Key, authorization: str, expires: float) -> None:
        if len(self._authorizations) >= _MAX_KEPT:
            now = self._clock()
            self._authorizations = {
                kept: value for kept, value in self._authorizations.items() if now < value[1] < now + 1e6
            }
        self._authorizations[key] = (authorization, expires)

    async def _token(self, ask: Ask, bearer: Bearer, asked_by: httpx.URL) -> tuple[str, float]:
        """Fetch a token; return the header's value and how many seconds it may be used."""
        with connection_errors(ask):
            realm = httpx.URL(bearer.realm)
        self._check_url(ask, realm, asked_by)
        writes = "pull" if ask.reads else "pull,push"
        scope = bearer.scope or (f"repository:{ask.repository}:{writes}" if ask.repository else "")
        parameters = {name: value for name, value in (("service", bearer.service), ("scope", scope)) if value}
        headers = {"Authorization": _basic(ask.login)} if ask.login else {}
        with connection_errors(ask):
            request = self._http.build_request("GET", realm.copy_merge_params(parameters), headers=headers)
            response = await self._http.send(request, stream=True)
        try:
            if response.status_code != 200:
                raise _refusal(ask, response, self._asked_to_wait(response))
            content = bytearray()
            with connection_errors(ask):
                async for chunk in response.aiter_raw():
                    content += chunk
                    if len(content) > _MAX_TOKEN:
                        break
        finally:
            await response.aclose()
        document = Document.load(bytes(content), f"the token of {ask.domain}", _MAX_TOKEN)
        token = document.text("token") or document.text("access_token")
        if not _PRESENTABLE.fullmatch(token):
            raise Invalid(f"{ask.domain} gives no token", "check that it is an OCI registry")
        return f"Bearer {token}", float(max(_TOKEN_LIFE, document.integer("expires_in")) - 5)

    async def _follow(self, ask: Ask, authorization: str) -> httpx.Response:
        """Send the request and follow redirects of reads; `history` of the answer is then not empty."""
        origin = httpx.URL(self.endpoint(ask.domain))
        with connection_errors(ask):
            url = origin.join(ask.target)
        history: list[httpx.Response] = []
        if url.copy_with(path="/", query=None, fragment=None) != origin:
            self._check_url(ask, url, origin)
        for _ in range(_MAX_REDIRECTS + 1):
            headers = dict(ask.headers) | {"Accept": ask.accept}
            if authorization and _same_origin(url, origin):
                headers["Authorization"] = authorization
            with connection_errors(ask):
                request = self._http.build_request(
                    ask.method, url, headers=headers, content=ask.content() if ask.content else None
                )
                response = await self._http.send(request, stream=True)
            response.history = list(history)
            if response.status_code not in _REDIRECTS or not ask.reads:
                return response
            await response.aclose()
            history.append(response)
            with connection_errors(ask):
                following = url.join(response.headers.get("Location", ""))
            self._check_url(ask, following, url)
            url = following
        raise Invalid(f"{ask.domain} redirects {ask.subject} without end", "do not trust this registry")

    def _check_url(self, ask: Ask, url: httpx.URL, named_by: httpx.URL) -> None:
        """Refuse a URL that a registry gave us when it would leave TLS, or smuggles in a user."""
        plain_allowed = url.scheme == "http" and named_by.scheme == "http" and self._plain(url.netloc.decode())
        if url.userinfo or not url.host or not (url.scheme == "https" or plain_allowed):
            raise Forbidden(
                f"{ask.domain} sends us to {url.scheme}://{url.host}, which is not safe for {ask.subject}",
                "list that host as insecure if you trust the network, or give the registry TLS",
            )

    def _plain(self, domain: str) -> bool:
        """Say whether plain HTTP is spoken with a host: with ourselves, and where the operator listed it."""
        return domain in self._insecure or re.sub(r":[0-9]+$", "", domain) in _LOOPBACK


class connection_errors:  # noqa: N801 - used like a function
    """A context in which a connection that breaks is Unavailable, naming the registry."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case httpx.InvalidURL() | httpx.UnsupportedProtocol():
                raise Invalid(
                    f"{self._ask.domain} sends us to a broken address", "do not trust this registry"
                ) from error
            case httpx.TimeoutException():
                raise Unavailable(
                    f"{self._ask.domain} does not answer in time", "check the registry's load and the network"
                ) from error
            case httpx.HTTPError() | httpx.StreamError():
                raise Unavailable(
                    f"{self._ask.domain} does not answer: {error}",
                    "check the host and the network; a registry without TLS must be listed as insecure",
                ) from error


def _refusal(ask: Ask, response: httpx.Response, retry_after: float) -> NaruError:
    """Say what an unsuccessful answer means."""
    match response.status_code:
        case 401 | 403:
            return Forbidden(
                f"{ask.domain} refuses {ask.subject}" + ("" if ask.login else " without signing in"),
                f"check the name, then sign in with naru registry login {ask.domain}",
            )
        case 404:
            return NotFound(f"{ask.domain} has no {ask.subject}", "check the name and the tag")
        case 429:
            return Unavailable(
                f"{ask.domain} limits how often it is asked",
                f"wait, or sign in with naru registry login {ask.domain}",
                retry_after=retry_after or 60.0,
            )
        case status if status >= 500:
            return Unavailable(f"{ask.domain} fails with status {status}", retry_after=retry_after or 5.0)
        case status:
            return Invalid(
                f"{ask.domain} answers {ask.subject} with status {status}", "check that it is an OCI registry"
            )


def _every_trust() -> ssl.SSLContext:
    """Trust the public authorities, on a machine that has none installed too, and those that its owner installed."""
    context = httpx.create_ssl_context()
    context.load_default_certs()
    return context


def _key(ask: Ask) -> _Key:
    login = ask.login
    if login is not None and registry_host(login.registry) != ask.domain:
        raise Invalid(f"the credentials are for {login.registry}, not {ask.domain}", "use the registry's own")
    name, word = (login.username, login.password) if login else ("", "")
    return _Key(ask.domain, ask.repository, not ask.reads, name, word)


def _basic(login: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


def _same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    return (one.scheme, one.host, _port(one)) == (other.scheme, other.host, _port(other))


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)
