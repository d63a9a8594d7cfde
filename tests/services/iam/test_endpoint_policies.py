"""The policy of one endpoint, by Google's client: it lets somebody predict there and nowhere else."""

from __future__ import annotations

from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1beta1
from google.iam.v1 import policy_pb2
from tests.services.iam.test_permissions import Someone, iam  # noqa: F401
from tests.waiting import until

HERE = "projects/endpoint-policies/locations/us-central1"


def test_who_may_predict_at_one_endpoint(portico: Any, iam: Any) -> None:  # noqa: F811
    client = aiplatform_v1beta1.EndpointServiceClient(
        credentials=AnonymousCredentials(), transport="rest", client_options={"api_endpoint": portico.url}
    )
    someone = Someone(portico, iam, "endpoint-policies")

    def made(number: str) -> str:
        endpoint = {"display_name": number}
        return str(client.create_endpoint(parent=HERE, endpoint=endpoint, endpoint_id=number).result().name)

    def answered(name: str) -> int:
        return someone.ask("POST", f"/v1/{name}:predict", {"instances": [{}]}).status_code

    one, other = made("1001"), made("1002")
    assert [answered(one), answered(other)] == [403, 403]
    binding = policy_pb2.Binding(role="roles/aiplatform.user", members=[someone.member])
    policy = policy_pb2.Policy(bindings=[binding])
    client.set_iam_policy(request={"resource": one, "policy": policy})
    assert list(client.get_iam_policy(request={"resource": one}).bindings) == [binding]
    wanted = ["aiplatform.endpoints.predict", "aiplatform.endpoints.delete"]
    asked = {"resource": one, "permissions": wanted}
    assert list(client.test_iam_permissions(request=asked).permissions) == wanted
    # Nothing is deployed there: that is told to who may ask.
    assert [answered(one), answered(other)] == [400, 403]
    client.delete_endpoint(name=one).result()
    assert made("1001") == one
    assert not client.get_iam_policy(request={"resource": one}).bindings
    until(lambda: answered(one) == 403, "the fronts ask again")
