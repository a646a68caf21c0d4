"""Marathon's app definitions (its AppDefinition JSON schema, version 1.7): apps of Mesos, in and out."""

from naru.formats.marathon.read import read_apps
from naru.formats.marathon.write import write_app

__all__ = ["read_apps", "write_app"]
