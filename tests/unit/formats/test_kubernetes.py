import textwrap

import pytest

from naru.domain.errors import Invalid
from naru.domain.kind import WorkloadKind
from naru.domain.workload import (
    Address,
    CommandCheck,
    Health,
    HttpCheck,
    Recreate,
    Resources,
    Restart,
    Rolling,
    SecretFile,
    TcpCheck,
    Volume,
    Workload,
)
from naru.formats.kubernetes import read_manifests
from naru.formats.kubernetes.words import escape, expand
from naru.formats.loss import Imported

SHOP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, namespace: prod}
spec:
  replicas: 3
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop, tier: web}}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
        - name: shop
          image: registry.example.org/shop:1
          command: [/bin/shop]
          args: ["--greeting=$(GREETING)", "--cash=$$5", "$(NOBODY)"]
          ports: [{name: web, containerPort: 8080}]
          env:
            - {name: GREETING, valueFrom: {configMapKeyRef: {name: settings, key: greeting}}}
            - {name: BOTH, value: "$(GREETING) again"}
          envFrom: [{configMapRef: {name: settings}, prefix: S_}]
          resources: {limits: {cpu: 500m, memory: 64Mi}, requests: {cpu: 100m}}
          readinessProbe: {httpGet: {path: /ok, port: web}, periodSeconds: 5, initialDelaySeconds: 3}
          volumeMounts:
            - {name: data, mountPath: /data}
            - {name: keys, mountPath: /run/keys, readOnly: true}
            - {name: conf, mountPath: /etc/shop.conf, subPath: shop.conf}
      volumes:
        - {name: data, persistentVolumeClaim: {claimName: shop-data}}
        - {name: keys, secret: {secretName: keys}}
        - {name: conf, configMap: {name: settings, items: [{key: conf, path: shop.conf}]}}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {type: LoadBalancer, selector: {app: shop}, ports: [{port: 80, targetPort: web}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello, conf: "a=1"}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
data: {private: aHVudGVyMg==}
stringData: {public: p}
"""


def deployment(container: str = "", pod: str = "", spec: str = "") -> Imported:
    return read_manifests(
        f"""
        apiVersion: apps/v1
        kind: Deployment
        metadata: {{name: shop}}
        spec:
          template:
            spec:
              containers: [{{name: c, image: i, ports: [{{containerPort: 80}}], {container}}}]
              {pod}
          {spec}
        """,
        "f.yaml",
    )


def lost(imported: Imported) -> set[str]:
    return {loss.what for loss in imported.losses}


def test_a_deployment_with_all_that_belongs_to_it_becomes_an_app():
    imported = read_manifests(SHOP, "shop.yaml")

    assert imported.workloads == (
        Workload(
            "shop",
            "registry.example.org/shop:1",
            8080,
            3,
            command=("/bin/shop",),
            arguments=("--greeting=hello", "--cash=$5", "$(NOBODY)"),
            environment={"S_greeting": "hello", "S_conf": "a=1", "GREETING": "hello", "BOTH": "hello again"},
            health=Health(HttpCheck("/ok"), interval=5.0, timeout=1.0, retries=3, start_period=3.0),
            resources=Resources(0.5, 64 << 20),
            volumes=(Volume("shop-data", "/data"),),
            secrets=(
                SecretFile("keys-private", "/run/keys/private"),
                SecretFile("keys-public", "/run/keys/public"),
                SecretFile("settings-conf", "/etc/shop.conf"),
            ),
            stop_grace=20.0,
            strategy=Rolling(1, 0),
            address=Address(port=80),
        ),
    )
    assert {file.name: file.value for file in imported.files} == {
        "keys-private": b"hunter2",
        "keys-public": b"p",
        "settings-conf": b"a=1",
    }
    assert lost(imported) == {"requests: cpu"}


def test_a_list_of_objects_is_read_as_its_items():
    text = "apiVersion: v1\nkind: List\nitems:\n" + "\n".join(
        f"- {{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{template: {{spec: "
        f"{{containers: [{{image: i, ports: [{{containerPort: 80}}]}}]}}}}}}}}"
        for name in ("a", "b")
    )

    assert [workload.app for workload in read_manifests(text, "f").workloads] == ["a", "b"]


@pytest.mark.parametrize(
    ("container", "health"),
    [
        ("", Health()),
        ("readinessProbe: {tcpSocket: {port: 80}}", Health(TcpCheck(), 10.0, 1.0, 3, 0.0)),
        ("livenessProbe: {exec: {command: [a, b]}}", Health(CommandCheck(("a", "b")), 10.0, 1.0, 3, 0.0)),
        (
            "readinessProbe: {httpGet: {port: 80}, failureThreshold: 5}, "
            "startupProbe: {httpGet: {port: 80}, failureThreshold: 30, periodSeconds: 2}",
            Health(HttpCheck("/"), 10.0, 1.0, 5, 60.0),
        ),
    ],
)
def test_probes_become_the_health_check(container: str, health: Health):
    assert deployment(container).workloads[0].health == health


@pytest.mark.parametrize(
    ("spec", "strategy"),
    [
        ("strategy: {type: Recreate}", Recreate()),
        ("replicas: 10", Rolling(3, 2)),
        ("replicas: 4\n          strategy: {rollingUpdate: {maxSurge: 50%, maxUnavailable: 0}}", Rolling(2, 0)),
        ("strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}", Rolling(0, 1)),
    ],
)
def test_strategies_are_rounded_as_kubernetes_rounds_them(spec: str, strategy: object):
    assert deployment(spec=spec).workloads[0].strategy == strategy


@pytest.mark.parametrize(
    ("container", "pod", "what"),
    [
        ("securityContext: {runAsUser: 1}", "", "securityContext: runAsUser"),
        ("lifecycle: {preStop: {exec: {command: [a]}}}", "", "lifecycle: preStop"),
        ("env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]", "", "IP"),
        ("env: [{name: P, valueFrom: {secretKeyRef: {name: s, key: p}}}]", "", "P"),
        ("envFrom: [{secretRef: {name: s}}]", "", "the variables of s"),
        ("readinessProbe: {grpc: {port: 80}}", "", "grpc"),
        ("readinessProbe: {tcpSocket: {port: 81}}", "", "a check of port 81"),
        ("", "initContainers: [{name: i, image: i}]", "initContainers"),
        ("", "nodeSelector: {disk: ssd}", "nodeSelector: disk"),
        ("", "hostNetwork: true", "hostNetwork"),
        ("volumeMounts: [{name: v, mountPath: /v}]", "volumes: [{name: v, emptyDir: {}}]", "emptyDir at /v"),
        ("volumeMounts: [{name: v, mountPath: /v}]", "volumes: [{name: v, hostPath: {path: /x}}]", "hostPath at /v"),
        ("volumeMounts: [{name: v, mountPath: /v}]", "volumes: [{name: v, secret: {secretName: s}}]", "the files of s"),
    ],
)
def test_what_has_no_place_in_an_app_is_reported(container: str, pod: str, what: str):
    assert what in lost(deployment(container, pod))


def test_objects_that_are_no_apps_are_reported():
    imported = read_manifests(SHOP + "---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: night}\n", "f")

    assert "DaemonSet" in lost(imported)


def test_jobs_and_schedules_are_apps_of_their_kinds():
    imported = read_manifests(
        textwrap.dedent(
            """\
            apiVersion: batch/v1
            kind: CronJob
            metadata: {name: night}
            spec:
              schedule: 30 4 * * *
              timeZone: Asia/Seoul
              jobTemplate: {spec: {backoffLimit: 0, template: {spec: {containers: [{name: a, image: i}]}}}}
            ---
            apiVersion: batch/v1
            kind: Job
            metadata: {name: crunch}
            spec: {completions: 5, template: {spec: {containers: [{name: a, image: i}]}}}
            ---
            apiVersion: apps/v1
            kind: Deployment
            metadata: {name: worker}
            spec: {template: {spec: {containers: [{name: a, image: i}]}}}
            """
        ),
        "jobs.yaml",
    )

    worker, crunch, night = imported.workloads
    assert (worker.kind, worker.port) == (WorkloadKind.WORKER, 0)
    assert (crunch.kind, crunch.replicas, crunch.restart) == (WorkloadKind.BATCH, 5, Restart.ON_FAILURE)
    assert (night.kind, night.schedule, night.restart) == (WorkloadKind.SCHEDULED, "30 4 * * *", Restart.NEVER)
    assert "timeZone: Asia/Seoul" in lost(imported)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a: 1", "no Kubernetes object"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}", "no Deployment"),
        (SHOP.replace("aHVudGVyMg==", "'!'"), "base64"),
        (SHOP.partition("---")[0].replace("ports: [{name: web, containerPort: 8080}]", ""), "port"),
        (SHOP.replace("500m", "half"), "no quantity"),
        (SHOP.replace("- {name: data, persistent", "- {name: other, persistent"), "which the pod does not have"),
        (SHOP.replace("key: conf, path", "key: absent, path"), "absent"),
        (SHOP.replace("containers:\n", "containers: []\n      x:\n"), "no container"),
    ],
)
def test_what_cannot_be_an_app_is_refused(text: str, match: str):
    with pytest.raises(Invalid, match=match):
        read_manifests(text, "f.yaml")


def test_dollar_signs_are_escaped_as_kubernetes_expands_them():
    assert expand(escape("$(A) $$ $5 $"), {"A": "1"}) == "$(A) $$ $5 $"
    assert expand("$(A)$(B)$$(A)", {"A": "1"}) == "1$(B)$(A)"
