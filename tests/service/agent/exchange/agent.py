"""An agent's exchange as a process: `python -m … DIRECTORY UPLOAD NODE,SITE,PORT;… IMAGE`.

Prints its port; with an image, fetches all of it and prints `done`.
"""

import asyncio
import sys
from pathlib import Path

from naru.agent.exchange.discover import Seen, StaticPeers
from naru.agent.exchange.exchange import Exchange
from naru.agent.exchange.identity import Identity
from naru.agent.objects import ObjectStore
from naru.agent.source import Priority


async def main(directory: Path, upload: float, peers: str, image: str) -> None:
    known = [one.split(",") for one in peers.split(";") if one]
    exchange = Exchange(
        ObjectStore(directory / "store"),
        Identity.load(directory / "identity"),
        discovery=StaticPeers(*(Seen(node, site, "127.0.0.1", int(port)) for node, site, port in known)),
        host="127.0.0.1",
        port=0,
        upload=upload or None,
    )
    async with exchange:
        print(exchange.port, flush=True)
        if image:
            index = await exchange.index(image)
            await exchange.fetch(index, [one.digest for one in index.objects], Priority.BACKGROUND)
            print("done", exchange.traffic.site + exchange.traffic.outside, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4]))
