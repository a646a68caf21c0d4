"""Compose files (Compose specification, as of its schema with `models` and `provider`): a project as apps, and back."""

from naru.formats.compose.files import Ask
from naru.formats.compose.project import read_project
from naru.formats.compose.write import write_project

__all__ = ["Ask", "read_project", "write_project"]
