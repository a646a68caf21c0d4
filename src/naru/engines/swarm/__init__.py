"""Instances as services of a Docker Swarm, one service an instance.

Talks to a manager of Docker 20.10 or later. Swarm places and restarts; which instances there are is decided by Naru,
so that it can name the one that goes (docs/adr/0006). What Naru wants to remember is written on the services as
labels. It touches only services, secrets, networks and volumes that carry its labels.

`answers` is what the API answers beyond naru.engines.dockerapi, `translate` says what both sides mean, `lookout`
watches services, tasks and nodes, `ingress` knows why Swarm's own routing is not used, `wire` talks to the manager,
and `engine` does what it is told.
"""

from naru.engines.swarm.engine import SwarmEngine, open_swarm

__all__ = ["SwarmEngine", "open_swarm"]
