"""Where other agents connect: members are answered, new nodes enrol, everybody else is sent away."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from naru.agent.exchange.channel import CONNECT_SECONDS, Channel, listen, within
from naru.agent.exchange.discover import Seen
from naru.agent.exchange.frames import Enrol, Hello
from naru.agent.exchange.membership import Membership
from naru.agent.exchange.pace import Pace
from naru.agent.exchange.serve import Answerer, Shelf
from naru.agent.exchange.stream import FrameStream
from naru.domain.errors import Forbidden, Invalid, NaruError

_LOG = logging.getLogger(__name__)

_MOST_CONNECTIONS: Final = 1024


class Door:
    """Accepts connections and answers them from `shelf`, at `pace`; `meet` hears of every member that came.

    `port` is the one that it listens on.
    """

    def __init__(self, membership: Membership, shelf: Shelf, meet: Callable[[Seen], None], pace: Pace) -> None:
        self.port = 0
        self._membership = membership
        self._shelf = shelf
        self._meet = meet
        self._pace = pace
        self._server: asyncio.Server | None = None
        self._inside: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> None:
        """Listen; raise Invalid when the port is taken."""
        try:
            self._server = await listen(host, port, self._membership.server, self._accept)
        except OSError as error:
            raise Invalid(f"cannot listen on {host} port {port}: {error.strerror}", "use another") from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Accept nobody any more, and end all connections."""
        if self._server:
            self._server.close()
        inside = list(self._inside)
        for task in inside:
            task.cancel()
        await asyncio.gather(*inside, return_exceptions=True)

    def _accept(self, stream: FrameStream) -> None:
        task = asyncio.create_task(self._receive(stream))
        self._inside.add(task)
        task.add_done_callback(self._inside.discard)

    async def _receive(self, stream: FrameStream) -> None:
        try:
            channel = Channel(stream)
            try:
                if len(self._inside) > _MOST_CONNECTIONS:
                    raise Forbidden("too many are connected", "try another agent")
                await self._answer(channel)
            except NaruError as error:
                level = logging.WARNING if isinstance(error, Invalid) else logging.DEBUG
                _LOG.log(level, "the connection from %s ended: %s", channel.name, error)
                await channel.close(str(error))
        except Invalid:
            pass  # a certificate of another kind
        finally:
            stream.abort()

    async def _answer(self, channel: Channel) -> None:
        own = self._membership.own
        match await within(channel.read(), CONNECT_SECONDS, "nothing was said"):
            case Enrol() as asked:
                channel.write(self._membership.answer(channel, asked))
                await channel.close()
            case Hello() as hello:
                member = self._membership.trusted(channel, hello)
                channel.write(Hello(own.node, own.site, self.port))
                self._meet(Seen(member.node, member.site, channel.address, hello.port))
                with self._membership.among(channel):
                    await Answerer(channel, member, self._shelf, self._pace, own.site).run()
            case _:
                raise Invalid("a connection must begin with a greeting", "run the same version on all nodes")
