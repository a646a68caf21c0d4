"""One Caddy process: start it, find it again, tell it its configuration, end it."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from naru.domain.errors import Conflict, Invalid, Unavailable
from naru.routing.caddy.translate import Json

_START = 15.0
_LOAD = 30.0
_LOOK = 0.02
_GRACE = 3.0
# The shell only changes the directory and becomes Caddy: the process id stays.
_RUN = 'umask 077; cd "$1" && exec "$2" run --config - 2>"$3"'


class _Refusal(BaseModel):
    error: str


class _UpstreamStatus(BaseModel):
    address: str
    num_requests: int


_STATUS = TypeAdapter(list[_UpstreamStatus])
_CONFIG = TypeAdapter(Json)


class Caddy:
    """A Caddy process called `name` in the directory `state`, in a session of its own: it outlives us.

    Its admin socket is its identity: the kernel tells which process listens there, so no stale process id can
    lead us to a stranger.
    """

    def __init__(self, name: str, state: Path, program: str) -> None:
        self.name = name
        self.config: Json = {}
        """The configuration in force, empty when the process does not run or we do not know it."""
        self._state = state
        self._program = program
        self._socket = state / f"{name}.sock"
        # A reload replaces the admin endpoint and closes its idle connections, so none is kept.
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                uds=str(self._socket), limits=httpx.Limits(max_keepalive_connections=0), retries=1
            ),
            base_url="http://caddy",
            timeout=_LOAD,
        )

    @property
    def pid(self) -> int:
        """The id of the process, 0 when it does not run."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
                peer.settimeout(1.0)
                peer.connect(str(self._socket))
                credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
                return int(struct.unpack("3i", credentials)[0])
        except OSError:
            return 0

    async def enforce(self, config: Json) -> None:
        """Put a configuration in force, starting the process if it does not run; costs nothing when it is already.

        Raises Invalid when Caddy refuses it, and the former one stays in force; Unavailable when Caddy cannot run.
        """
        if not self.pid:
            self.config = {}
            await self._start(config)
        elif config != (self.config or await self._found()):
            await self._load(config)
        self.config = config

    async def under_way(self) -> Mapping[str, int]:
        """Return how many requests are under way to each upstream that the configuration names."""
        answer = await self._ask("GET", "/reverse_proxy/upstreams")
        try:
            return {status.address: status.num_requests for status in _STATUS.validate_json(answer.content)}
        except ValidationError as error:
            raise Unavailable(f"the front door's {self.name} gives an answer that we do not know") from error

    async def ended(self) -> None:
        """Return when the process has ended; at once when it does not run."""
        if pid := self.pid:
            async with _end_of(pid) as gone:
                await gone.wait()

    async def stop(self) -> None:
        """End the process and wait for it: requests under way have three seconds."""
        if not (pid := self.pid):
            return
        async with _end_of(pid) as gone:
            for order in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, order)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_GRACE):
                        await gone.wait()
                        break
        self.config = {}

    async def close(self) -> None:
        """Let go of the process, which goes on."""
        await self._http.aclose()

    async def _start(self, config: Json) -> None:
        trouble = self._state / f"{self.name}.err"
        pid = self._spawn(config, trouble)
        try:
            async with _end_of(pid) as gone, asyncio.timeout(_START):
                while not gone.is_set():
                    if await self._runs():
                        return
                    await asyncio.sleep(_LOOK)
            cause = _last_line(trouble)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            cause = f"it did not answer within {_START:g} s"
        raise Unavailable(f"the front door's {self.name} cannot start: {cause}", "see `naru doctor`")

    def _spawn(self, config: Json, trouble: Path) -> int:
        if not (program := shutil.which(self._program)):
            raise Unavailable(
                f"the front door needs the program {self._program}, which is not installed",
                "install it with `apt-get install caddy`; `naru doctor` checks the machine",
            )
        state = str(self._state)
        with open(os.memfd_create("config"), "w+b") as stdin:
            stdin.write(json.dumps(config).encode())
            stdin.seek(0)
            return os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", _RUN, "sh", state, program, str(trouble)],
                os.environ | {"HOME": state, "XDG_DATA_HOME": state, "XDG_CONFIG_HOME": state},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, stdin.fileno(), 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                ],
                setsid=True,
                setsigmask=(),
            )

    async def _runs(self) -> bool:
        """Whether it runs a configuration; the admin endpoint answers before the servers listen."""
        try:
            answer = await self._http.get("/config/apps")
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and answer.content.strip() != b"null"

    async def _found(self) -> Json:
        """Return what a process runs that an earlier Naru left behind."""
        answer = await self._ask("GET", "/config/")
        try:
            return _CONFIG.validate_json(answer.content)
        except ValidationError:
            return {}

    async def _load(self, config: Json) -> None:
        answer = await self._ask("POST", "/load", config)
        if answer.status_code != 200:
            try:
                cause = _Refusal.model_validate_json(answer.content).error
            except ValidationError:
                cause = f"status {answer.status_code}"
            if "address already in use" in cause:
                raise Conflict(f"another process has just taken a port: {cause}", "choose another port")
            raise Invalid(f"Caddy refuses the {self.name}'s configuration: {cause}", "the former routes stay in force")

    async def _ask(self, method: str, path: str, config: Json | None = None) -> httpx.Response:
        try:
            return await self._http.request(method, path, json=config)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"the front door's {self.name} does not answer: {type(error).__name__}", retry_after=1.0
            ) from error


@contextlib.asynccontextmanager
async def _end_of(pid: int) -> AsyncIterator[asyncio.Event]:
    """Give an event that is set when the process has ended; reap it when it is our child."""
    gone, loop = asyncio.Event(), asyncio.get_running_loop()
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        gone.set()
        yield gone
        return
    loop.add_reader(watched, gone.set)
    try:
        yield gone
    finally:
        loop.remove_reader(watched)
        os.close(watched)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it does not block


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][-400:] if lines else "it ended without a word"
