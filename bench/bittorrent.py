"""A BitTorrent swarm beside ours: aria2 brings an image's layers, as the registry has them, to every node of a site.

`aria2c` is looked for where the other rivals are (bench/rivals.py). `python -m bench.bittorrent ADDRESS PEER…` is the
tracker: it tells whoever asks of all peers (BEP 3, BEP 23), so that nobody waits to be found.
"""

import hashlib
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.fleets import Host

from bench.rivals import program

PIECE = 256 << 10
PEER_PORT = 6881
TRACKER_PORT = 6969
PATIENCE = 600.0
NAME = "image"

Value = int | bytes | str | Mapping[str, "Value"]


def bencoded(value: Value) -> bytes:
    """Encode as torrents are (BEP 3); keys of dictionaries are sorted."""
    match value:
        case int():
            return b"i%de" % value
        case str() | bytes():
            raw = value.encode() if isinstance(value, str) else value
            return b"%d:%s" % (len(raw), raw)
        case _:
            return b"d%se" % b"".join(bencoded(key) + bencoded(value[key]) for key in sorted(value))


def torrent(file: Path, tracker: str) -> bytes:
    """Describe a file for a swarm."""
    with file.open("rb") as content:
        pieces = b"".join(hashlib.sha1(block).digest() for block in iter(lambda: content.read(PIECE), b""))
    info: dict[str, Value] = {"length": file.stat().st_size, "name": file.name, "piece length": PIECE, "pieces": pieces}
    return bencoded({"announce": tracker, "info": info})


def swarm(home: Path, layers: Sequence[Path], outside: Host, nodes: Sequence[Host]) -> float:
    """Bring the layers from the outside to all nodes at once; return the seconds until the last one had them."""
    seed = home / "seed"
    seed.mkdir(parents=True)
    with (seed / NAME).open("wb") as whole:
        for layer in layers:
            with layer.open("rb") as part:
                shutil.copyfileobj(part, whole)
    described = home / "image.torrent"
    described.write_bytes(torrent(seed / NAME, f"http://{outside.address}:{TRACKER_PORT}/announce"))
    done = home / "done.sh"
    done.write_text('#!/bin/sh\ntouch "$(dirname "$3")/done"\n')
    done.chmod(0o755)
    peers = [f"{host.address}:{PEER_PORT}" for host in (outside, *nodes)]
    with ExitStack() as stack:
        tracker = (sys.executable, "-m", "bench.bittorrent", outside.address, *peers)
        stack.enter_context(_running(outside, tracker, home / "tracker.log"))
        stack.enter_context(_running(outside, _aria(seed, described, done, "--bt-seed-unverified=true"), seed / "log"))
        _wait_for(lambda: _open(outside, TRACKER_PORT) and _open(outside, PEER_PORT))
        begun = time.monotonic()
        own = [home / host.namespace for host in nodes]
        for folder, host in zip(own, nodes, strict=True):
            folder.mkdir()
            stack.enter_context(_running(host, _aria(folder, described, done), folder / "log"))
        _wait_for(lambda: all((folder / "done").exists() for folder in own))
        took = time.monotonic() - begun
    if any((folder / NAME).stat().st_size != (seed / NAME).stat().st_size for folder in own):
        raise RuntimeError("a node of the swarm has not all")
    return took


def _aria(folder: Path, described: Path, done: Path, *words: str) -> tuple[str, ...]:
    """Return the command that fetches, and goes on giving."""
    quiet = ("--no-conf", "--enable-dht=false", "--enable-dht6=false", "--quiet=true", "--file-allocation=none")
    gives = (f"--listen-port={PEER_PORT}", "--seed-ratio=0.0", f"--on-bt-download-complete={done}")
    return (program("aria2c"), *quiet, *gives, *words, f"--dir={folder}", str(described))


@contextmanager
def _running(host: Host, words: Sequence[str], log: Path) -> Iterator[None]:
    process = host.start(*words, log=log)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


def _open(host: Host, port: int) -> bool:
    probe = f"import socket; socket.create_connection(('{host.address}', {port}), 1)"
    return not host.run(sys.executable, "-c", probe, check=False).returncode


def _wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            raise RuntimeError("the swarm does not end")
        time.sleep(0.1)


def _track(address: str, peers: Sequence[str]) -> None:
    near = [peer.rsplit(":", 1) for peer in peers]
    compact = b"".join(socket.inet_aton(host) + int(port).to_bytes(2, "big") for host, port in near)
    answer = bencoded({"interval": 1800, "peers": compact})

    class Announce(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    ThreadingHTTPServer((address, TRACKER_PORT), Announce).serve_forever()


if __name__ == "__main__":
    _track(sys.argv[1], sys.argv[2:])
