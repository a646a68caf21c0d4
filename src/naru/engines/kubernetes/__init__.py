"""Instances as pods of one namespace of a Kubernetes cluster.

A revision of an app is a Deployment that never changes but in its count, so the cluster's own rollouts have nothing to
do: Naru moves the counts. Everything is written by server-side apply as the field manager `naru`, touches only objects
that carry Naru's labels, and leaves alone what others set.

`answers` is what the API answers, `translate` says what Naru's words are as objects, `reading` what pods are in
Naru's words, `errors` what refusals mean, `access` which cluster a URL names; `wire` talks to the API server,
`reflector` follows one kind of object, `mirror` keeps the picture of the pods, and `engine` does what it is told.
"""

from naru.engines.kubernetes.engine import KubernetesEngine, open_kubernetes

__all__ = ["KubernetesEngine", "open_kubernetes"]
