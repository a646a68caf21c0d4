"""Domain values as rows and pages for people."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from naru.cli import progress
from naru.cli.output import Cell, ago, brief, bulk, clean, lay_out, say, table
from naru.domain import schedule
from naru.domain.account import ApiToken, RegistryInfo, SecretInfo
from naru.domain.app import AppState, Event
from naru.domain.distribution import Distribution, Node
from naru.domain.image import Image
from naru.domain.instance import Instance, InstanceState
from naru.domain.kind import WorkloadKind
from naru.domain.membership import JoinToken
from naru.domain.release import Release, ReleaseState
from naru.domain.rollout import Rollout
from naru.domain.status import AppStatus
from naru.domain.target import Target, TargetState
from naru.domain.workload import Workload

_INSTANCE_STYLES = {
    InstanceState.STARTING: "cyan",
    InstanceState.READY: "green",
    InstanceState.UNHEALTHY: "red",
    InstanceState.STOPPING: "dim",
    InstanceState.EXITED: "red",
    InstanceState.COMPLETED: "green",
    InstanceState.SCHEDULED: "cyan",
}
_RELEASE_STYLES = {
    ReleaseState.PENDING: "cyan",
    ReleaseState.LIVE: "green",
    ReleaseState.SUPERSEDED: "dim",
    ReleaseState.FAILED: "red",
    ReleaseState.REFUSED: "red",
}
_APP_STYLES = {AppState.NEW: "cyan", AppState.FAILED: "red", AppState.LIVE: "green", AppState.REMOVED: "dim"}

APP_HEADINGS = ("app", "state", "ready", "image", "release", "endpoint", "rollout")
INSTANCE_HEADINGS = ("instance", "state", "release", "node", "address", "age", "exits", "failure")
RELEASE_HEADINGS = ("release", "state", "image", "digest", "replicas", "by", "when", "refused because")
ROLLOUT_HEADINGS = ("rollout", "app", "kind", "state", "image", "release", "by", "when", "proof")
TARGET_HEADINGS = (
    "target",
    "engine",
    "version",
    "site",
    "platform",
    "instances",
    "cpus",
    "memory",
    "disk free",
    "state",
)
IMAGE_HEADINGS = ("image", "platform", "size", "origin", "digest")
SECRET_HEADINGS = ("secret", "version", "by", "when")
REGISTRY_HEADINGS = ("registry", "user", "stored")
NODE_HEADINGS = ("node", "site", "state", "root file systems", "images", "kept", "from its site", "from outside")
DISTRIBUTION_HEADINGS = ("app", "site", "way", "nodes", "ready", "expected", "other ways", "complete", "expected")
INVITATION_HEADINGS = ("join token", "for", "by", "created", "expires", "state")
TOKEN_HEADINGS = ("token", "name", "account", "created", "expires", "last used")


def app_row(status: AppStatus) -> Sequence[Cell]:
    """Return one app's row of `naru apps`."""
    workload = status.release.workload if status.release else status.rollout.workload if status.rollout else None
    return (
        Text(status.app.name, style="bold"),
        Text(str(status.app.state), style=_APP_STYLES[status.app.state]),
        ready(status),
        workload.image if workload else "",
        str(status.app.live or ""),
        status.endpoint.url,
        progress.styled(status.rollout.state) if status.rollout else "",
    )


def ready(status: AppStatus) -> Text:
    """Return how many instances are ready, green when all are."""
    style = "green" if status.ready >= status.desired else "yellow" if status.ready else "red"
    return Text(f"{status.ready}/{status.desired}", style=style)


def short_id(instance: str) -> str:
    """Shorten an id to 20 characters; long ones differ at their ends."""
    return instance if len(instance) <= 20 else f"…{instance[-19:]}"


def instance_row(instance: Instance, now: datetime) -> Sequence[Cell]:
    """Return one instance's row."""
    return (
        short_id(instance.id),
        Text(str(instance.state), style=_INSTANCE_STYLES[instance.state]),
        str(instance.release),
        instance.node,
        instance.address,
        ago(instance.created_at, now).removesuffix(" ago"),
        _exits(instance),
        "; ".join(filter(None, (instance.failure, *(f"changed by someone else: {what}" for what in instance.drift)))),
    )


def release_row(release: Release, now: datetime) -> Sequence[Cell]:
    """Return one release's row."""
    reasons = "; ".join(item.detail for item in release.verdict.evidence if not item.passed) if release.verdict else ""
    return (
        str(release.number),
        Text(str(release.state), style=_RELEASE_STYLES[release.state]),
        release.workload.image,
        _short(release.image.digest),
        str(release.workload.replicas),
        release.created_by,
        ago(release.created_at, now),
        reasons,
    )


def rollout_row(rollout: Rollout, now: datetime) -> Sequence[Cell]:
    """Return one rollout's row."""
    return (
        rollout.id,
        rollout.app,
        str(rollout.kind),
        progress.styled(rollout.state),
        rollout.workload.image,
        str(rollout.release or rollout.restores or ""),
        rollout.requested_by,
        ago(rollout.requested_at, now),
        progress.proof(rollout.proof) if rollout.proof.sent else "",
    )


def target_row(target: Target) -> Sequence[Cell]:
    """Return one target's row."""
    capacity = target.capacity
    size = (
        (
            str(target.platform),
            str(capacity.instances),
            f"{capacity.cpus:g}",
            bulk(capacity.memory),
            bulk(capacity.disk_free),
        )
        if target.features  # it has answered once
        else ("–",) * 5
    )
    return (Text(target.name, style="bold"), target.engine, target.version, target.site, *size, _standing(target))


def _standing(target: Target) -> Cell:
    """Say whether the target answers and takes new apps."""
    if target.problem:
        return clean(target.problem)
    if target.state is TargetState.CORDONED:
        return Text("cordoned", style="yellow")
    return Text("answers", style="green")


def image_row(image: Image) -> Sequence[Cell]:
    """Return one image's row."""
    return (
        image.reference,
        str(image.platform),
        bulk(image.size) if image.size else "",
        str(image.origin),
        _short(image.digest),
    )


def secret_row(secret: SecretInfo, now: datetime) -> Sequence[Cell]:
    """Return one secret's row."""
    return secret.name, str(secret.version), secret.created_by, ago(secret.created_at, now)


def registry_row(registry: RegistryInfo, now: datetime) -> Sequence[Cell]:
    """Return one registry's row."""
    return registry.registry, registry.username, ago(registry.updated_at, now)


def token_row(token: ApiToken, now: datetime) -> Sequence[Cell]:
    """Return one API token's row."""
    return (
        token.id,
        token.name,
        token.account,
        ago(token.created_at, now),
        f"{token.expires_at:%Y-%m-%d}" if token.expires_at else "never",
        ago(token.last_used_at, now) or "never",
    )


def node_row(node: Node) -> Sequence[Cell]:
    """Return one node's row."""
    report = node.report
    whole = sum(one.complete for one in report.images)
    return (
        report.name,
        report.site,
        Text("reports", "green") if node.alive else Text("silent", "red"),
        report.mode,
        f"{whole}/{len(report.images)}",
        bulk(report.used),
        bulk(report.carried.from_site),
        bulk(report.carried.from_outside + report.carried.from_origin),
    )


def distribution_row(one: Distribution) -> Sequence[Cell]:
    """Return the row of how an image went to a site."""
    waves = f" {'+'.join(map(str, one.waves))}" if len(one.waves) > 1 else ""
    return (
        one.app,
        one.site,
        f"{one.way}{waves}",
        str(one.nodes) if one.nodes else "engine",
        _seconds(one.ready),
        _seconds(one.estimate.ready if one.estimate else None),
        ", ".join(f"{other.way} {other.ready:.1f} s" for other in one.alternatives),
        _seconds(one.complete),
        _seconds(one.estimate.complete if one.estimate else None),
    )


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


def invitation_row(token: JoinToken, now: datetime) -> Sequence[Cell]:
    """Return one join token's row."""
    whom = token.node or ("any number of nodes" if not token.uses else f"{token.uses} node{'s'[: token.uses != 1]}")
    state = "spent" if token.spent else "good" if token.expires_at > now else "expired"
    return (
        token.id,
        whom,
        token.created_by,
        ago(token.created_at, now),
        f"{token.expires_at.astimezone():%Y-%m-%d %H:%M}",
        state,
    )


def event_line(event: Event) -> Text:
    """Return one event as a line: when, which app, what, who."""
    text = Text(f"{event.at.astimezone():%Y-%m-%d %H:%M:%S}  ", style="dim")
    text.append(event.app or "-", style="bold").append(f"  {event.kind}  ", style="cyan")
    return text.append_text(brief(event.text)).append(f"  ({event.subject})", style="dim")


def show_status(status: AppStatus, now: datetime) -> None:
    """Print the page of one app."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in _facts(status, now):
        grid.add_row(f"  {name}", value)
    state = (str(status.app.state), _APP_STYLES[status.app.state])
    say(Text.assemble((status.app.name, "bold"), "  ", state, "  ", (status.endpoint.url, "underline")))
    lay_out(grid)
    if status.instances:
        say("")
        table(INSTANCE_HEADINGS, (instance_row(instance, now) for instance in status.instances))


def _facts(status: AppStatus, now: datetime) -> Iterator[tuple[str, Cell]]:
    release, rollout = status.release, status.rollout
    if release:
        yield from _nature(release.workload, now)
        yield "image", f"{release.workload.image} ({_short(release.image.digest)})"
        yield "release", f"{release.number}, by {release.created_by}, {ago(release.created_at, now)}"
    yield "ready", ready(status)
    if status.app.target:
        yield "target", status.app.target
    if rollout:
        when = ago(rollout.ended_at or rollout.requested_at, now)
        yield (
            "rollout",
            progress.styled(rollout.state).append(f"  {rollout.kind} {rollout.id}, {when}", style="default"),
        )
        if rollout.proof.sent:
            yield "proof", progress.proof(rollout.proof)
        if rollout.reason:
            yield "reason", clean(rollout.reason)


def _nature(workload: Workload, now: datetime) -> Iterator[tuple[str, Cell]]:
    if workload.kind is not WorkloadKind.SERVICE:
        yield "kind", str(workload.kind)
    if workload.schedule:
        following = schedule.parse(workload.schedule).after(now)
        yield "schedule", f"{workload.schedule} (UTC)" + (f", next {following:%Y-%m-%d %H:%M}" if following else "")
    if workload.project:
        yield "project", f"{workload.project}, as {', '.join(workload.hosts)}"


def _exits(instance: Instance) -> str:
    if not instance.exits:
        return ""
    last = "out of memory" if instance.oom_killed else f"code {instance.exit_code}"
    return f"{instance.exits} ({last})"


def _short(digest: str) -> str:
    return digest[: len("sha256:") + 12]
