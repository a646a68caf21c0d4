"""Names of other worlds as Naru's: DNS labels."""

import re

from naru.domain import names


def as_label(name: str, what: str) -> str:
    """Return the name as a DNS label: lower case, hyphens for what a label cannot hold; raise Invalid without any."""
    label = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    if label and not label[0].isalpha():
        label = f"{what.split()[-1][0]}-{label}"
    return names.label(label, what)
