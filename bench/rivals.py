"""Other lazy snapshotters beside ours: SOCI and eStargz, through the same containerd, registry, links and image.

Their programs are looked for in the folder that NARU_BENCH_RIVALS names, then on the PATH: `soci` and
`soci-snapshotter-grpc`, `ctr-remote` and `containerd-stargz-grpc`. Their images are prepared beside the registry, which
takes as long as it takes: indexes for SOCI, other layers for eStargz.

SOCI 0.4 speaks to registries by TLS alone, so a second one over the same storage does; all else goes by plain HTTP.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import cri
from tests.agents import unmount_below
from tests.containerds import NAMESPACE, Containerd, Pods, containerd
from tests.fleets import Host

from bench.edge import run, waiting
from bench.measures import Absent
from bench.origin import PAUSE, REPOSITORY, registry
from bench.rest import rest

FOLDER = "NARU_BENCH_RIVALS"
LONGEST = 600.0
WATCHED_SECONDS = 5
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Rival:
    """A snapshotter: the program that serves it, and the tag of the image that is made for it."""

    name: str
    said: str
    served: str
    tag: str


SOCI = Rival("soci", "SOCI", "soci-snapshotter-grpc", "1")
STARGZ = Rival("stargz", "stargz", "containerd-stargz-grpc", "stargz")
OPTIMISED = Rival(
    "stargz-optimised", "stargz with a layer sorted by a recorded start", "containerd-stargz-grpc", "sorted"
)
RIVALS = (SOCI, STARGZ, OPTIMISED)


def program(name: str) -> str:
    """Find a rival's program; raises Absent where there is none."""
    folders = os.pathsep.join((os.environ.get(FOLDER, ""), os.environ.get("PATH", "")))
    if found := shutil.which(name, path=folders):
        return found
    raise Absent(f"{name} is neither in the folder that {FOLDER} names nor installed")


@dataclass(frozen=True, slots=True)
class Registries:
    """The registry by plain HTTP and by TLS, and the certificate to trust."""

    plain: str
    secure: str
    trust: Path

    def of(self, rival: Rival) -> str:
        """Which one a rival uses."""
        return self.secure if rival is SOCI else self.plain


@contextmanager
def registries(home: Path, storage: Path, host: Host, plain: str) -> Iterator[Registries]:
    """Run, beside the registry at `plain`, one over the same storage that speaks TLS."""
    home.mkdir(parents=True, exist_ok=True)
    pem = home / "registry.pem"
    made = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj")
    named = (f"/CN={host.address}", "-addext", f"subjectAltName=IP:{host.address}")
    subprocess.run((*made, *named, "-keyout", str(pem), "-out", str(home / "crt")), check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + (home / "crt").read_bytes())
    with registry(storage, host, pem) as secure:
        yield Registries(plain, secure, pem)


def prepare(home: Path, host: Host, known: Registries) -> None:
    """Make what rivals need of the image, and push it."""
    source = f"{known.plain}/{REPOSITORY}:1"
    with containerd(home, host) as engine:
        engine.ctr("image", "pull", "--plain-http", source, patience=LONGEST)
        soci = (program("soci"), "--address", str(engine.socket), "--namespace", NAMESPACE)
        _inside(engine, *soci, "create", "--min-layer-size", "0", source)
        _inside(engine, *soci, "push", "--plain-http", source)
        remote = (program("ctr-remote"), "--address", str(engine.socket), "--namespace", NAMESPACE, "image")
        record = ("optimize", "--oci", "--net-host", "--period", str(WATCHED_SECONDS))
        for words, tag in ((("convert", "--estargz", "--oci"), STARGZ.tag), (record, OPTIMISED.tag)):
            made = f"{known.plain}/{REPOSITORY}:{tag}"
            _inside(engine, *remote, *words, source, made)
            engine.ctr("image", "push", "--plain-http", made, patience=LONGEST)


def start(rival: Rival, home: Path, host: Host, known: Registries) -> float:
    """Start the image on an empty node through a rival; return the seconds from the pull until it answered."""
    address = known.of(rival)
    with _serving(rival, home, host, known) as socket:
        pods = Pods(rival.name, f"{known.plain}/{PAUSE}", known.plain)
        with containerd(home / "engine", host, {rival.name: socket}, pods) as engine:
            if rival is SOCI:
                _trusted(home / "engine", address, known.trust)
            cri.pull(engine.socket, pods.pause)
            rest()
            with waiting(host) as answer:
                begun = time.monotonic()
                run(engine, home, f"{address}/{REPOSITORY}:{rival.tag}")
                return answer() - begun


@contextmanager
def _serving(rival: Rival, home: Path, host: Host, known: Registries) -> Iterator[Path]:
    home.mkdir(parents=True)
    socket, config = home / "snapshotter.sock", home / "config.toml"
    mirror = f'[resolver.host."{known.plain}"]\n[[resolver.host."{known.plain}".mirrors]]\n'
    config.write_text(f'{mirror}host = "{known.plain}"\ninsecure = true\n')
    served = host.start(
        program(rival.served),
        *_flags(address=socket, config=config, root=home / "root"),
        log=home / "log",
        env={**os.environ, "SSL_CERT_FILE": str(known.trust)},
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not socket.exists():
            if served.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{rival.served} did not start: {(home / 'log').read_text(errors='replace')[-600:]}")
            time.sleep(0.05)
        yield socket
    finally:
        served.terminate()
        try:
            served.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            served.kill()
            served.wait(PATIENCE)
        unmount_below(home)


def _trusted(home: Path, address: str, certificate: Path) -> None:
    """Let the CRI plugin of the containerd in `home` trust a registry's certificate."""
    (hosts := home / "hosts" / address).mkdir(parents=True)
    (hosts / "hosts.toml").write_text(
        f'server = "https://{address}"\n[host."https://{address}"]\nca = "{certificate}"\n'
    )


def _flags(**named: Path) -> Iterator[str]:
    for name, value in named.items():
        yield f"--{name}"
        yield str(value)


def _inside(engine: Containerd, *words: str) -> None:
    """Run a program where an engine runs."""
    where = ("nsenter", f"--target={engine.pid}", "--mount", "--net")
    done = subprocess.run((*where, *words), capture_output=True, timeout=LONGEST, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.decode(errors='replace')[-800:]}")
