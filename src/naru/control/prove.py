"""Requests through the real endpoint: one by hand, a stream of them during a rollout, a row of them at its end."""

import asyncio
import json
import math
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx

from naru.domain.app import Endpoint
from naru.domain.proof import Answer, ProbeRequest, Proof, ProofPolicy

SHOWN_BODY = 64 * 1024
READ_BODY = 8 * 1024 * 1024
SHOWN_PROBLEMS = 5
FAILURES_IN_A_ROW = 5


class Prober:
    """Sends test requests the way a client of the app would.

    A host name is looked up at the front door itself, so that an endpoint can be proven before its DNS record
    exists. `root` is the certificate of the door's internal authority, trusted besides the system's.
    """

    def __init__(self, door: str = "127.0.0.1", root: Callable[[], Path | None] = lambda: None) -> None:
        self._door = door
        self._root = root
        self._plain = httpx.AsyncClient(verify=False, trust_env=False)  # noqa: S501 - never used for TLS
        self._secure: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close all connections."""
        await self._plain.aclose()
        if self._secure:
            await self._secure.aclose()

    async def send(self, endpoint: Endpoint, request: ProbeRequest) -> Answer:
        """Send one request and judge its answer; an unreachable endpoint is an answer with status 0."""
        url = urlsplit(endpoint.url)
        host = url.hostname or ""
        port = f":{url.port}" if url.port else ""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(request.timeout):
                answer = await self._exchange(
                    f"{url.scheme}://{self._door}{port}{request.path}",
                    {
                        "host": f"{host}{port}",
                        "user-agent": "naru",
                        **{k.lower(): v for k, v in request.headers.items()},
                    },
                    host,
                    request,
                )
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, TimeoutError, OSError) as error:
            seconds = time.perf_counter() - started
            return Answer(0, (), "", 0, seconds, _unanswered(error, request))
        return judge(request, answer)

    async def _exchange(self, url: str, headers: dict[str, str], host: str, request: ProbeRequest) -> Answer:
        client = self._client(url)
        started = time.perf_counter()
        async with client.stream(
            request.method,
            url,
            headers={name.encode(): value.encode() for name, value in headers.items()},
            content=request.body.encode() or None,
            extensions={"sni_hostname": host},
            timeout=request.timeout,
        ) as response:
            kept, size = b"", 0
            async for chunk in response.aiter_bytes():
                size += len(chunk)
                kept += chunk[: max(0, READ_BODY - len(kept))]
        text = kept.decode(response.encoding or "utf-8", errors="replace")
        return Answer(
            response.status_code, tuple(response.headers.multi_items()), text, size, time.perf_counter() - started
        )

    def _client(self, url: str) -> httpx.AsyncClient:
        if url.startswith("http:"):
            return self._plain
        if self._secure is None:
            context = ssl.create_default_context()
            root = self._root()
            if root and root.exists():
                context.load_verify_locations(root)
            self._secure = httpx.AsyncClient(verify=context, trust_env=False)
        return self._secure


def judge(request: ProbeRequest, answer: Answer) -> Answer:
    """Return the answer with its body cut to what is shown, and the first expectation that did not hold."""
    return Answer(
        answer.status,
        answer.headers,
        answer.body[:SHOWN_BODY],
        answer.body_bytes,
        answer.seconds,
        next((problem for problem in _problems(request, answer) if problem), ""),
    )


def served(answer: Answer) -> Answer:
    """Judge an answer given while two releases serve: only no answer and a server error are problems."""
    return replace(answer, problem=answer.problem if answer.status == 0 or answer.status >= 500 else "")


def percentile(seconds: list[float], part: float) -> float:
    """Return the nearest-rank percentile of the durations, 0 when there are none."""
    if not seconds:
        return 0.0
    ordered = sorted(seconds)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


@dataclass
class Tally:
    """Counts requests from the start of a rollout to its end."""

    sent: int = 0
    failed: int = 0
    failed_in_a_row: int = 0
    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    last_problem: str = ""

    @classmethod
    def after(cls, proof: Proof) -> Self:
        """Go on from what a worker counted that was stopped; its durations are not known any more."""
        return cls(sent=proof.sent, failed=proof.failed, problems=list(proof.problems))

    def count(self, answer: Answer) -> None:
        """Add one answer."""
        self.sent += 1
        if answer.status:
            self.seconds.append(answer.seconds)
        if not answer.problem:
            self.failed_in_a_row = 0
            return
        self.failed += 1
        self.failed_in_a_row += 1
        self.last_problem = answer.problem
        if answer.problem not in self.problems and len(self.problems) < SHOWN_PROBLEMS:
            self.problems.append(answer.problem)

    def vital(self) -> str:
        """Say what is wrong when an endpoint that answered before has stopped answering."""
        dead = self.failed_in_a_row >= FAILURES_IN_A_ROW and self.sent > self.failed
        return self.last_problem if dead else ""

    def proof(self) -> Proof:
        """Sum up."""
        return Proof(
            self.sent, self.failed, percentile(self.seconds, 0.5), percentile(self.seconds, 0.99), tuple(self.problems)
        )


@asynccontextmanager
async def probing(
    prober: Prober, endpoint: Endpoint, policy: ProofPolicy, tally: Tally, alarm: Callable[[], None], *, wanted: bool
) -> AsyncIterator[None]:
    """Send a request every `interval` seconds while the block runs, when `wanted`; sound the alarm at its death."""
    if not wanted or not policy.count:
        yield
        return
    task = asyncio.create_task(_keep_asking(prober, endpoint, policy, tally, alarm))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def prove(
    prober: Prober, endpoint: Endpoint, policy: ProofPolicy, tally: Tally, check: Callable[[], None]
) -> str:
    """Send the policy's row of requests; return the first problem, or nothing when all of them passed.

    `check` is called before each and may raise to stop.
    """
    for _ in range(policy.count):
        check()
        answer = await prober.send(endpoint, policy.request)
        tally.count(answer)
        if answer.problem:
            return answer.problem
    return ""


async def _keep_asking(
    prober: Prober, endpoint: Endpoint, policy: ProofPolicy, tally: Tally, alarm: Callable[[], None]
) -> None:
    request = ProbeRequest(policy.request.method, policy.request.path, policy.request.headers, policy.request.body)
    while True:
        started = time.monotonic()
        tally.count(served(await prober.send(endpoint, request)))
        if tally.vital():
            alarm()
        await asyncio.sleep(max(0.0, policy.interval - (time.monotonic() - started)))


def _problems(request: ProbeRequest, answer: Answer) -> list[str]:
    return [
        _status_problem(request, answer),
        "" if request.expect_body in answer.body else f"the body does not contain {request.expect_body!r}",
        _json_problem(request, answer),
        f"the answer took {answer.seconds * 1000:.0f} ms, more than {request.expect_within * 1000:.0f} ms"
        if request.expect_within and answer.seconds > request.expect_within
        else "",
    ]


def _status_problem(request: ProbeRequest, answer: Answer) -> str:
    passed = answer.status == request.expect_status if request.expect_status else 200 <= answer.status < 400
    if passed:
        return ""
    wanted = str(request.expect_status) if request.expect_status else "a status below 400"
    said = " ".join(answer.body.split())[:120]
    return f"{request.method} {request.path} answered {answer.status} instead of {wanted}" + (
        f": {said}" if said else ""
    )


def _json_problem(request: ProbeRequest, answer: Answer) -> str:
    if not request.expect_json:
        return ""
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return "the body is not JSON"
    for path, wanted in request.expect_json.items():
        try:
            found = _at(document, path)
        except (LookupError, ValueError):
            return f"the body has no {path}"
        if found != json.loads(wanted):
            return f"{path} is {json.dumps(found)} instead of {wanted}"
    return ""


def _at(document: object, path: str) -> object:
    for key in path.split("."):
        match document:
            case dict():
                document = document[key]
            case list() if key.isdecimal():
                document = document[int(key)]
            case _:
                raise LookupError(path)
    return document


def _unanswered(error: Exception, request: ProbeRequest) -> str:
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return f"{request.method} {request.path} was not answered within {request.timeout:g} s"
    return f"{request.method} {request.path} was not answered: {error or type(error).__name__}"
