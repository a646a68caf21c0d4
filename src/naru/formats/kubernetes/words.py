"""What both directions share: names of the API, and its escaping of `$`."""

import re
from collections.abc import Mapping

NAME_LABEL = "app.kubernetes.io/name"
MANAGED_BY = "app.kubernetes.io/managed-by"
SECRET_KEY = "value"  # noqa: S105 - the name of a key
"""The key of a Secret that stands for a secret of Naru."""

_REFERENCE = re.compile(r"\$\$|\$\(([^()$]+)\)")


def escape(text: str) -> str:
    """Return text that Kubernetes expands to `text` (core/v1 EnvVar: `$$` is a dollar sign)."""
    return text.replace("$", "$$")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Return the text as Kubernetes expands it: `$(NAME)` is a variable's value, and itself where there is none."""
    return _REFERENCE.sub(lambda found: "$" if found[0] == "$$" else variables.get(found[1], found[0]), text)
