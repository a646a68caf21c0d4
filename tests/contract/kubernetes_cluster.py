"""The cluster behind the simulated API server: its controllers and its kubelet in one task, and accidents on demand.

Deployments come without their ReplicaSets. Pods go through what real ones do, only faster: scheduling, pulling,
running, failing checks, ending, starting again.
"""

import asyncio
import copy
import hashlib
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.contract.kubernetes_objects import Json, Key, Objects, leaves, now
from tests.contract.kubernetes_schema import published

TICK = 0.01
NODE = "node-1"
SCHEDULER_SAYS = "0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available."


@dataclass(frozen=True)
class Acts:
    """What a pod does: serves unless one of these says otherwise; `answer` is that of its failing check."""

    answer: str = ""
    exit_code: int | None = None
    oom: bool = False
    unschedulable: bool = False
    says: tuple[str, ...] = ("one", "two")


@dataclass
class Life:
    """What the kubelet knows of a pod."""

    acts: Acts
    born: float
    lines: list[tuple[datetime, str]] = field(default_factory=list)
    step: int = 0
    next: float = 0.0
    told: int = 0
    ended: float = 0.0


class Cluster:
    """What there is, what becomes of it, and what a test may do to it."""

    def __init__(self) -> None:
        self.objects = Objects()
        self.acts = Acts()
        """What pods do that are made from now on."""
        self.images: set[str] = set()
        """The images that the nodes can pull."""
        self.quota: int | None = None
        """How many pods there may be."""
        self.due: list[str] = []
        """CronJobs whose time has come."""
        self.lives: dict[str, Life] = {}
        self._ips = iter(f"10.0.{a}.{b}" for a in range(1, 200) for b in range(1, 250))
        self._serial = 0
        self.objects.create(
            ("nodes", "", NODE),
            {
                "apiVersion": "v1",
                "kind": "Node",
                "status": {
                    "allocatable": {"cpu": "4", "memory": "8131620Ki", "pods": "110"},
                    "nodeInfo": {"operatingSystem": "linux", "architecture": "amd64"},
                },
            },
            "kubelet",
        )

    def pod(self, name: str) -> Key:
        """Return the key of a pod; raises KeyError when there is none."""
        for key in self.objects.held:
            if key[0] == "pods" and key[2] == name:
                return key
        raise KeyError(name)

    def delete(self, key: Key) -> None:
        """Remove an object; a pod is told to go first."""
        if key[0] != "pods":
            self.objects.delete(key)
            return
        meta = self.objects.held[key].value["metadata"]
        if "deletionTimestamp" not in meta:
            meta["deletionTimestamp"] = now()
            self.lives[key[2]].ended = time.monotonic()
            self.objects.touched(key)

    # --- accidents --------------------------------------------------------------------------------------------

    def kill(self, pod: str, code: int = 137) -> None:
        """Let a pod's process end; the kubelet starts it again."""
        key = self.pod(pod)
        self._end(key, code, "Error")
        self.lives[pod].next = time.monotonic() + 0.2

    def sicken(self, pod: str, answer: str) -> None:
        """Let a pod's checks fail from now on."""
        life = self.lives[pod]
        life.acts = Acts(answer=answer)
        life.told = 0
        self._ready(self.pod(pod), False)

    def remove(self, pod: str) -> None:
        """Delete a pod at once, as somebody else."""
        self.objects.delete(self.pod(pod))

    def change_pod(self, pod: str, image: str) -> None:
        """Change a pod's image, as somebody else."""
        key = self.pod(pod)
        held = self.objects.held[key].value
        before = dict(leaves(held))
        held["spec"]["containers"][0]["image"] = image
        self.objects.own(key, before, "kubectl-set")
        self.objects.touched(key)

    def edit(self, plural: str, name: str, patch: Json, manager: str = "kubectl-edit") -> None:
        """Change an object as somebody else."""
        key = next(key for key in self.objects.held if (key[0], key[2]) == (plural, name))
        self.objects.edit(key, patch, manager)

    # --- the controllers and the kubelet ----------------------------------------------------------------------

    async def run(self) -> None:
        """Bring about what was asked for, for ever."""
        while True:
            for key, one in list(self.objects.all("cronjobs")):
                self._keep_time(key, one)
            for key, one in list(self.objects.all("jobs")):
                self._run(key, one)
            for key, one in list(self.objects.all("statefulsets")):
                self._number(key, one)
            for key, deployment in list(self.objects.all("deployments")):
                self._deploy(key, deployment)
            for key, pod in list(self.objects.all("pods")):
                self._live(key, pod)
            await asyncio.sleep(TICK)

    def _deploy(self, key: Key, deployment: Json) -> None:
        """A Deployment controller with its ReplicaSets left out; it removes in the order in which ReplicaSets do."""
        template, wanted = deployment["spec"]["template"], deployment["spec"]["replicas"]
        mark = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
        mine = [(k, pod) for k, pod in self._pods_of(deployment) if "deletionTimestamp" not in pod["metadata"]]
        for pod_key, pod in mine:
            if pod["metadata"]["labels"]["pod-template-hash"] != mark:
                self.delete(pod_key)
        mine = [(k, pod) for k, pod in mine if pod["metadata"]["labels"]["pod-template-hash"] == mark]
        for pod_key, _ in sorted(mine, key=lambda one: self._rank(one[1]))[: max(0, len(mine) - wanted)]:
            self.delete(pod_key)
        for _ in range(wanted - len(mine)):
            if self._is_full():
                self._fail(key, deployment, 'pods "x" is forbidden: exceeded quota: small, requested: pods=1')
                return
            self._serial += 1
            self._make(deployment, f"{key[2]}-{mark}-{self._serial:05x}", template, {"pod-template-hash": mark})

    def _run(self, key: Key, job: Json) -> None:
        """A Job controller: one pod for each index; one that failed stays so where no failure is borne."""
        spec = job["spec"]
        there = {pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] for _, pod in self._pods_of(job)}
        assert spec.get("parallelism", 1) == spec.get("completions", 1)
        for index in map(str, range(spec.get("completions", 1))):
            if index in there:
                continue
            if self._is_full():
                said = 'Error creating: pods "x" is forbidden: exceeded quota: small, requested: pods=1'
                self._tell(key, job, "FailedCreate", said)
                return
            self._serial += 1
            label = {"batch.kubernetes.io/job-completion-index": index}
            self._make(job, f"{key[2]}-{index}-{self._serial:05x}", spec["template"], label)

    def _number(self, key: Key, stateful: Json) -> None:
        """A StatefulSet controller: the pod of a number is made anew only when the one before it is gone."""
        there = {pod_key[2] for pod_key, _ in self._pods_of(stateful)}
        start = stateful["spec"]["ordinals"]["start"]
        for ordinal in range(start, start + stateful["spec"]["replicas"]):
            if (name := f"{key[2]}-{ordinal}") not in there:
                self._make(stateful, name, stateful["spec"]["template"], {"apps.kubernetes.io/pod-index": str(ordinal)})

    def _keep_time(self, key: Key, cron_job: Json) -> None:
        """A CronJob controller for which it is time only when a test says so."""
        while key[2] in self.due:
            self.due.remove(key[2])
            self._serial += 1
            made = copy.deepcopy(cron_job["spec"]["jobTemplate"])
            name = f"{key[2]}-{self._serial}"
            made = {"apiVersion": "batch/v1", "kind": "Job", **made}
            made["metadata"]["ownerReferences"] = [_owner(cron_job)]
            self.objects.create(("jobs", key[1], name), made, "kube-controller-manager")

    def _is_full(self) -> bool:
        return self.quota is not None and sum(k[0] == "pods" for k in self.objects.held) >= self.quota

    def _pods_of(self, holder: Json) -> list[tuple[Key, Json]]:
        owner = holder["metadata"]["uid"]
        return [
            (key, pod)
            for key, pod in self.objects.all("pods", holder["metadata"]["namespace"])
            if pod["metadata"]["ownerReferences"][0]["uid"] == owner
        ]

    def _rank(self, pod: Json) -> tuple[bool, int, float]:
        cost = pod["metadata"].get("annotations", {}).get("controller.kubernetes.io/pod-deletion-cost", "0")
        return _is_ready(pod), int(cost), -self.lives[pod["metadata"]["name"]].born

    def _fail(self, key: Key, deployment: Json, message: str) -> None:
        failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
        if deployment.setdefault("status", {}).get("conditions") != [failure]:
            deployment["status"]["conditions"] = [failure]
            self.objects.touched(key)

    def _make(self, holder: Json, name: str, template: Json, marks: Json) -> None:
        pod = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(template)}
        pod["metadata"]["labels"] |= marks
        pod["metadata"]["ownerReferences"] = [_owner(holder)]
        pod["status"] = {"phase": "Pending"}
        key = ("pods", holder["metadata"]["namespace"], name)
        self.lives[name] = Life(self.acts, time.monotonic())
        made = self.objects.create(key, pod, "kube-controller-manager")
        assert not (fault := published().faults(made)), fault

    def _live(self, key: Key, pod: Json) -> None:
        """Take a pod one step further."""
        life, at = self.lives[key[2]], time.monotonic()
        if life.ended:
            if at > life.ended + 0.03:
                self.objects.delete(key)
            return
        if not self._is_held(pod):
            self.delete(key)
        elif at >= life.next:
            self._step(key, pod, life, at)

    def _is_held(self, value: Json) -> bool:
        """Whether what made an object is there, and what made that."""
        for wanted in value["metadata"].get("ownerReferences", ()):
            found = [
                one
                for kind in ("deployments", "statefulsets", "jobs", "cronjobs")
                for _, one in self.objects.all(kind)
                if one["metadata"]["uid"] == wanted["uid"]
            ]
            if not any(self._is_held(one) for one in found):
                return False
        return True

    def _step(self, key: Key, pod: Json, life: Life, at: float) -> None:
        container = pod["spec"]["containers"][0]
        match life.step:
            case 0 if life.acts.unschedulable:
                unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
                pod["status"]["conditions"] = [{**unscheduled, "message": SCHEDULER_SAYS, "lastTransitionTime": now()}]
                life.next = at + 3600
            case 0:
                pod["spec"]["nodeName"] = NODE
                pod["status"] |= {"podIP": next(self._ips), "conditions": [_condition("Ready", False)]}
                waiting = {"reason": "ContainerCreating"}
                if container["image"] not in self.images:
                    waiting = {"reason": "ErrImagePull", "message": f"{container['image']}: not found"}
                self._state(pod, {"waiting": waiting})
                life.step = 1 if waiting["reason"] == "ContainerCreating" else 10
                life.next = at + 0.02
            case 1:
                pod["status"]["phase"] = "Running"
                self._state(pod, {"running": {"startedAt": now()}})
                life.lines += [(datetime.now(UTC), text) for text in life.acts.says]
                life.step, life.next = 2, at + 0.02
            case 2 if life.acts.exit_code is not None or life.acts.oom:
                code = 137 if life.acts.oom else life.acts.exit_code or 0
                self._end(key, code, "OOMKilled" if life.acts.oom else "Error" if code else "Completed")
                if pod["spec"]["restartPolicy"] == "Never" or (
                    pod["spec"]["restartPolicy"] == "OnFailure" and not code
                ):
                    pod["status"]["phase"] = "Failed" if code else "Succeeded"
                    life.step, life.next = 11, at + 3600
                life.step, life.next = 4 if _status(pod)["restartCount"] else 3, at + 0.2
                return
            case 2 if life.acts.answer:
                if life.told < 2:
                    life.told += 1
                    self._say(key, pod, f"Readiness probe failed: {life.acts.answer}")
                life.next = at + 2.1
                return
            case 2:
                self._ready(key, True)
                life.step, life.next = 5, at
                return
            case 3:
                status = _status(pod)
                status["restartCount"] += 1
                if "terminated" in status["state"]:
                    status["lastState"] = status["state"]
                self._state(pod, {"running": {"startedAt": now()}})
                life.step, life.next = 2, at + 0.05
            case 4:
                status = _status(pod)
                status["lastState"] = status["state"]
                said = f"back-off 10s restarting failed container=app pod={key[2]}"
                self._state(pod, {"waiting": {"reason": "CrashLoopBackOff", "message": said}})
                life.step, life.next = 3, at + 1.0
            case 5:
                if life.acts.answer and life.told < 2:
                    life.told += 1
                    self._say(key, pod, f"Readiness probe failed: {life.acts.answer}")
                    life.next = at + 2.1
                return
            case _:
                image = container["image"]
                said = f'Back-off pulling image "{image}": ErrImagePull: {image}: not found'
                self._state(pod, {"waiting": {"reason": "ImagePullBackOff", "message": said}})
                life.next = at + 3600
        self.objects.touched(key)

    def _end(self, key: Key, code: int, reason: str) -> None:
        pod = self.objects.held[key].value
        started = _status(pod)["state"].get("running", {}).get("startedAt", now())
        ended = {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now()}
        self._state(pod, {"terminated": ended})
        self.lives[key[2]].step = 3
        self._ready(key, False)

    def _ready(self, key: Key, ready: bool) -> None:
        pod = self.objects.held[key].value
        if _is_ready(pod) != ready:
            pod["status"]["conditions"] = [_condition("Ready", ready)]
        _status(pod)["ready"] = ready
        self.objects.touched(key)

    def _state(self, pod: Json, state: Json) -> None:
        image = pod["spec"]["containers"][0]["image"]
        fresh = {"name": "app", "ready": False, "restartCount": 0, "image": image, "imageID": image}
        statuses = pod["status"].setdefault("containerStatuses", [fresh])
        statuses[0]["state"] = state

    def _say(self, key: Key, pod: Json, message: str) -> None:
        self._tell(key, pod, "Unhealthy", message)

    def _tell(self, key: Key, about: Json, reason: str, message: str) -> None:
        self._serial += 1
        self.objects.create(
            ("events", key[1], f"{key[2]}.{self._serial:x}"),
            {
                "apiVersion": "v1",
                "kind": "Event",
                "type": "Warning",
                "reason": reason,
                "message": message,
                "involvedObject": {"kind": about["kind"], "name": key[2], "uid": about["metadata"]["uid"]},
            },
            "kubelet",
        )


def _owner(holder: Json) -> Json:
    """A reference to what made an object; of a Deployment, the ReplicaSet between them is left out."""
    api, kind, meta = holder["apiVersion"], holder["kind"], holder["metadata"]
    kind = "ReplicaSet" if kind == "Deployment" else kind
    return {"apiVersion": api, "kind": kind, "name": meta["name"], "uid": meta["uid"], "controller": True}


def _condition(name: str, holds: bool) -> Json:
    return {"type": name, "status": str(holds), "lastTransitionTime": now()}


def _is_ready(pod: Json) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))


def _status(pod: Json) -> Json:
    return pod["status"]["containerStatuses"][0]  # type: ignore[no-any-return]
