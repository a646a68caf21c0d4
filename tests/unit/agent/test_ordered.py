"""Orders that outlive the agent that was given them."""

from pathlib import Path

from naru.agent.ordered import Ordered
from naru.domain.distribution import NodeOrders, Order, Peer, Way

SHOP = Order(f"sha256:{'a' * 64}", "example.org/shop:1", Way.SEED, f"sha256:{'1' * 64}")
FAR = Order(f"sha256:{'b' * 64}", "example.org/far:1")
ORDERS = NodeOrders((Peer("two", "home", "10.0.0.2", 7071),), (SHOP,), (FAR,))


def test_orders_are_read_again_after_a_restart_without_peers(tmp_path: Path) -> None:
    Ordered(tmp_path / "orders.json").save(ORDERS)
    assert Ordered(tmp_path / "orders.json").last == NodeOrders(images=(SHOP,), elsewhere=(FAR,))


def test_what_was_ordered_last_counts(tmp_path: Path) -> None:
    kept = Ordered(tmp_path / "orders.json")
    kept.save(ORDERS)
    kept.save(NodeOrders())
    assert Ordered(tmp_path / "orders.json").last == NodeOrders()


def test_without_orders_or_with_damaged_ones_none_are_known(tmp_path: Path) -> None:
    assert Ordered(tmp_path / "orders.json").last == NodeOrders()
    (tmp_path / "orders.json").write_text('{"images": [')
    assert Ordered(tmp_path / "orders.json").last == NodeOrders()


def test_the_same_orders_are_written_once(tmp_path: Path) -> None:
    kept = Ordered(tmp_path / "orders.json")
    kept.save(ORDERS)
    (tmp_path / "orders.json").unlink()
    kept.save(ORDERS)
    assert not (tmp_path / "orders.json").exists()
