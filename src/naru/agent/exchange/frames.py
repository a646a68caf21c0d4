"""What agents say to each other, as values.

Whoever connects asks and whoever accepts answers; a node that wants something of a node which asks it connects to it
in turn. The asker opens images under handles of its choice and then names pieces by their numbers (pieces.py). Every
piece that is wanted is answered exactly once, by its content or by Missing, unless it is cancelled first.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from naru.agent.source import Priority

VERSION: Final = 1


class Reason(IntEnum):
    """Why a piece or a document is not sent."""

    ABSENT = 1
    """It is not here; what was advertised before is gone."""
    UNKNOWN = 2
    """The image is not known here."""
    REFUSED = 3
    """This asker may not have the image."""
    FAILED = 4
    """It was to be relayed, and could not be had."""


class Packing(IntEnum):
    """How pieces are to be sent."""

    PLAIN = 0
    """As they are: the link is quicker than any compression."""
    FAST = 1
    SMALL = 2
    """The link is so slow that every byte counts."""


class Document(IntEnum):
    """What is sent whole beside pieces."""

    INDEX = 1
    PROFILE = 2


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame of both sides. `port` is where the speaker accepts connections, 0 for nowhere."""

    node: str
    site: str
    port: int
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Open:
    """The asker is interested in an image, which it calls `handle` from now on; answered by Have or Unknown.

    `grant` is what proves that the asker may, where the cluster wants proof.
    """

    handle: int
    image: bytes
    grant: bytes = b""


@dataclass(frozen=True, slots=True)
class Close:
    """The handle is free again; nothing is sent for it any more."""

    handle: int


@dataclass(frozen=True, slots=True)
class Want:
    """Send these pieces, in this order within their priority; a piece wanted before only changes its priority.

    With `relay` the answerer fetches what it lacks; without, it answers Missing. `packing` says how. With `again` all
    were wanted before, and what has been sent since, and is on its way, is not sent a second time.
    """

    handle: int
    priority: Priority
    relay: bool
    packing: Packing
    numbers: tuple[int, ...]
    again: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """Do not send these pieces; those on their way still arrive."""

    handle: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Get:
    """Send a document of an image; with `relay`, make it where it is not there."""

    handle: int
    document: Document
    relay: bool


@dataclass(frozen=True, slots=True)
class Have:
    """All committed pieces of the image, as a set (bits.py) among `count`."""

    handle: int
    count: int
    bits: int


@dataclass(frozen=True, slots=True)
class More:
    """These pieces are committed since the last Have or More."""

    handle: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Coming:
    """The answerer is fetching these pieces from outside its site; nobody else of the site needs to."""

    handle: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """These pieces will not be sent."""

    handle: int
    reason: Reason
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """The image, or a document of it when one is named, is not to be had here. `interested`: it is being sought."""

    handle: int
    reason: Reason
    document: Document | None = None
    interested: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece in a bundle; `zstd` says whether `body` is a Zstandard frame."""

    number: int
    zstd: bool
    body: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Bundle:
    """Whole pieces."""

    handle: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes `offset` and on of a piece whose body is `total` bytes long; the parts of a piece come in order."""

    handle: int
    number: int
    zstd: bool
    offset: int
    total: int
    body: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes of a document, in order, `total` in all."""

    handle: int
    document: Document
    offset: int
    total: int
    body: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Ping:
    """Answered at once by a Pong with the same token."""

    token: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a Ping."""

    token: int


@dataclass(frozen=True, slots=True)
class Enrol:
    """A node asks for a certificate: by a token's secret, or by the certificate that it connects with.

    Empty `request` asks for the authority's own certificate, which a joining node compares with its token.
    """

    secret: str
    site: str
    request: bytes


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A certificate and the authority's, both PEM."""

    certificate: bytes
    authority: bytes


@dataclass(frozen=True, slots=True)
class Revoked:
    """The certificates that are good no more, as the authority signed it (a DER CRL); either side sends it any time."""

    encoded: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """The last frame of an answerer that gives up, and why."""

    cause: str


Frame = (
    Hello
    | Open
    | Close
    | Want
    | Cancel
    | Get
    | Have
    | More
    | Coming
    | Missing
    | Unknown
    | Bundle
    | Part
    | Blob
    | Ping
    | Pong
    | Enrol
    | Enrolled
    | Revoked
    | Refused
)
