"""Who is who among agents: a cluster's authority, join tokens, and certificates for mutual TLS.

Every agent has a certificate of its cluster's authority that names its cluster, site and node; every connection
between agents is mutual TLS 1.3, so a site that a peer claims is a site that the authority wrote down. A node joins
with a token: it names the authority's certificate by its sha256, so the first contact cannot be intercepted, and a
secret, of which the authority keeps the sha256 only, until it expires.
"""

import base64
import hashlib
import hmac
import os
import re
import secrets
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from naru.domain.errors import Conflict, Forbidden, Invalid, NotFound

CERTIFICATE_DAYS: Final = 30
"""How long a node's certificate is good; it is renewed when a third of that is left."""
AUTHORITY_DAYS: Final = 3650
_SKEW: Final = timedelta(minutes=10)
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_TOKEN: Final = re.compile(r"naru1\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the cluster, as its certificate names it."""

    cluster: str
    site: str
    node: str

    def __post_init__(self) -> None:
        for name in (self.cluster, self.site, self.node):
            if not _NAME.fullmatch(name):
                raise Invalid(f"{name!r} names no cluster, site or node", "use a-z, 0-9, dots and dashes, at most 63")

    @property
    def uri(self) -> str:
        """How it stands in the certificate."""
        return f"naru://{self.cluster}/{self.site}/{self.node}"

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read `uri`; raise Invalid."""
        found = re.fullmatch(r"naru://([^/]+)/([^/]+)/([^/]+)", uri)
        if not found:
            raise Invalid(f"{uri!r} names no member of a cluster")
        return cls(*found.groups())


@dataclass(frozen=True, slots=True)
class Token:
    """What lets a node join: the sha256 of the authority's certificate, and the secret."""

    pin: bytes
    secret: str

    def __str__(self) -> str:
        return f"naru1.{_base64(self.pin)}.{self.secret}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a token; raise Invalid."""
        found = _TOKEN.fullmatch(text.strip())
        if not found:
            raise Invalid("this is no join token", "copy all of it, from naru1 on")
        return cls(base64.urlsafe_b64decode(found[1] + "="), found[2])

    def pins(self, authority: bytes) -> bool:
        """Whether this PEM is the certificate of the authority that made the token."""
        return hmac.compare_digest(fingerprint(authority), self.pin)


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's own certificate and key, in `directory`."""

    directory: Path
    member: Member
    until: datetime

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raise NotFound when the node never joined."""
        try:
            certificate = x509.load_pem_x509_certificate((directory / "node.pem").read_bytes())
        except FileNotFoundError:
            raise NotFound(f"this node has no certificate in {directory}", "join the cluster first") from None
        return cls(directory, _member(certificate), certificate.not_valid_after_utc)

    @classmethod
    def save(cls, directory: Path, key: bytes, certificate: bytes, authority: bytes) -> Self:
        """Keep a certificate with its key, all PEM; the key is readable for its owner only."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # One file for both, so that no crash leaves a key beside another key's certificate.
        _write(directory / "authority.pem", authority)
        _write(directory / "node.pem", certificate + key)
        return cls.load(directory)

    def due(self, now: datetime) -> bool:
        """Whether it is time to renew the certificate."""
        return self.until - now < timedelta(days=CERTIFICATE_DAYS) / 3

    def server(self) -> ssl.SSLContext:
        """How this node accepts connections. One without a certificate comes through, and may only enrol."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def client(self) -> ssl.SSLContext:
        """How this node connects; names are compared by whoever connects, with `met`."""
        context = self._context(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        return context

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(self.directory / "authority.pem")
        context.load_cert_chain(self.directory / "node.pem")
        return context


class _Issued(msgspec.Struct):
    """A token or a certificate: good until then (seconds since 1970); `node` is empty for a token for any node."""

    until: float
    node: str = ""


class Authority:
    """Signs the certificates of a cluster; its key never leaves `directory`."""

    def __init__(self, directory: Path, cluster: str) -> None:
        self.cluster = cluster
        self.certificate = (directory / "authority.pem").read_bytes()
        self._directory = directory
        self._certificate = x509.load_pem_x509_certificate(self.certificate)
        key = serialization.load_pem_private_key((directory / "authority.key").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Invalid(f"the authority's key in {directory} is of another kind", "restore it from a backup")
        self._key = key

    @classmethod
    def create(cls, directory: Path, cluster: str, now: datetime) -> Self:
        """Make an authority; raise Conflict when there is one."""
        if (directory / "authority.key").exists():
            raise Conflict(f"there is an authority in {directory}", "open it, or choose another directory")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"naru {cluster}")])
        certificate = (
            _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        _write(directory / "cluster", cluster.encode())
        _write(directory / "authority.pem", certificate.public_bytes(serialization.Encoding.PEM))
        _write(directory / "authority.key", _pem(key))
        return cls(directory, cluster)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open what `create` made; raise NotFound."""
        try:
            return cls(directory, (directory / "cluster").read_text())
        except FileNotFoundError:
            raise NotFound(f"there is no authority in {directory}", "create it first") from None

    def token(self, now: datetime, lifetime: timedelta = timedelta(hours=1), node: str = "") -> Token:
        """Make a token. One made for a `node` by name also lets it join again, in place of the node of that name."""
        token = Token(fingerprint(self.certificate), secrets.token_urlsafe(32))
        kept = {name: one for name, one in self._read("tokens").items() if one.until > now.timestamp()}
        kept[_hashed(token.secret)] = _Issued((now + lifetime).timestamp(), node)
        self._write("tokens", kept)
        return token

    def enrol(self, secret: str, site: str, request: bytes, now: datetime) -> bytes:
        """Sign a request (PEM) from a node with a token; raise Forbidden, Conflict when its name is taken."""
        token = self._read("tokens").get(_hashed(secret))
        if token is None or token.until <= now.timestamp():
            raise Forbidden("the join token is unknown here or has expired", "make a new one")
        wanted = _request(request)
        member = Member(self.cluster, site, _common_name(wanted))
        if token.node not in ("", member.node):
            raise Forbidden(f"the join token is for the node {token.node}", "make one for this node")
        known = self._read("nodes").get(member.node)
        if known and not token.node and known.until > now.timestamp():
            raise Conflict(f"there is a node {member.node}", "give this one another name, or make a token for its name")
        return self._sign(member, wanted, now)

    def renew(self, member: Member, request: bytes, now: datetime) -> bytes:
        """Sign a request from a node that showed its certificate."""
        wanted = _request(request)
        if member.cluster != self.cluster or _common_name(wanted) != member.node:
            raise Forbidden(f"the node {member.node} asked for the certificate of another")
        return self._sign(member, wanted, now)

    def _sign(self, member: Member, request: x509.CertificateSigningRequest, now: datetime) -> bytes:
        until = now + timedelta(days=CERTIFICATE_DAYS)
        self._write("nodes", self._read("nodes") | {member.node: _Issued(until.timestamp(), member.node)})
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, member.node)])
        key = request.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise Invalid("a node asked for a certificate with a key of another kind", "run the same version")
        return (
            _builder(name, self._certificate.subject, key, now, CERTIFICATE_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(member.uri)]), critical=False)
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    def _read(self, what: str) -> dict[str, _Issued]:
        path = self._directory / f"{what}.json"
        return msgspec.json.decode(path.read_bytes(), type=dict[str, _Issued]) if path.exists() else {}

    def _write(self, what: str, issued: dict[str, _Issued]) -> None:
        _write(self._directory / f"{what}.json", msgspec.json.encode(issued))


def ask(node: str) -> tuple[bytes, bytes]:
    """Make a key and a request for a certificate of that name, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return _pem(key), request.public_bytes(serialization.Encoding.PEM)


def fingerprint(certificate: bytes) -> bytes:
    """Return the sha256 of a certificate given as PEM; raise Invalid."""
    try:
        return x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256())
    except ValueError as error:
        raise Invalid("what came as a certificate is none") from error


def met(connection: ssl.SSLObject) -> Member | None:
    """Return who is at the other end of a connection, None when no certificate was shown. Raise Invalid."""
    shown = connection.getpeercert(binary_form=True)
    return _member(x509.load_der_x509_certificate(shown)) if shown else None


def _member(certificate: x509.Certificate) -> Member:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise Invalid("a certificate names no member of a cluster") from error
    return Member.parse(uri)


def _request(pem: bytes) -> x509.CertificateSigningRequest:
    try:
        request = x509.load_pem_x509_csr(pem)
    except ValueError as error:
        raise Invalid("what came as a request for a certificate is none") from error
    if not request.is_signature_valid:
        raise Invalid("a request for a certificate is not signed by its key")
    return request


def _common_name(request: x509.CertificateSigningRequest) -> str:
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise Invalid("a request for a certificate names no node")
    return str(names[0].value)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - _SKEW)
        .not_valid_after(now.astimezone(UTC) + timedelta(days=days))
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _write(path: Path, content: bytes) -> None:
    """Replace a file of secrets as a whole."""
    beside = path.with_name(f".{path.name}.new")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(file)
    beside.replace(path)
