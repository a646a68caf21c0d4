"""Certificates that are good no more: a list that the cluster's authority signs and agents pass on.

The list is an X.509 CRL (RFC 5280, section 5) of certificates' serial numbers. Its number rises with each change, so
the newest is known without a clock, and its signature is the authority's, so it does not matter who passes it on.
"""

import logging
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from naru.agent.exchange.identity import write_private
from naru.domain.errors import Invalid

_LOG = logging.getLogger(__name__)
LONGEST: Final = 1 << 20
"""Bytes of a list: some twenty thousand certificates."""


class Revocations:
    """The newest list that this node has seen, kept in `path`; `authority` is the PEM of who must have signed it."""

    def __init__(self, path: Path, authority: bytes) -> None:
        self.encoded = b""
        self._path = path
        self._number = -1
        self._serials: frozenset[int] = frozenset()
        key = x509.load_pem_x509_certificate(authority).public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise Invalid("the authority's key is of another kind", "run the same version on all nodes")
        self._key = key
        if path.exists():
            try:
                self._accept(path.read_bytes())
            except Invalid as error:
                _LOG.warning("%s is not used, and comes again from other agents: %s", path, error)

    def __contains__(self, serial: int) -> bool:
        return serial in self._serials

    def take(self, encoded: bytes) -> bool:
        """Keep a list (DER) that is newer than the one here; False for an older one. Raise Invalid for a forged one."""
        if encoded == self.encoded or not self._accept(encoded):
            return False
        write_private(self._path, encoded)
        return True

    def _accept(self, encoded: bytes) -> bool:
        if len(encoded) > LONGEST:
            raise Invalid(f"a list of revoked certificates has {len(encoded)} bytes")
        try:
            parsed = x509.load_der_x509_crl(encoded)
            number = parsed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            signed = parsed.is_signature_valid(self._key)
        except (ValueError, TypeError, x509.ExtensionNotFound) as error:
            raise Invalid("what came as a list of revoked certificates is none") from error
        if not signed:
            raise Invalid("a list of revoked certificates is not signed by the cluster's authority")
        if number <= self._number:
            return False
        self._number, self.encoded = number, encoded
        self._serials = frozenset(one.serial_number for one in parsed)
        return True
