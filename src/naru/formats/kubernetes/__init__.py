"""Kubernetes manifests (the API of Kubernetes 1.36): Deployments and what belongs to them as apps, and back."""

from naru.formats.kubernetes.read import read_manifests
from naru.formats.kubernetes.write import write_manifests

__all__ = ["read_manifests", "write_manifests"]
