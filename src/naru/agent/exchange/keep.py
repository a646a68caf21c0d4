"""Pieces between the wire and the object store. Blocking: for threads."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from threading import Lock

from naru.agent.exchange.frames import Packing
from naru.agent.exchange.pack import Packer, expanded
from naru.agent.exchange.pieces import Piece, Pieces
from naru.agent.incoming import Incoming
from naru.agent.objects import ObjectStore
from naru.domain.errors import Conflict, Invalid, NotFound, Unavailable

Packed = dict[int, tuple[bool, bytes]]
"""Pieces as they are sent, by number, and whether each is a Zstandard frame."""


class Keep:
    """The pieces of one image in a node's store."""

    def __init__(self, store: ObjectStore, pieces: Pieces, packer: Packer) -> None:
        self._store = store
        self._packer = packer
        self.pieces = pieces
        self._incoming: dict[bytes, Incoming] = {}
        self._lock = Lock()

    def committed(self) -> set[int]:
        """Return the numbers of all pieces whose objects are committed."""
        lacking = set(self._store.missing(obj.digest for obj in self.pieces.index.objects))
        there = (obj.digest for obj in self.pieces.index.objects if obj.digest not in lacking)
        return {number for digest in there for number in self.pieces.numbers(digest)}

    def resumed(self) -> set[int]:
        """Go on with the big objects of which a part came before; return the numbers of their pieces that are here."""
        here = set[int]()
        for digest in self._store.left():
            if digest not in self.pieces.index.numbers:
                continue
            numbers = self.pieces.numbers(digest)
            with suppress(Conflict, Invalid, Unavailable):  # it is fetched again then, which says what hinders it
                incoming = self._receive(self.pieces.piece(numbers[0]))
                if not next(incoming.lacking(), None):
                    incoming.commit()
                here.update(n for n in numbers if incoming.has(self.pieces.piece(n).offset, 1))
        return here

    def store(self, number: int, zstd: bool, body: bytes | memoryview) -> range:
        """Verify and keep a piece; return the pieces that became committed with it.

        Raises Invalid when these are not the piece's bytes, Unavailable when the disk does not take them.
        """
        piece = self.pieces.piece(number)
        plain = expanded(body, piece.size) if zstd else bytes(body)
        if piece.whole:
            self._store.put(piece.digest, plain)
            committed = range(number, number + 1)
        else:
            committed = self._put_part(piece, plain)
        if zstd:
            self._packer.keep(piece.digest, bytes(body), small=False)
        return committed

    def _put_part(self, piece: Piece, plain: bytes) -> range:
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
        for look in (self._committed, self._arriving, self._committed):  # it may be committed between two looks
            found = look(piece)
            if len(found) == piece.size:
                return found
        raise NotFound(f"piece {number} of {self.pieces.index.image} is not here")

    def _committed(self, piece: Piece) -> bytes:
        with suppress(FileNotFoundError), open(self._store.path(piece.object.digest), "rb", buffering=0) as file:
            file.seek(piece.offset)
            return file.read(piece.size) or b""
        return b""

    def _arriving(self, piece: Piece) -> bytes:
        with suppress(Conflict):
            if incoming := self._store.incoming(piece.object.digest):
                return incoming.read(piece.offset, piece.size)
        return b""

    def read(self, pieces: Sequence[Piece], offset: int, length: int) -> bytes:
        """Return bytes of an object, which lie in these pieces of it; raise NotFound when one is gone."""
        if not pieces:
            return b""
        content = b"".join(self.load(piece.number) for piece in pieces)
        start = offset - pieces[0].offset
        return content[start : start + length]

    def pack(self, number: int, packing: Packing) -> tuple[bool, bytes]:
        """Return a piece as it is to be sent, and whether that is compressed; raise NotFound."""
        return self._packer.pack(self.pieces.piece(number).digest, packing, partial(self.load, number))

    def packed(self, numbers: Iterable[int], packing: Packing) -> Packed:
        """Return those of these pieces that are here, as they are to be sent."""
        packed = {}
        for number in numbers:
            with suppress(NotFound, OSError):
                packed[number] = self.pack(number, packing)
        return packed

    def at_hand(self, numbers: Sequence[int], packing: Packing) -> Packed | None:
        """Return these pieces if all of them can be sent without any work. Never blocks."""
        packed = {}
        for number in numbers:
            kept = self._packer.kept(self.pieces.piece(number).digest, packing)
            if kept is None:
                return None
            packed[number] = True, kept
        return packed

    def gone(self, numbers: Iterable[int]) -> list[int]:
        """Return the pieces that are neither committed nor part of an object that arrives."""
        gone = []
        for number in numbers:
            piece = self.pieces.piece(number)
            if self._store.has(piece.object.digest):
                continue
            incoming = self._store.incoming(piece.object.digest)
            if incoming is None or not incoming.has(piece.offset, piece.size):
                gone.append(number)
        return gone

    def abandon(self) -> None:
        """Add nothing more to objects that are not whole; whoever fetches them next goes on with them."""
        with self._lock:
            for incoming in self._incoming.values():
                incoming.leave()
            self._incoming.clear()

    def _receive(self, piece: Piece) -> Incoming:
        digest = piece.object.digest
        with self._lock:
            if digest not in self._incoming:
                other = self._store.incoming(digest)
                self._incoming[digest] = other or self._store.receive(digest, piece.object.size, piece.object.chunks)
            return self._incoming[digest]
