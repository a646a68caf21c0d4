"""Instances as containers of one Docker or Podman engine.

Talks to Docker 20.10 or later, and to Podman through its Docker-compatible socket. What Naru wants to remember of a
container is written on it as labels, so that nothing but the engine needs to be asked after a restart. It touches
only containers, networks and volumes that carry its labels.

`translate` says what both sides mean, `ledger` keeps what is known of the containers, `lookout` looks after them, and
`engine` does what it is told; what Swarm needs as well is in naru.engines.dockerapi.
"""

from naru.engines.docker.engine import DockerEngine, open_docker

__all__ = ["DockerEngine", "open_docker"]
