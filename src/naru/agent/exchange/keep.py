"""Pieces between the wire and the object store. Blocking: for threads."""

from collections.abc import Sequence
from threading import Lock

import zstandard

from naru.agent.exchange.frames import Packing
from naru.agent.exchange.pack import Packer
from naru.agent.exchange.pieces import Piece, Pieces
from naru.agent.incoming import Incoming
from naru.agent.objects import ObjectStore
from naru.domain.errors import Conflict, Invalid, NotFound


class Keep:
    """The pieces of one image in a node's store."""

    def __init__(self, store: ObjectStore, pieces: Pieces) -> None:
        self._store = store
        self.pieces = pieces
        self._incoming: dict[bytes, Incoming] = {}
        self._lock = Lock()

    def committed(self) -> set[int]:
        """Return the numbers of all pieces whose objects are committed."""
        lacking = set(self._store.missing(obj.digest for obj in self.pieces.index.objects))
        there = (obj.digest for obj in self.pieces.index.objects if obj.digest not in lacking)
        return {number for digest in there for number in self.pieces.numbers(digest)}

    def store(self, number: int, zstd: bool, body: bytes | memoryview) -> range:
        """Verify and keep a piece; return the pieces that became committed with it.

        Raises Invalid when these are not the piece's bytes, Unavailable when the disk does not take them.
        """
        piece = self.pieces.piece(number)
        plain = expanded(body, piece.size) if zstd else bytes(body)
        if piece.whole:
            self._store.put(piece.digest, plain)
            return range(number, number + 1)
        digest = piece.object.digest
        for _ in range(2):
            if self._store.has(digest):
                return self.pieces.numbers(digest)
            try:
                incoming = self._receive(piece)
                incoming.write(plain, piece.offset)
                with self._lock:
                    if self._store.has(digest):
                        return self.pieces.numbers(digest)
                    if next(incoming.lacking(), None):
                        return range(0)
                    incoming.commit()
                    self._incoming.pop(digest, None)
                return self.pieces.numbers(digest)
            except Conflict:  # another image's fetch ended this object's arrival meanwhile
                self._incoming.pop(digest, None)
        raise Conflict(f"object {digest.hex()} is taken in by others again and again", "try again")

    def load(self, number: int) -> bytes:
        """Return a piece that is here, of an object that is committed or still arriving; raise NotFound."""
        piece = self.pieces.piece(number)
        try:
            with open(self._store.path(piece.object.digest), "rb", buffering=0) as file:
                file.seek(piece.offset)
                found = file.read(piece.size) or b""
        except FileNotFoundError:
            incoming = self._store.incoming(piece.object.digest)
            try:
                found = incoming.read(piece.offset, piece.size) if incoming else b""
            except Conflict:
                found = b""
        if len(found) != piece.size:
            raise NotFound(f"piece {number} of {self.pieces.index.image} is not here")
        return found

    def read(self, pieces: Sequence[Piece], offset: int, length: int) -> bytes:
        """Return bytes of an object, which lie in these pieces of it; raise NotFound when one is gone."""
        if not pieces:
            return b""
        content = b"".join(self.load(piece.number) for piece in pieces)
        start = offset - pieces[0].offset
        return content[start : start + length]

    def pack(self, number: int, packing: Packing, packer: Packer) -> tuple[bool, bytes]:
        """Return a piece as it is to be sent, and whether that is compressed; raise NotFound."""
        digest = self.pieces.piece(number).digest
        if kept := packer.kept(digest, packing):
            return True, kept
        return packer.pack(digest, self.load(number), packing)

    def abandon(self) -> None:
        """Forget what arrived of objects that are not whole."""
        with self._lock:
            for incoming in self._incoming.values():
                incoming.abort()
            self._incoming.clear()

    def _receive(self, piece: Piece) -> Incoming:
        digest = piece.object.digest
        with self._lock:
            if digest not in self._incoming:
                other = self._store.incoming(digest)
                self._incoming[digest] = other or self._store.receive(digest, piece.object.size, piece.object.chunks)
            return self._incoming[digest]


def expanded(body: bytes | memoryview, size: int) -> bytes:
    """Decompress a Zstandard frame that must hold exactly `size` bytes; raise Invalid before it takes more memory."""
    try:
        if zstandard.get_frame_parameters(body).content_size != size:
            raise Invalid(f"a peer compressed something else than the {size} bytes of the piece")
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Invalid("a peer sent damaged Zstandard data") from error
