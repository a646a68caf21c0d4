"""What adding a real target says when its cluster cannot be used: expired, refused, silent or closed."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.service.control.site import ME, PATIENCE, Site, site

from naru.domain.errors import Forbidden, NaruError, SignInRequired, Unavailable
from naru.engines.catalogue import open_engine


@pytest.fixture
async def naru(tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose further targets are real engines."""
    async with site(tmp_path) as made:
        await made.start()
        made.platform.pipeline.worlds.open_engine = partial(open_engine, owner="tests")
        yield made


def certificate(folder: Path, *, ended: timedelta) -> Path:
    """Make a self-signed certificate for 127.0.0.1 whose time ended so long ago, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    end = datetime.now(UTC) - ended
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, end - timedelta(days=9), end)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "certificate.pem"
    file.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return file


@asynccontextmanager
async def answering(answer: bytes, tls: Path | None = None) -> AsyncIterator[str]:
    """Answer every request with the same bytes, none with nothing and an open connection; yield HOST:PORT."""
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def refusal(naru: Site, url: str) -> NaruError:
    with pytest.raises(NaruError) as caught:
        await naru.platform.fleet.add("plant", url, subject=ME)
    assert "plant" not in naru.platform.pipeline.worlds
    assert "plant was not added" in caught.value.cause
    assert caught.value.override == "force"
    return caught.value


@pytest.mark.parametrize("scheme", ["tcp", "swarm+tcp", "marathon+http"])
async def test_a_target_where_nothing_listens_is_refused_at_once(naru, scheme):
    error = await refusal(naru, f"{scheme}://127.0.0.1:9")
    assert isinstance(error, Unavailable)


async def test_an_expired_certificate_is_named(naru, tmp_path, monkeypatch):
    tls = certificate(tmp_path, ended=timedelta(days=1))
    monkeypatch.setenv("SSL_CERT_FILE", str(tls))
    async with answering(b"", tls) as where:
        error = await refusal(naru, f"marathon+https://{where}")
    assert "certificate has expired" in error.cause


@pytest.mark.parametrize(
    ("status", "kind"), [(b"401 Unauthorized", (SignInRequired, Forbidden)), (b"403 Forbidden", (Forbidden,))]
)
async def test_a_target_that_refuses_us_says_so(naru, status, kind):
    answer = b"HTTP/1.1 " + status + b"\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}"
    async with answering(answer) as where:
        assert isinstance(await refusal(naru, f"marathon+http://{where}"), kind)


async def test_a_target_that_hangs_is_given_up_after_a_while(naru, monkeypatch):
    monkeypatch.setattr("naru.control.fleet.TRIAL", type("", (), {"answer": 0.3})())
    async with answering(b"") as where:
        error = await refusal(naru, f"tcp://{where}")
    assert "within 0.3 s" in error.cause


async def test_a_target_that_hangs_is_kept_by_force_and_delays_nobody(naru, monkeypatch):
    monkeypatch.setattr("naru.control.fleet.TRIAL", type("", (), {"answer": 0.3})())
    async with answering(b"") as where:
        await naru.platform.fleet.add("plant", f"tcp://{where}", force=True, subject=ME)
        async with asyncio.timeout(PATIENCE):
            found = {target.name: target for target in await naru.platform.targets()}
        assert (found["fake"].problem, bool(found["plant"].problem)) == ("", True)
        await naru.platform.fleet.remove("plant", subject=ME)
