"""Which cluster, and as whom: an engine's URL and the kubeconfig that it names."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import yaml
from lightkube import KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from naru.domain import names
from naru.domain.errors import Invalid

NAMESPACE = "naru"
CLAIM_SIZE = "1Gi"
_FORM = "write kubernetes:///PATH/TO/KUBECONFIG?context=NAME&namespace=NAME, or kubernetes: for the default ones"
# lightkube takes a kubeconfig's shape for granted.
_MALFORMED = (KeyError, TypeError, AttributeError, ValueError, yaml.YAMLError, msgspec.ValidationError)


@dataclass(frozen=True, slots=True)
class Access:
    """A cluster, the account, and the namespace that holds everything; `claim_size` is the quantity of a volume.

    `expose` says whether apps are reached through the cluster too: empty for no, else see `ways.choose`. `carrier`
    names the image whose tar reads and writes volumes, empty for the app's own.
    """

    config: SingleConfig = field(repr=False)
    namespace: str = NAMESPACE
    claim_size: str = CLAIM_SIZE
    expose: str = ""
    carrier: str = ""

    @property
    def server(self) -> str:
        """The API server's URL."""
        return self.config.cluster.server


def access(url: str) -> Access:
    """Read an engine's URL and the kubeconfig behind it; raises Invalid when either cannot be used.

    Without a path: inside a pod its service account, else $KUBECONFIG, else ~/.kube/config.
    """
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    unknown = sorted(set(query) - {"context", "namespace", "volume-size", "expose", "carrier"})
    if parts.netloc or unknown:
        what = f"the host {parts.netloc}" if parts.netloc else ", ".join(unknown)
        raise Invalid(f"{url!r} says {what}, which means nothing here", _FORM)
    path, context = unquote(parts.path), query.get("context", [""])[0]
    try:
        config = (KubeConfig.from_file(Path(path)) if path else KubeConfig.from_env()).get(context or None)
    except (ConfigError, OSError, *_MALFORMED) as error:
        named = path or os.environ.get("KUBECONFIG") or "~/.kube/config"
        raise Invalid(f"the kubeconfig {named} cannot be used ({_told(error)})", _FORM) from error
    if config is None:
        raise Invalid("the kubeconfig names no context", _FORM)
    return Access(
        # lightkube insists on a user, although a proxy on this machine may need none.
        config=config if config.user else config._replace(user=User()),
        namespace=names.label(query.get("namespace", [NAMESPACE])[0], "a namespace"),
        claim_size=query.get("volume-size", [CLAIM_SIZE])[0],
        expose=query.get("expose", [""])[0],
        carrier=query.get("carrier", [""])[0],
    )


def _told(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)
