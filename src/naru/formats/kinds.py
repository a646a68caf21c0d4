"""The formats of this room."""

from enum import StrEnum


class Format(StrEnum):
    """The formats that apps are read from and written to."""

    COMPOSE = "compose"
    KUBERNETES = "kubernetes"
    MARATHON = "marathon"
