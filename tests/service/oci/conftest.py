"""Registries for tests: Debian's own, open, behind a password or behind tokens; and one that lies."""

import base64
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from socket import create_connection

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.ports import free_port
from tests.service.oci.hostile import Answer, Hostile, Request

from naru.domain.account import Credentials

ISSUER, SERVICE = "naru-tests", "registry"
USER, PASSWORD = "ferry", "s3cret"


def account(registry: str, password: str = PASSWORD) -> Credentials:
    """Who we are at a registry of these tests."""
    return Credentials(registry, USER, password)


@pytest.fixture(scope="session")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host of a registry that lets everyone in."""
    yield from registry(tmp_path_factory.mktemp("registry"), {})


@pytest.fixture(scope="session")
def password_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host of a registry that asks for a password."""
    yield from private_registry(tmp_path_factory.mktemp("password"))


def private_registry(home: Path, address: str = "127.0.0.1") -> Iterator[str]:
    """Serve a registry that asks for a password, and yield its host."""
    made = subprocess.run(["htpasswd", "-nbB", "-C", "4", USER, PASSWORD], capture_output=True, check=True)
    (home / "htpasswd").write_bytes(made.stdout)
    yield from registry(home, {"htpasswd": {"realm": "tests", "path": str(home / "htpasswd")}}, address=address)


@dataclass(frozen=True)
class TlsRegistry:
    """A registry with TLS, and the file of the authority that vouches for it."""

    host: str
    authority: Path


@pytest.fixture
def tls_registry(tmp_path: Path) -> Iterator[TlsRegistry]:
    """A registry with a certificate that only its owner trusts. Not on 127.0.0.1, where plain HTTP is spoken."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (tmp_path / "cert.pem").write_bytes(_certificate(key).public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    tls = {"certificate": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    for host in registry(tmp_path, {}, address="127.0.0.2", tls=tls):
        yield TlsRegistry(host, tmp_path / "cert.pem")


@dataclass(frozen=True)
class TokenRegistry:
    """A registry behind tokens, and what its token server was asked."""

    host: str
    asked: list[Request]


@pytest_asyncio.fixture
async def token_registry(tmp_path: Path) -> AsyncIterator[TokenRegistry]:
    """A registry that takes tokens from a server of ours, which knows one user."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = _certificate(key)
    (tmp_path / "root.pem").write_bytes(certificate.public_bytes(Encoding.PEM))

    def token(request: Request) -> Answer:
        basic = request.headers.get("authorization", "")
        if basic != "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode():
            return Answer(401, b"{}")
        access = []
        if scope := request.query.get("scope"):
            kind, name, actions = scope.split(":")
            access = [{"type": kind, "name": name, "actions": actions.split(",")}]
        return Answer(200, json.dumps({"token": _jwt(key, certificate, access), "expires_in": 300}).encode())

    async with Hostile() as server:
        server.answers["/token"] = token
        auth = {
            "realm": f"http://{server.host}/token",
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(tmp_path / "root.pem"),
        }
        for host in registry(tmp_path, {"token": auth}):
            yield TokenRegistry(host, server.asked)


@pytest_asyncio.fixture
async def hostile() -> AsyncIterator[Hostile]:
    async with Hostile() as server:
        yield server


@pytest_asyncio.fixture
async def other_host() -> AsyncIterator[Hostile]:
    """Another host, to which a registry may try to lead us."""
    async with Hostile() as server:
        yield server


def registry(
    home: Path, auth: dict[str, dict[str, str]], *, address: str = "127.0.0.1", tls: dict[str, str] | None = None
) -> Iterator[str]:
    """Serve a registry that keeps all in `home`, and yield its host."""
    port = free_port()
    settings = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(home / "data")}},
        "http": {"addr": f"{address}:{port}"} | ({"tls": tls} if tls else {}),
    }
    (home / "config.yml").write_text(json.dumps(settings | ({"auth": auth} if auth else {})))
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(["docker-registry", "serve", home / "config.yml"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not _listens(address, port):
            assert server.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline, "the registry does not start"
            time.sleep(0.02)
        yield f"{address}:{port}"
    finally:
        server.terminate()
        server.wait(10)


def _listens(address: str, port: int) -> bool:
    try:
        create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def _certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.2"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )


def _jwt(key: rsa.RSAPrivateKey, certificate: x509.Certificate, access: list[dict[str, object]]) -> str:
    """Sign a token as the registry expects it, with the certificate in its header (RFC 7515, x5c)."""
    chain = [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]
    header = {"typ": "JWT", "alg": "RS256", "x5c": chain}
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": SERVICE, "sub": USER, "exp": now + 300, "nbf": now - 10, "iat": now, "jti": "1"}
    signed = f"{_base64(header)}.{_base64(claims | {'access': access})}"
    signature = key.sign(signed.encode(), padding.PKCS1v15(), SHA256())
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _base64(value: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
