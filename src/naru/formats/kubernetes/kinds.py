"""Kinds of workload as kinds of objects, both ways."""

from collections.abc import Iterable, Iterator, Mapping

from naru.domain.kind import Autoscale, WorkloadKind
from naru.domain.workload import Restart, Workload
from naru.formats.loss import Losses, note_rest
from naru.formats.text import Plain
from naru.formats.tree import At

RUNNING = ("Deployment", "StatefulSet", "Job", "CronJob")
"""The objects that are apps, in the order in which they are read."""
TRIES = 3
"""How often a run may fail, where it may: as often as Naru lets it."""
_OF_A_RUN = (
    *("template", "completions", "parallelism", "backoffLimit", "selector", "manualSelector", "completionMode"),
    *("suspend", "ttlSecondsAfterFinished"),
)
_OF_A_SCHEDULE = (
    *("schedule", "timeZone", "jobTemplate", "suspend", "concurrencyPolicy"),
    *("successfulJobsHistoryLimit", "failedJobsHistoryLimit"),
)


def read_kind(at: At, port: int) -> WorkloadKind:
    """Say what an object's workload is for; a Deployment without a port is a worker."""
    match at["kind"].text():
        case "StatefulSet":
            return WorkloadKind.STATEFUL
        case "Job":
            return WorkloadKind.BATCH
        case "CronJob":
            return WorkloadKind.SCHEDULED
        case _:
            return WorkloadKind.SERVICE if port else WorkloadKind.WORKER


def innermost(at: At, losses: Losses) -> At:
    """Return the specification that holds the pods' template, noting what is lost on the way."""
    spec = at["spec"]
    if at["kind"].text() == "CronJob":
        note_rest(spec, _OF_A_SCHEDULE, losses, "an app of Naru has no place for it")
        zone = spec["timeZone"].text("Etc/UTC")
        if zone not in ("UTC", "Etc/UTC"):
            losses.add(at.path, f"timeZone: {zone}", "schedules are in UTC", "the same times in UTC")
        if (policy := spec["concurrencyPolicy"].text("Allow")) != "Forbid":
            losses.add(at.path, f"concurrencyPolicy: {policy}", "a run never begins beside another", "Forbid")
        spec = spec["jobTemplate"]["spec"]
    if at["kind"].text() in ("Job", "CronJob"):
        note_rest(spec, _OF_A_RUN, losses, "an app of Naru has no place for it")
    return spec


def read_count(at: At, spec: At) -> int:
    """Return how many instances there are to be, or to end; none while it is suspended."""
    if at["spec"]["suspend"].boolean():
        return 0
    if at["kind"].text() in ("Job", "CronJob"):
        return spec["completions"].integer(spec["parallelism"].integer(1))
    return spec["replicas"].integer(1)


def read_restart(kind: WorkloadKind, spec: At) -> Restart:
    """Say what happens when a process ends."""
    if not kind.ends:
        return Restart.ALWAYS
    return Restart.NEVER if spec["backoffLimit"].integer(6) == 0 else Restart.ON_FAILURE


def read_autoscale(scalers: Iterable[At], at: At) -> Autoscale | None:
    """Return the bounds that an autoscaler sets for an object by its CPU, None where there is none."""
    for scaler in scalers:
        spec = scaler["spec"]
        target = spec["scaleTargetRef"]
        if (target["kind"].text(), target["name"].text()) == (at["kind"].text(), at["metadata"]["name"].text()):
            percents = (
                metric.within("resource", "target", "averageUtilization")
                for metric in spec["metrics"].items()
                if metric["resource"]["name"].text() == "cpu"
            )
            percent = next((percent.integer(80) for percent in percents), 80)
            return Autoscale(spec["minReplicas"].integer(1), spec["maxReplicas"].integer(), percent)
    return None


def written_run(w: Workload, template: Mapping[str, Plain]) -> tuple[str, str, dict[str, Plain]]:
    """Return the API, the kind and the specification of what runs pods of the template to their end."""
    tries = 0 if w.restart is Restart.NEVER else TRIES
    spec: dict[str, Plain] = {
        "completions": w.replicas,
        "parallelism": w.replicas,
        "backoffLimit": tries,
        "template": dict(template),
    }
    if w.kind is not WorkloadKind.SCHEDULED:
        return "batch/v1", "Job", spec
    schedule: dict[str, Plain] = {
        "schedule": w.schedule,
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": spec},
    }
    return "batch/v1", "CronJob", schedule


def written_autoscale(w: Workload) -> Iterator[dict[str, Plain]]:
    """Yield the specification of the app's autoscaler, if it is to have one."""
    if w.autoscale is None:
        return
    utilization: Plain = {"type": "Utilization", "averageUtilization": w.autoscale.cpu_percent}
    yield {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": w.app},
        "minReplicas": w.autoscale.min,
        "maxReplicas": w.autoscale.max,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": utilization}}],
    }
