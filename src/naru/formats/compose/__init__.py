"""Compose files (Compose specification, as of its schema with `models` and `provider`): a project as apps, and back."""

from naru.formats.compose.files import Ask
from naru.formats.compose.project import Project, StoredFile, read_project

__all__ = ["Ask", "Project", "StoredFile", "read_project"]
