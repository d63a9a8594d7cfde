"""IAM policies of tables and routines, and who a data set lets in, by BigQuery's official client."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected

VIEWER = "roles/bigquery.dataViewer"


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    return connected(portico)


@pytest.fixture(scope="module")
def dataset(client: bigquery.Client) -> Any:
    made = client.create_dataset("with_policies", exists_ok=True)
    yield made
    client.delete_dataset(made, delete_contents=True, not_found_ok=True)


def test_a_tables_policy_is_kept_with_it(client: bigquery.Client, dataset: Any) -> None:
    answered(client, "CREATE TABLE with_policies.t AS SELECT 1 AS id")
    table = client.get_table("with_policies.t")
    policy = client.get_iam_policy(table)
    assert not policy.bindings and policy.etag
    policy.bindings.append({"role": VIEWER, "members": {"user:ann@example.com"}})
    made = client.set_iam_policy(table, policy)
    assert made.etag != policy.etag
    kept = client.get_iam_policy("with_policies.t")
    assert [(one["role"], set(one["members"])) for one in kept.bindings] == [
        (VIEWER, {"user:ann@example.com"})
    ]
    with pytest.raises(exceptions.Conflict):
        client.set_iam_policy(table, policy)
    told = client.test_iam_permissions(table, ["bigquery.tables.get", "bigquery.tables.getData"])
    assert told["permissions"] == ["bigquery.tables.get", "bigquery.tables.getData"]
    assert answered(client, "SELECT id FROM with_policies.t") == [(1,)]
    assert "_iam" not in str(client.get_table(table).to_api_repr())
    kept.bindings[0] = {"role": VIEWER, "members": ["nobody at all"]}
    with pytest.raises(exceptions.BadRequest, match="member"):
        client.set_iam_policy(table, kept)
    client.delete_table(table)
    with pytest.raises(exceptions.NotFound):
        client.get_iam_policy(table)
    answered(client, "CREATE TABLE with_policies.t AS SELECT 1 AS id")
    assert not client.get_iam_policy(table).bindings


def test_a_routine_and_a_row_access_policy_have_policies(client: bigquery.Client, dataset: Any) -> None:
    def ask(resource: str, method: str, data: Any = None) -> Any:
        path = f"/projects/{dataset.project}/datasets/{dataset.dataset_id}/{resource}:{method}"
        return client._connection.api_request(method="POST", path=path, data=data or {})

    answered(client, "CREATE FUNCTION with_policies.one() AS (1)")
    policy = {"bindings": [{"role": VIEWER, "members": ["allUsers"]}]}
    made = ask("routines/one", "setIamPolicy", {"policy": policy})
    assert made["bindings"] == policy["bindings"] and ask("routines/one", "getIamPolicy") == made
    answered(client, "CREATE OR REPLACE FUNCTION with_policies.one() AS (2)")
    assert ask("routines/one", "getIamPolicy")["bindings"] == policy["bindings"]
    assert "_iam" not in str(client.get_routine("with_policies.one").to_api_repr())
    assert ask("routines/one", "testIamPermissions", {"permissions": ["a.b.c"]}) == {"permissions": ["a.b.c"]}
    with pytest.raises(exceptions.NotFound):
        ask("routines/none", "getIamPolicy")
    answered(client, "CREATE TABLE with_policies.rows AS SELECT 1 AS id")
    answered(
        client,
        "CREATE ROW ACCESS POLICY mine ON with_policies.rows GRANT TO ('allUsers') FILTER USING (id = 1)",
    )
    told = ask("tables/rows/rowAccessPolicies/mine", "getIamPolicy")
    assert told["bindings"] == [{"role": "roles/bigquery.filteredDataViewer", "members": ["allUsers"]}]
    with pytest.raises(exceptions.NotFound):
        ask("tables/rows/rowAccessPolicies/none", "testIamPermissions", {"permissions": ["a.b.c"]})


def test_a_data_set_says_who_is_let_in(client: bigquery.Client, dataset: Any) -> None:
    answered(client, "CREATE OR REPLACE VIEW with_policies.v AS SELECT 1 AS id")
    place = {"projectId": dataset.project, "datasetId": dataset.dataset_id}
    view = bigquery.AccessEntry(None, "view", {**place, "tableId": "v"})
    reader = bigquery.AccessEntry("READER", "userByEmail", "ann@example.com")
    whole = bigquery.AccessEntry(None, "dataset", {"dataset": place, "targetTypes": ["VIEWS"]})
    found = client.get_dataset(dataset)
    found.access_entries = [view, reader, whole]
    client.update_dataset(found, ["access_entries"])
    kept = client.get_dataset(dataset)
    assert [one.entity_type for one in kept.access_entries] == ["view", "userByEmail", "dataset"]
    assert kept.access_entries[1].role == "READER"
    for entry in (
        bigquery.AccessEntry(None, "view", {**place, "tableId": "none"}),
        bigquery.AccessEntry(
            None, "dataset", {"dataset": {**place, "datasetId": "none"}, "targetTypes": ["VIEWS"]}
        ),
    ):
        kept.access_entries = [entry]
        with pytest.raises(exceptions.NotFound):
            client.update_dataset(kept, ["access_entries"])
    path = f"/projects/{dataset.project}/datasets/{dataset.dataset_id}"
    for wrong in (
        {"role": "READER"},
        {"userByEmail": "a@b.c"},
        {"role": "READER", "domain": "a.b", "iamMember": "x"},
    ):
        with pytest.raises(exceptions.BadRequest, match="access entry"):
            client._connection.api_request(method="PATCH", path=path, data={"access": [wrong]})
