"""Requests that prove an endpoint, and what came of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from naru.domain.errors import Invalid

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MAX_BODY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """One request through the endpoint and what its answer must be.

    `expect_status` 0 accepts any status below 400. `expect_body` must occur in the body; `expect_json` is a
    table of dotted paths and the JSON text of their values. `timeout` and `expect_within` are seconds;
    `expect_within` 0 accepts any latency within the timeout.
    """

    method: str = "GET"
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    expect_status: int = 0
    expect_body: str = ""
    expect_json: Mapping[str, str] = field(default_factory=dict)
    expect_within: float = 0.0
    timeout: float = 5.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise Invalid(f"{self.method!r} is no request method", f"use one of {', '.join(METHODS)}")
        if not self.path.startswith("/") or any(ord(c) <= 32 or ord(c) == 127 for c in self.path):
            raise Invalid(
                f"the path {self.path!r} is not absolute or holds blanks", "start it with / and encode blanks"
            )
        if len(self.body) > MAX_BODY:
            raise Invalid("the body of a test request is larger than 1 MiB", "send less")
        if self.expect_status and not 100 <= self.expect_status <= 599:
            raise Invalid(f"{self.expect_status} is no HTTP status", "use 100 to 599, or 0 for any success")
        if not 0.05 <= self.timeout <= 120:
            raise Invalid(f"a timeout of {self.timeout:g} s", "choose from 0.05 to 120 seconds")
        for name, value in self.headers.items():
            if (
                not name
                or not name.isascii()
                or any(c in "\r\n\0: " for c in name)
                or any(c in "\r\n\0" for c in value)
            ):
                raise Invalid(f"{name!r} is no header", "use a name without blanks and a value on one line")
        for path, value in self.expect_json.items():
            try:
                json.loads(value)
            except ValueError:
                raise Invalid(f"{value!r}, expected at {path}, is no JSON", 'quote strings: "ok"') from None


@dataclass(frozen=True, slots=True)
class ProofPolicy:
    """What proves a release: `count` requests in a row after the rollout, and one every `interval` seconds during it.

    A release without an endpoint is proven by instances that stay ready for `steady` seconds, or, where they are
    meant to end, end with exit code 0. `count` 0 asks for no proof; the release is then live once its instances are
    ready.
    """

    request: ProbeRequest = field(default_factory=ProbeRequest)
    count: int = 10
    interval: float = 0.2
    steady: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.count <= 10_000:
            raise Invalid(f"a proof of {self.count} requests", "choose from 0 to 10000")
        if not 0.005 <= self.interval <= 60:
            raise Invalid(f"a proof every {self.interval:g} s", "choose from 0.005 to 60 seconds")
        if not 0 <= self.steady <= 86400:
            raise Invalid(f"a proof of {self.steady:g} steady seconds", "choose from 0 to 86400 seconds")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one test request brought back; `seconds` runs from the first byte out to the last byte in.

    `problem` is empty when every expectation held. `body` is cut at 64 KiB and `body_bytes` counts the whole.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str
    body_bytes: int
    seconds: float
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """The record of a release's requests; p50 and p99 are seconds, over the answered ones.

    `sent` and `failed` count everything from the start of the rollout to its end; `problems` keeps the first few
    failures in words.
    """

    sent: int = 0
    failed: int = 0
    p50: float = 0.0
    p99: float = 0.0
    problems: tuple[str, ...] = ()
