"""A cluster's authority: it lets nodes in by tokens, signs their certificates, and says which are good no more.

A token names the authority's certificate by its sha256, so the first contact cannot be intercepted, and a secret, of
which the authority keeps the sha256 only, until it expires. It is made here, or by the control plane, which tells its
hash alone.
"""

import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from naru.agent.exchange.identity import CERTIFICATE_DAYS, Member, fingerprint, pem, write_private
from naru.domain.errors import Conflict, Forbidden, Invalid, NotFound
from naru.domain.membership import Admission, Expulsion, Token

AUTHORITY_DAYS: Final = 3650
_SKEW: Final = timedelta(minutes=10)


class _Issued(msgspec.Struct):
    """A token or a node: good until then (seconds since 1970); `node` is empty for a token for any node.

    A token may be used `uses` times more, as often as one likes when that is None; `ordered` by the control plane.
    `serials` are a node's certificates (hexadecimal) and until when each is good.
    """

    until: float
    node: str = ""
    uses: int | None = None
    ordered: bool = False
    serials: dict[str, float] = msgspec.field(default_factory=dict)


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
            _builder(name, name, key.public_key(), now, AUTHORITY_DAYS, x509.random_serial_number())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_private(directory / "cluster", cluster.encode())
        write_private(directory / "authority.pem", certificate.public_bytes(serialization.Encoding.PEM))
        write_private(directory / "authority.key", pem(key))
        return cls(directory, cluster)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open what `create` made; raise NotFound."""
        try:
            return cls(directory, (directory / "cluster").read_text())
        except FileNotFoundError:
            raise NotFound(f"there is no authority in {directory}", "create it first") from None

    def token(self, now: datetime, lifetime: timedelta = timedelta(hours=1), node: str = "", uses: int = 0) -> Token:
        """Make a token for so many nodes, 0 for any number.

        One made for a `node` by name also lets it join again, in place of the node of that name.
        """
        token = Token(fingerprint(self.certificate), secrets.token_urlsafe(32))
        kept = {name: one for name, one in self._read("tokens").items() if one.until > now.timestamp()}
        kept[token.hashed] = _Issued((now + lifetime).timestamp(), node, uses or None)
        self._write("tokens", kept)
        return token

    def admit(self, admissions: Iterable[Admission]) -> None:
        """Let these tokens of the control plane be used, and none of its others; uses that were made stay made."""
        before = self._read("tokens")
        kept = {hashed: one for hashed, one in before.items() if not one.ordered}
        for one in admissions:
            made = _Issued(one.until.timestamp(), one.node, one.uses or None, ordered=True)
            kept[one.hashed] = before.get(one.hashed, made)
        if kept != before:
            self._write("tokens", kept)

    @property
    def spent(self) -> tuple[str, ...]:
        """The hashes of the control plane's tokens that have been used as often as they may be."""
        return tuple(hashed for hashed, one in self._read("tokens").items() if one.ordered and one.uses == 0)

    def enrol(self, secret: str, site: str, request: bytes, now: datetime) -> bytes:
        """Sign a request (PEM) from a node with a token; raise Forbidden, Conflict when its name is taken."""
        tokens, hashed = self._read("tokens"), Token(b"", secret).hashed
        token = tokens.get(hashed)
        if token is None or token.until <= now.timestamp():
            raise Forbidden("the join token is unknown here or has expired", "make a new one")
        if token.uses == 0:
            raise Forbidden("the join token was used as often as it may be", "make a new one")
        wanted = _request(request)
        member = Member(self.cluster, site, _common_name(wanted))
        if token.node not in ("", member.node):
            raise Forbidden(f"the join token is for the node {token.node}", "make one for this node")
        known = self._read("nodes").get(member.node)
        if known and not token.node and known.until > now.timestamp():
            raise Conflict(f"there is a node {member.node}", "give this one another name, or make a token for its name")
        certificate = self._sign(member, wanted, now)
        if token.uses is not None:
            token.uses -= 1
            self._write("tokens", tokens)
        return certificate

    def renew(self, member: Member, request: bytes, now: datetime) -> bytes:
        """Sign a request from a node that showed its certificate."""
        wanted = _request(request)
        if member.cluster != self.cluster or _common_name(wanted) != member.node:
            raise Forbidden(f"the node {member.node} asked for the certificate of another")
        return self._sign(member, wanted, now)

    def revoke(self, node: str, now: datetime) -> None:
        """Make the certificates that a node has good no more, and its name free; raise NotFound for no node of ours."""
        nodes = self._read("nodes")
        known = nodes.pop(node, None)
        if known is None:
            raise NotFound(f"no node {node} has joined the cluster {self.cluster}", "look at its name")
        revoked = {serial: one for serial, one in self._read("revoked").items() if one.until > now.timestamp()}
        revoked |= {serial: _Issued(until, node) for serial, until in known.serials.items()}
        # The list first: whoever is cut short in between repeats all of it.
        self._write("revoked", revoked)
        write_private(self._directory / "revoked.crl", self._listed(revoked, now))
        self._write("nodes", nodes)

    def expel(self, expulsions: Iterable[Expulsion], now: datetime) -> bool:
        """Revoke the nodes that the control plane removed, each removal once; True when there was a new one."""
        done = self._read("expelled")
        fresh = [one for one in expulsions if one.node not in done or done[one.node].until != one.at.timestamp()]
        for one in fresh:
            with suppress(NotFound):
                self.revoke(one.node, now)
        if fresh:
            self._write("expelled", done | {one.node: _Issued(one.at.timestamp(), one.node) for one in fresh})
        return bool(fresh)

    @property
    def revoked(self) -> bytes:
        """The newest list of certificates that are good no more, empty while none ever was revoked."""
        path = self._directory / "revoked.crl"
        return path.read_bytes() if path.exists() else b""

    def _listed(self, revoked: Mapping[str, _Issued], now: datetime) -> bytes:
        number = 0
        if self.revoked:
            before = x509.load_der_x509_crl(self.revoked).extensions
            number = before.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now.astimezone(UTC))
            .next_update(now.astimezone(UTC) + timedelta(days=AUTHORITY_DAYS))
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        for serial in revoked:
            one = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(now.astimezone(UTC))
            builder = builder.add_revoked_certificate(one.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def _sign(self, member: Member, request: x509.CertificateSigningRequest, now: datetime) -> bytes:
        until = (now + timedelta(days=CERTIFICATE_DAYS)).timestamp()
        serial, nodes = x509.random_serial_number(), self._read("nodes")
        before = nodes[member.node].serials if member.node in nodes else {}
        serials = {one: good for one, good in before.items() if good > now.timestamp()} | {f"{serial:x}": until}
        # Before it is signed: a certificate that nobody wrote down could not be revoked.
        self._write("nodes", nodes | {member.node: _Issued(until, member.node, serials=serials)})
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, member.node)])
        key = request.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise Invalid("a node asked for a certificate with a key of another kind", "run the same version")
        return (
            _builder(name, self._certificate.subject, key, now, CERTIFICATE_DAYS, serial)
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
        write_private(self._directory / f"{what}.json", msgspec.json.encode(issued))


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
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int, serial: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
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
