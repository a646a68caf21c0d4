"""Instances as tasks of Mesos, started by Marathon: a legacy engine, kept for those who still run it.

Talks to Marathon 1.5 or later. Each revision of an app is one Marathon application, `/naru/APP/REVISION`, so that
revisions stand side by side and Marathon's own rollouts, which can hang, are never needed. What Naru wants to
remember is written on the application as labels. It touches only applications below its own group that carry them.

`answers` is what the APIs answer, `translate` says what both sides mean, `wire` talks to Marathon and knows its locks,
`sandbox` reads what tasks wrote from the Mesos agents, and `engine` does what it is told.
"""

from naru.engines.marathon.engine import MarathonEngine, open_marathon

__all__ = ["MarathonEngine", "open_marathon"]
