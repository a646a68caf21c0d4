"""Instances as pods of a Kubernetes cluster, in a namespace of Naru's and one for each project.

A revision of an app is a Deployment that never changes but in its count, so the cluster's own rollouts have nothing to
do: Naru moves the counts. Runs are Jobs, schedules CronJobs, instances of a stateful app StatefulSets of one.
Everything is written by server-side apply as the field manager `naru`, touches only objects that carry Naru's labels,
and leaves alone what others set.

`answers` is what the API answers, `naming` what things are called, `pods` what a pod is, `translate` what else Naru's
words are as objects, `ways` how the cluster leads to an app, `reading` what pods are in Naru's words, `errors` what
refusals mean, `access` which cluster a URL names; `transport` and `wire` talk to the API server, `reflector` follows
one kind of object, `mirror` keeps the picture of the pods, `making` makes and unmakes, and `engine` does what it is
told.
"""

from naru.engines.kubernetes.engine import KubernetesEngine, open_kubernetes

__all__ = ["KubernetesEngine", "open_kubernetes"]
