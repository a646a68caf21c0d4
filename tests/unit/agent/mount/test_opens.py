"""The table of open nodes is the same to a server that takes over."""

import os
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from naru.agent.mount.opens import Open, Opens

nodes = st.integers(258, 2**63 + 258).map(lambda node: node % 600 + 258)


class Takeovers(RuleBasedStateMachine):
    """Opens and releases, with servers dying between them."""

    def __init__(self) -> None:
        super().__init__()
        self.opens = Opens.new()
        self.counts: Counter[int] = Counter()
        self.backings: dict[int, int] = {}

    @rule(node=nodes, backing=st.integers(0, 9))
    def open(self, node: int, backing: int) -> None:
        backing = self.backings.setdefault(node, backing)
        self.opens.take(node, backing)
        self.counts[node] += 1

    @rule(first=nodes)
    def open_many(self, first: int) -> None:
        for node in range(first + 1000, first + 1400):
            self.open(node, 1)

    @rule(node=nodes)
    def release(self, node: int) -> None:
        closed = self.opens.drop(node)
        self.counts[node] = max(0, self.counts[node] - 1)
        assert closed == (0 if self.counts[node] else self.backings.pop(node, 0))

    @rule()
    def take_over(self) -> None:
        successor = Opens(os.dup(self.opens.descriptor))
        self.opens.close()
        self.opens = successor

    @invariant()
    def both_agree(self) -> None:
        assert len(self.opens) == sum(1 for count in self.counts.values() if count)
        for node, count in self.counts.items():
            assert self.opens.get(node) == (Open(self.backings[node], count) if count else None)

    def teardown(self) -> None:
        self.opens.close()


TestTakeovers = Takeovers.TestCase
TestTakeovers.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
