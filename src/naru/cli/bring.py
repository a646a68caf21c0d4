"""Bring the apps of a file into being: what will change, what is lost, then one rollout after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from naru.cli import progress
from naru.cli.carry import hints, summary
from naru.cli.exits import FAILED
from naru.cli.output import Cell, Output, emit, remark, say, table
from naru.cli.session import call
from naru.domain.errors import NotFound
from naru.domain.rollout import Rollout, RolloutState
from naru.domain.status import AppStatus
from naru.domain.workload import Workload
from naru.formats.loss import Imported, Loss, on_targets, refuse

if TYPE_CHECKING:
    from naru.client import Client

PLAN_HEADINGS = ("app", "change", "image", "port", "replicas", "after")
LOSS_HEADINGS = ("where", "what is lost", "why", "instead")


class Change(StrEnum):
    """What will happen to an app."""

    CREATE = "create"
    UPDATE = "update"
    NONE = "unchanged"
    IF_SECRET = "unchanged, unless a secret is new"  # noqa: S105 - words for people


@dataclass(frozen=True, slots=True)
class PlannedApp:
    """One line of the plan."""

    workload: Workload
    change: Change
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is shown before anything runs."""

    apps: tuple[PlannedApp, ...]
    losses: tuple[Loss, ...]


def bring(asked: Imported, *, strict: bool, dry_run: bool, detach: bool, output: Output) -> None:
    """Show the plan and the losses, then deploy what differs from what is live, and exit with 1 when that fails.

    With `strict` any loss is refused before anything runs. With `detach` only those rollouts are followed that
    others wait for.
    """
    started: list[str] = []

    async def work(client: Client) -> bool:
        plan = await _plan(client, asked)
        _show(plan, output)
        if strict:
            refuse(plan.losses)
        return dry_run or await _carry_out(client, asked, detach=detach, output=output, started=started)

    try:
        done = call(work)
    except KeyboardInterrupt:
        if started:
            remark(f"detached, the rollout goes on and nothing after it begins\n{hints(started[-1])}")
        raise
    raise typer.Exit(0 if done else FAILED)


async def remove(client: Client, apps: Sequence[str], *, volumes: bool, output: Output) -> bool:
    """Remove those of the apps that exist, one after the other; return whether all went."""
    for app in apps:
        try:
            rollout = await client.apps.remove(app, volumes=volumes)
        except NotFound:
            remark(f"{app} is not there")
            continue
        ended = await progress.show(client.apps.follow(rollout.id), output)
        if output is Output.TABLE:
            say(progress.verdict(ended))
        if ended.state is not RolloutState.SUCCEEDED:
            return False
    return True


async def _plan(client: Client, asked: Imported) -> Plan:
    versions = await _newest_versions(client)
    stored = {file.name for file in asked.files}
    apps = []
    for workload in asked.workloads:
        change = _change(workload, await _status(client, workload.app), versions)
        if change is Change.NONE and stored & {secret.name for secret in workload.secrets}:
            change = Change.IF_SECRET
        apps.append(PlannedApp(workload, change, tuple(asked.waits.get(workload.app, ()))))
    return Plan(tuple(apps), (*asked.losses, *on_targets(asked.workloads, await client.targets())))


async def _carry_out(client: Client, asked: Imported, *, detach: bool, output: Output, started: list[str]) -> bool:
    for file in asked.files:
        await client.vault.save_secret(file.name, file.value)
    versions = await _newest_versions(client)
    idle = True
    waited_for = {app for others in asked.waits.values() for app in others}
    for workload in asked.workloads:
        status = await _status(client, workload.app)
        if _change(workload, status, versions) is Change.NONE:
            continue
        idle = False
        rollout = await client.apps.deploy(workload)
        started.append(rollout.id)
        if detach and workload.app not in waited_for:
            match output:
                case Output.JSON:
                    emit(rollout)
                case Output.TABLE:
                    say(progress.heading(rollout))
                    remark(hints(rollout.id))
            continue
        ended = await progress.show(client.apps.follow(rollout.id), output)
        if output is Output.TABLE:
            say(await summary(client, ended))
        if ended.state is not RolloutState.SUCCEEDED:
            return False
    if idle and output is Output.TABLE:
        say("nothing to do: every app is live as the file says")
    return True


def _change(workload: Workload, status: AppStatus | None, versions: Mapping[str, int]) -> Change:
    """Decide what deploying the workload would do to the app; `versions` are the newest of the stored secrets."""
    if status is None or status.release is None:
        return Change.CREATE
    if status.rollout and (not status.rollout.state.ended or _half_removed(status.rollout)):
        return Change.UPDATE
    secrets = tuple(replace(s, version=s.version or versions.get(s.name, 0)) for s in workload.secrets)
    wanted, live = replace(workload, secrets=secrets), status.release.workload
    if not (wanted.address.host or wanted.address.port):  # Naru chose a port then, and keeps it
        wanted = replace(wanted, address=replace(live.address, tls=wanted.address.tls))
    return Change.NONE if wanted == live else Change.UPDATE


def _half_removed(rollout: Rollout) -> bool:
    return rollout.kind.takes_away and rollout.state is not RolloutState.SUCCEEDED


async def _newest_versions(client: Client) -> Mapping[str, int]:
    newest: dict[str, int] = {}
    for secret in await client.vault.secrets():
        newest[secret.name] = max(secret.version, newest.get(secret.name, 0))
    return newest


async def _status(client: Client, app: str) -> AppStatus | None:
    try:
        return await client.apps.status(app)
    except NotFound:
        return None


def _show(plan: Plan, output: Output) -> None:
    match output:
        case Output.JSON:
            emit(plan)
        case Output.TABLE:
            table(PLAN_HEADINGS, (_plan_row(app) for app in plan.apps))
            if plan.losses:
                say("")
                table(LOSS_HEADINGS, ((loss.where, loss.what, loss.why, loss.instead) for loss in plan.losses))
            say("")


def _plan_row(app: PlannedApp) -> Sequence[Cell]:
    style = {Change.CREATE: "green", Change.UPDATE: "yellow"}.get(app.change, "dim")
    workload = app.workload
    return (
        Text(workload.app, style="bold"),
        Text(str(app.change), style=style),
        workload.image,
        str(workload.port or ""),
        str(workload.replicas),
        ", ".join(app.after),
    )
