"""A rollout as it happens: a live picture on a terminal, plain lines elsewhere, JSON for programs."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import assert_never

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from naru.cli.output import Output, brief, bulk, clean, emit, say, screen, took
from naru.domain.proof import Proof
from naru.domain.rollout import Kind, LayerProgress, Rollout, RolloutState, Step, StepName, StepState

_MARKS = {StepState.PASSED: ("✓", "green"), StepState.FAILED: ("✗", "red")}
_STYLES = {
    RolloutState.QUEUED: "dim",
    RolloutState.RUNNING: "cyan",
    RolloutState.ROLLING_BACK: "yellow",
    RolloutState.SUCCEEDED: "green",
    RolloutState.FAILED: "red",
    RolloutState.CANCELLED: "yellow",
}
_LAYERS_SHOWN = 6
_BAR = 30


async def show(updates: AsyncIterator[Rollout], output: Output) -> Rollout:
    """Show each state of a rollout as it comes and return the last; `updates` holds at least one."""
    console = screen()
    last: Rollout | None = None
    with _viewer(console, output) as view:
        async for rollout in updates:
            view(last, rollout)
            last = rollout
    assert last is not None  # noqa: S101 - the promise of the caller
    return last


def lines(before: Rollout | None, after: Rollout) -> Iterator[str]:
    """Yield what `after` tells that `before` did not, one line a fact: a step that began or ended."""
    if before is None:
        yield f"{after.app}: {asked(after)}, rollout {after.id}"
    if after.state is RolloutState.QUEUED and before is None:
        yield "queued"
    known = {} if before is None else {(step.name, step.started_at): step for step in before.steps}
    for step in after.steps:
        earlier = known.get((step.name, step.started_at))
        if earlier == step:
            continue
        if step.ended_at is not None:
            told = f"{step.name}: {step.state} in {_clock(_seconds(step, step.ended_at))}"
            yield f"{told}, {_first_line(step.outcome)}" if step.outcome else told
        elif earlier is None:
            yield f"{step.name}: running"


class Picture:
    """The live picture of one rollout; it looks at `clock` each time it is drawn."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._spinner = Spinner("dots", style="cyan")
        self.rollout: Rollout | None = None

    def __rich__(self) -> RenderableType:
        rollout = self.rollout
        if rollout is None:
            return Text("waiting for the server", style="dim")
        now = self._clock()
        parts: list[RenderableType] = [heading(rollout)]
        for step in rollout.steps:
            parts.append(self._step(step, now))
            if step.name is StepName.DISTRIBUTE and step.state is StepState.RUNNING:
                parts.extend(_layers(rollout.progress))
            if step.name is StepName.PROVE and step.state is StepState.RUNNING and rollout.proof.sent:
                parts.append(Text(f"      {proof(rollout.proof)}", style="dim"))
        if not rollout.steps and not rollout.state.ended:
            parts.append(Text("  waiting for its turn", style="dim"))
        return Group(*parts)

    def _step(self, step: Step, now: datetime) -> RenderableType:
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_column(width=3, justify="right")
        row.add_column(width=max(len(name) for name in StepName))
        row.add_column(width=7, justify="right", style="dim")
        row.add_column(overflow="fold")
        mark: RenderableType = self._spinner
        if step.state in _MARKS:
            sign, style = _MARKS[step.state]
            mark = Text(sign, style=style)
        row.add_row(
            mark, str(step.name), _clock(_seconds(step, step.ended_at or now)), brief(_first_line(step.outcome))
        )
        return row


def heading(rollout: Rollout) -> Text:
    """Return one line that names a rollout: app, what is done, and its id."""
    return Text.assemble((rollout.app, "bold"), "  ", asked(rollout), "  ", (f"rollout {rollout.id}", "dim"))


def verdict(rollout: Rollout) -> Text:
    """Return how an ended rollout ended, and why."""
    text = Text.assemble((str(rollout.state), _STYLES[rollout.state]))
    if rollout.ended_at is not None:
        text.append(f" in {took((rollout.ended_at - rollout.requested_at).total_seconds())}")
    if rollout.proof.sent:
        text.append(f", {proof(rollout.proof)}")
    for reason in dict.fromkeys(part for part in (rollout.reason, *_reasons(rollout)) if part):
        text.append("\n")
        text.append_text(clean("\n".join(f"  {line}" for line in reason.splitlines())))
    return text


def styled(state: RolloutState) -> Text:
    """Return a rollout's state in its colour."""
    return Text(str(state), style=_STYLES[state])


def proof(record: Proof) -> str:
    """Return a proof in words: requests sent and failed, and the latencies of the answered ones."""
    told = f"{record.sent} request{'' if record.sent == 1 else 's'}, {record.failed} failed"
    return f"{told}, p50 {took(record.p50)}, p99 {took(record.p99)}" if record.sent > record.failed else told


View = Callable[[Rollout | None, Rollout], None]


def _viewer(console: Console, output: Output) -> AbstractContextManager[View]:
    match output:
        case Output.JSON:
            return nullcontext(lambda _, after: emit(after))
        case Output.TABLE if console.is_terminal and not console.is_dumb_terminal:
            return _live(console)
        case Output.TABLE:
            return nullcontext(_plain)


@contextmanager
def _live(console: Console) -> Iterator[View]:
    picture = Picture(lambda: datetime.now(UTC))
    with Live(picture, console=console, refresh_per_second=10):

        def view(_: Rollout | None, after: Rollout) -> None:
            picture.rollout = after

        yield view


def _plain(before: Rollout | None, after: Rollout) -> None:
    for line in lines(before, after):
        say(brief(line))


def _layers(layers: tuple[LayerProgress, ...]) -> Iterator[RenderableType]:
    """Yield a bar for each layer under way, and how many are done; a line a layer."""
    moving = [layer for layer in layers if not layer.total or layer.current < layer.total]
    grid = Table.grid(padding=(0, 1))
    for layer in moving[:_LAYERS_SHOWN]:
        bar = ProgressBar(total=layer.total or None, completed=layer.current, width=_BAR, pulse=not layer.total)
        size = f"{bulk(layer.current)} / {bulk(layer.total)}" if layer.total else bulk(layer.current)
        grid.add_row(Text(layer.layer.removeprefix("sha256:")[:12], style="dim"), bar, size, clean(layer.status))
    if moving:
        yield Padding(grid, (0, 0, 0, 6))
    if layers:
        yield Text(f"      {len(layers) - len(moving)} of {len(layers)} layers are here", style="dim")


def asked(rollout: Rollout) -> str:
    """Return what a rollout was asked to do, in words."""
    workload = rollout.workload
    count = f"{workload.replicas} replica{'' if workload.replicas == 1 else 's'}"
    match rollout.kind:
        case Kind.DEPLOY:
            return f"deploy {workload.image}, {count}"
        case Kind.SCALE:
            return f"scale to {count}"
        case Kind.ROLLBACK:
            return f"roll back to release {rollout.restores}"
        case Kind.MOVE:
            return f"move from {rollout.source} to {rollout.target}"
        case Kind.REMOVE:
            return "remove"
        case Kind.PURGE:
            return "remove with its volumes"
        case _:
            assert_never(rollout.kind)


def _reasons(rollout: Rollout) -> Iterator[str]:
    return (step.reason for step in rollout.steps if step.state is StepState.FAILED)


def _first_line(outcome: str) -> str:
    """Return what fits beside a step; the rest is told as the reason, at the end."""
    return outcome.partition("\n")[0]


def _clock(seconds: float) -> str:
    """Return a duration that counts steadily and lines up with others."""
    return f"{seconds:.1f} s" if seconds < 60 else took(seconds)


def _seconds(step: Step, until: datetime) -> float:
    return max(0.0, (until - step.started_at).total_seconds())
