"""What comes before what."""

from collections.abc import Iterator, Mapping

from naru.domain.errors import Invalid


def in_order(waits: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield every name after those that it waits for; raise Invalid where that goes in a circle."""
    done: set[str] = set()

    def visit(name: str, chain: tuple[str, ...]) -> Iterator[str]:
        if name in chain:
            circle = " → ".join((*chain[chain.index(name) :], name))
            raise Invalid(f"services wait for each other in a circle: {circle}", "take one dependency away")
        if name not in done:
            for other in waits[name]:
                yield from visit(other, (*chain, name))
            done.add(name)
            yield name

    for name in waits:
        yield from visit(name, ())
