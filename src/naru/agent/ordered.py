"""What the control plane ordered last, kept on the disk until it says something else."""

import logging
from pathlib import Path

import msgspec

from naru.agent.disk import write_durably
from naru.domain.distribution import NodeOrders, Order

_LOG = logging.getLogger(__name__)


class _Kept(msgspec.Struct):
    images: tuple[Order, ...] = ()
    elsewhere: tuple[Order, ...] = ()


class Ordered:
    """The images of the last orders, and so which index of each is right, in a file. Blocking.

    `last` is what was saved last, also before this was opened, without peers; nothing where the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: _Kept | None = self._read()

    @property
    def last(self) -> NodeOrders:
        """The orders that were saved last."""
        kept = self._kept or _Kept()
        return NodeOrders(images=kept.images, elsewhere=kept.elsewhere)

    def save(self, orders: NodeOrders) -> None:
        """Keep orders in place of earlier ones; raise OSError when the disk refuses."""
        kept = _Kept(orders.images, orders.elsewhere)
        if kept != self._kept:
            write_durably(self._path, msgspec.json.encode(kept), self._path.with_suffix(".new"))
            self._kept = kept

    def _read(self) -> _Kept | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            _LOG.warning("the orders in %s cannot be read and are asked for again: %s", self._path, error)
            return None
