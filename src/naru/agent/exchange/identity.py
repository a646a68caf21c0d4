"""Who is who among agents: members, and their certificates for mutual TLS.

Every agent has a certificate of its cluster's authority (authority.py) that names its cluster, site and node; every
connection between agents is mutual TLS 1.3, so a site that a peer claims is a site that the authority wrote down.
"""

import os
import re
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from naru.domain.errors import Invalid, NotFound

CERTIFICATE_DAYS: Final = 14
"""How long a node's certificate is good; it is renewed when half of that is left."""
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


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
        write_private(directory / "authority.pem", authority)
        write_private(directory / "node.pem", certificate + key)
        return cls.load(directory)

    def due(self, now: datetime) -> bool:
        """Whether it is time to renew the certificate."""
        return self.until - now < timedelta(days=CERTIFICATE_DAYS) / 2

    def server(self) -> ssl.SSLContext:
        """How this node accepts connections. One without a certificate comes through, and may only enrol."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def present(self, context: ssl.SSLContext) -> None:
        """Show the certificate that is here now in connections that are accepted from now on."""
        context.load_cert_chain(self.directory / "node.pem")

    def client(self) -> ssl.SSLContext:
        """How this node connects; names are compared by whoever connects, with `met`."""
        context = self._context(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        return context

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(self.directory / "authority.pem")
        self.present(context)
        return context


def ask(node: str) -> tuple[bytes, bytes]:
    """Make a key and a request for a certificate of that name, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return pem(key), request.public_bytes(serialization.Encoding.PEM)


def fingerprint(certificate: bytes) -> bytes:
    """Return the sha256 of a certificate given as PEM; raise Invalid."""
    try:
        return x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256())
    except ValueError as error:
        raise Invalid("what came as a certificate is none") from error


def met(connection: ssl.SSLObject) -> tuple[Member, int] | None:
    """Return who is at the other end of a connection and the serial number of the certificate that says so.

    None when no certificate was shown. Raise Invalid.
    """
    shown = connection.getpeercert(binary_form=True)
    if not shown:
        return None
    certificate = x509.load_der_x509_certificate(shown)
    return _member(certificate), certificate.serial_number


def _member(certificate: x509.Certificate) -> Member:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise Invalid("a certificate names no member of a cluster") from error
    return Member.parse(uri)


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write a private key."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_private(path: Path, content: bytes) -> None:
    """Replace a file of secrets as a whole, readable for its owner only."""
    beside = path.with_name(f".{path.name}.new")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(file)
    beside.replace(path)
