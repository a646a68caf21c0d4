"""The program: the command line, and the only place where the rooms are wired together."""

from naru.main.program import cli

__all__ = ["cli"]
