"""Naru takes a container image to running, proven, watched instances."""

from typing import Final

VERSION: Final = "0.1.0"
