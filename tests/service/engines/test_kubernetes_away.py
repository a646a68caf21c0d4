"""Clusters that cannot be spoken to: each says why, and how that is mended."""

import asyncio
import gc
import ssl
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from naru.domain.errors import Forbidden, Invalid, Unavailable
from naru.engines.kubernetes import KubernetesEngine, open_kubernetes

UNAUTHORIZED = b'{"kind":"Status","status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}'


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """The HTTP library leaves a connection that failed to become TLS to the garbage collector."""
    yield
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()


def certificate(path: Path, *, days: int) -> None:
    """Write a key and a certificate for loopback that ends so many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=30))
        .not_valid_after(datetime.now(UTC) + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))


@asynccontextmanager
async def server(answer: bytes, pem: Path | None = None) -> AsyncIterator[str]:
    """Serve one answer to everybody who asks, and yield the URL."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if pem else None
    if context and pem:
        context.load_cert_chain(pem)
    listening = await asyncio.start_server(speak, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield f"http{'s' if pem else ''}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def cluster(home: Path, address: str, pem: Path | None = None) -> AsyncIterator[KubernetesEngine]:
    """Open the cluster at an address, trusting a certificate."""
    trust = {"certificate-authority": str(pem)} if pem else {}
    content = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": address, **trust}}],
        "users": [{"name": "c", "user": {"token": "word"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }
    kubeconfig = home / "kubeconfig"
    await asyncio.to_thread(kubeconfig.write_text, yaml.safe_dump(content))
    async with asyncio.TaskGroup() as tasks, open_kubernetes(f"kubernetes://{kubeconfig}", tasks) as engine:
        yield engine


async def test_an_expired_certificate_is_told_with_what_to_renew(tmp_path):
    pem = tmp_path / "server.pem"
    certificate(pem, days=-1)

    async with server(b"", pem) as address, cluster(tmp_path, address, pem) as engine:
        with pytest.raises(Unavailable, match="renew the API server's certificate"):
            await engine.observe()
        with pytest.raises(Unavailable, match="certificate"):
            await engine.describe()


async def test_an_account_that_is_not_known_is_told_what_to_renew(tmp_path):
    head = f"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: {len(UNAUTHORIZED)}\r\n\r\n"

    async with server(head.encode() + UNAUTHORIZED) as address, cluster(tmp_path, address) as engine:
        with pytest.raises(Forbidden, match="renew the kubeconfig"):
            await engine.observe()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\noops",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\noops",
        b"no HTTP at all\r\n\r\n",
        b"",
    ],
    ids=["a failing proxy", "another web server", "another protocol", "nothing"],
)
async def test_what_is_no_cluster_is_unavailable(tmp_path, answer):
    async with server(answer) as address, cluster(tmp_path, address) as engine:
        with pytest.raises(Unavailable):
            await engine.observe()
        with pytest.raises(Unavailable):
            await engine.describe()


async def test_a_certificate_that_cannot_be_read_is_told_when_the_engine_is_opened(tmp_path):
    with pytest.RaisesGroup(pytest.RaisesExc(Invalid, match="certificates of the kubeconfig")):
        async with cluster(tmp_path, "https://127.0.0.1:1", tmp_path / "absent.pem"):
            pass


async def test_nobody_at_the_address_is_unavailable(tmp_path):
    async with server(b"") as address:
        pass
    async with cluster(tmp_path, address) as engine:
        with pytest.raises(Unavailable, match="does not answer"):
            await engine.observe()
