import pytest

from naru.domain.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from naru.engines.kubernetes.answers import Status
from naru.engines.kubernetes.errors import Claim, Expired, claims, refusal


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (400, "bad", Invalid),
        (401, "Unauthorized", Forbidden),
        (403, 'pods is forbidden: User "naru" cannot list resource "pods"', Forbidden),
        (403, 'pods "x" is forbidden: exceeded quota: small', Conflict),
        (403, "unable to create new content in namespace naru because it is being terminated", Conflict),
        (404, 'deployments.apps "x" not found', NotFound),
        (409, "the object has been modified", Conflict),
        (410, "too old resource version", Expired),
        (422, "spec.replicas: Invalid value", Invalid),
        (429, "too many requests", Unavailable),
        (500, "etcdserver: request timed out", Unavailable),
        (503, "", Unavailable),
        (0, 'exec: "/bin/none": executable file not found in $PATH', Invalid),
        (0, "Only subprotocol v5.channel.k8s.io supports writing to stdin", Conflict),
    ],
)
def test_every_status_has_its_kind(code, message, kind):
    assert type(refusal("lab", Status(code=code, message=message))) is kind


def test_the_servers_patience_is_passed_on():
    status = Status.model_validate({"code": 429, "details": {"retryAfterSeconds": 7}})

    error = refusal("lab", status)

    assert isinstance(error, Unavailable)
    assert error.retry_after == 7


@pytest.mark.parametrize(
    ("message", "claim"),
    [
        ('conflict with "kubectl-edit" using apps/v1', Claim(".spec.replicas", "kubectl-edit", True)),
        ('conflict with "kubectl" with subresource "scale" using apps/v1', Claim(".spec.replicas", "kubectl", True)),
        ('conflict with "argocd"', Claim(".spec.replicas", "argocd", False)),
        (
            'conflict with "kube-controller-manager" with subresource "scale" using apps/v1',
            Claim(".spec.replicas", "kube-controller-manager", False),
        ),
    ],
)
def test_who_manages_a_field_is_read_from_the_conflict(message, claim):
    causes = [{"reason": "FieldManagerConflict", "message": message, "field": ".spec.replicas"}]

    assert claims(Status.model_validate({"code": 409, "details": {"causes": causes}})) == [claim]
