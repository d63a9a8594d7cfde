"""What is done is in the audit log, in the shape of Cloud Audit Logs, by the transaction that does it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import httplib2
import pytest
from google.api_core.exceptions import NotFound
from google.cloud import bigquery, storage
from googleapiclient import discovery, errors
from tests.services.iam.test_permissions import Someone
from tests.services.iam.test_permissions import client as client_of
from tests.waiting import until

from portico.ids import project_number
from portico.services.audit.entry import shown

PROJECT = "audited-project"
PARENT = f"projects/{PROJECT}/locations/us-central1"
OWNER = "developer@portico.iam.gserviceaccount.com"


@pytest.fixture
def logs(portico: Any) -> Any:
    options = {"api_endpoint": f"{portico.url}/apis/logging/"}
    return discovery.build("logging", "v2", http=httplib2.Http(), client_options=options)


def found(logs: Any, filter: str, project: str = PROJECT) -> list[dict[str, Any]]:
    body = {"resourceNames": [f"projects/{project}"], "filter": filter, "orderBy": "timestamp asc"}
    return list(logs.entries().list(body=body).execute().get("entries", []))


def methods(logs: Any, resource: str) -> list[str]:
    every = found(logs, f'protoPayload.resourceName="{resource}"')
    return [one["protoPayload"]["methodName"].rpartition(".")[2] for one in every]


def test_a_change_is_one_entry_that_names_who_what_and_how(aiplatform, logs):
    endpoint = aiplatform.Endpoint.create("audited", project=PROJECT, location="us-central1")
    [entry] = found(logs, f'protoPayload.resourceName="{endpoint.resource_name}"')
    told = entry["protoPayload"]
    assert told["@type"] == "type.googleapis.com/google.cloud.audit.AuditLog"
    assert told["methodName"] == "google.cloud.aiplatform.v1.EndpointService.CreateEndpoint"
    assert told["serviceName"] == "aiplatform.googleapis.com"
    assert told["authenticationInfo"] == {"principalEmail": OWNER}
    assert told["request"]["displayName"] == "audited"
    assert "status" not in told
    assert entry["logName"] == f"projects/{PROJECT}/logs/cloudaudit.googleapis.com%2Factivity"
    assert entry["severity"] == "NOTICE"
    assert entry["resource"]["labels"]["method"] == told["methodName"]
    endpoint.update(display_name="other")
    endpoint.delete()
    assert methods(logs, endpoint.resource_name) == ["CreateEndpoint", "UpdateEndpoint", "DeleteEndpoint"]


def test_what_fails_is_told_with_its_status_and_reading_is_not_told(aiplatform, logs):
    client = aiplatform.Endpoint._empty_constructor(project=PROJECT, location="us-central1").api_client
    with pytest.raises(NotFound):
        client.delete_endpoint(name=f"{PARENT}/endpoints/404404")
    [entry] = found(logs, f'protoPayload.resourceName="{PARENT}/endpoints/404404"')
    assert entry["severity"] == "ERROR"
    assert entry["protoPayload"]["status"]["code"] == 5
    with pytest.raises(NotFound):
        client.get_endpoint(name=f"{PARENT}/endpoints/404405")
    assert methods(logs, f"{PARENT}/endpoints/404405") == []


def test_buckets_and_tables_are_configuration_and_their_contents_are_not(portico, logs):
    storage_client = storage.Client(project=PROJECT)
    bucket = storage_client.create_bucket("audited-bucket")
    bucket.blob("it").upload_from_string(b"x")
    bucket.labels = {"a": "b"}
    bucket.patch()
    bucket.delete(force=True)
    assert methods(logs, "projects/_/buckets/audited-bucket") == ["insert", "patch", "delete"]
    assert methods(logs, "projects/_/buckets/audited-bucket/objects/it") == []
    client = bigquery.Client(project=PROJECT, client_options={"api_endpoint": portico.url})
    client.create_dataset("audited_data")
    client.create_table(bigquery.Table(f"{PROJECT}.audited_data.t", [bigquery.SchemaField("a", "INT64")]))
    client.delete_dataset("audited_data", delete_contents=True)
    name = f"projects/{PROJECT}/datasets/audited_data"
    assert methods(logs, name) == ["InsertDataset", "DeleteDataset"]
    assert methods(logs, f"{name}/tables/t") == ["InsertTable"]


def test_access_to_data_is_told_where_the_projects_policy_asks_for_it(portico, logs):
    project = "audited-access"
    options = {"api_endpoint": f"{portico.url}/apis/cloudresourcemanager/"}
    manager = discovery.build("cloudresourcemanager", "v3", http=httplib2.Http(), client_options=options)
    policy = manager.projects().getIamPolicy(resource=f"projects/{project}", body={}).execute()
    policy["auditConfigs"] = [
        {"service": "storage.googleapis.com", "auditLogConfigs": [{"logType": "DATA_READ"}]},
        {"service": "bigquery.googleapis.com", "auditLogConfigs": [
            {"logType": "DATA_WRITE", "exemptedMembers": [f"serviceAccount:{OWNER}"]}]},
    ]  # fmt: skip
    manager.projects().setIamPolicy(resource=f"projects/{project}", body={"policy": policy}).execute()
    assert manager.projects().getIamPolicy(resource=f"projects/{project}", body={}).execute()["auditConfigs"]
    bucket = storage.Client(project=project).create_bucket("audited-access")
    bucket.blob("it").upload_from_string(b"x")

    def read() -> list[str]:
        bucket.blob("it").download_as_bytes()
        every = found(logs, 'logName:"data_access"', project)
        return [one["protoPayload"]["resourceName"] for one in every]

    told = until(read, "an entry of the reading")
    assert set(told) == {"projects/_/buckets/audited-access/objects/it"}
    [entry, *_] = found(logs, 'logName:"data_access"', project)
    assert entry["severity"] == "INFO"
    assert entry["protoPayload"]["authorizationInfo"][0]["permission"] == "storage.objects.get"
    who_reads_entries(portico, manager, project)
    client = bigquery.Client(project=project, client_options={"api_endpoint": portico.url})
    client.query("SELECT 1").result()
    assert not found(
        logs, 'logName:"data_access" AND protoPayload.serviceName="bigquery.googleapis.com"', project
    )
    policy = manager.projects().getIamPolicy(resource=f"projects/{project}", body={}).execute()
    policy["auditConfigs"] = [{"service": "storage", "auditLogConfigs": [{"logType": "DATA_READ"}]}]
    with pytest.raises(errors.HttpError, match="allServices"):
        manager.projects().setIamPolicy(resource=f"projects/{project}", body={"policy": policy}).execute()


def who_reads_entries(portico: Any, manager: Any, project: str) -> None:
    """A viewer sees what was changed; who read what is for who may see private entries."""
    who = Someone(portico, client_of(portico, "iam", "v1"), project, "reader")
    asked = {"resourceNames": [f"projects/{project}"], "filter": 'logName:"cloudaudit"'}
    for role, sees in (("viewer", {"activity"}), ("logging.privateLogViewer", {"activity", "data_access"})):
        policy = manager.projects().getIamPolicy(resource=f"projects/{project}", body={}).execute()
        policy["bindings"].append({"role": f"roles/{role}", "members": [who.member]})
        manager.projects().setIamPolicy(resource=f"projects/{project}", body={"policy": policy}).execute()
        entries = who.ask("POST", "/apis/logging/v2/entries:list", asked).json()["entries"]
        assert {one["logName"].rpartition("%2F")[2] for one in entries} == sees


def test_secrets_are_not_kept_and_what_is_large_is_cut():
    secret = {"containerSpec": {"imageUri": "x", "env": [{"name": "A", "value": "b"}]}, "password": "hush"}
    assert shown({"spec": secret})["spec"]["password"] == "(not kept)"
    assert "truncated" in shown({"spec": "x" * 20_000})


def test_nobody_writes_or_deletes_an_audit_log(logs):
    name = f"projects/{PROJECT}/logs/cloudaudit.googleapis.com%2Factivity"
    entry = {"logName": name, "resource": {"type": "global"}, "textPayload": "it was not me"}
    with pytest.raises(errors.HttpError, match="audit log"):
        logs.entries().write(body={"entries": [entry]}).execute()
    with pytest.raises(errors.HttpError, match="audit log can't be deleted"):
        logs.projects().logs().delete(logName=name).execute()
    assert name in logs.projects().logs().list(parent=f"projects/{PROJECT}").execute()["logNames"]


def test_the_command_lists_verifies_and_exports(aiplatform, portico, bucket):
    endpoint = aiplatform.Endpoint.create("by command", project=PROJECT, location="us-central1")
    options = ["--home", str(portico.home)]
    listed = command("list", "--resource", endpoint.resource_name, "--project", PROJECT, *options)
    assert "EndpointService.CreateEndpoint" in listed
    assert OWNER in listed
    whole = command("verify", *options)
    assert "The audit log is whole" in whole
    known = whole.split()[-1]
    assert "is whole" in command("verify", "--expect", known, *options)
    command("export", "--to", f"gs://{bucket.name}/audit.jsonl", *options)
    lines = bucket.blob("audit.jsonl").download_as_text().splitlines()
    assert endpoint.resource_name in "".join(lines)
    number, _, digest = known.partition(":")
    assert json.loads(lines[int(number) - 1])["digest"] == digest
    command("export", "--to", "bq://audited_copy.activity", "--project", PROJECT, *options)
    client = bigquery.Client(project=PROJECT, client_options={"api_endpoint": portico.url})
    [row] = client.query_and_wait(
        "SELECT protopayload_auditlog.methodName AS method, timestamp, resource.labels.project_id AS project,"
        " protopayload_auditlog.authenticationInfo.principalEmail AS who,"
        " JSON_VALUE(protopayload_auditlog.requestJson, '$.displayName') AS called, entryNumber, entryDigest"
        f" FROM audited_copy.activity WHERE protopayload_auditlog.resourceName = '{endpoint.resource_name}'"
    )
    assert row.method.endswith(".CreateEndpoint") and row.who == OWNER and row.project == PROJECT
    assert row.called == "by command" and row.timestamp.year >= 2020
    assert json.loads(lines[row.entryNumber - 1])["digest"] == row.entryDigest


def command(*words: str) -> str:
    line = [sys.executable, "-m", "portico.cli.main", "audit", *words]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_project_named_by_number_is_the_same(portico, aiplatform, logs):
    endpoint = aiplatform.Endpoint.create("numbered", project=PROJECT, location="us-central1")
    number = project_number(PROJECT)
    numbered = endpoint.resource_name.replace(PROJECT, number)
    client = endpoint.api_client
    assert client.get_endpoint(name=numbered).name == endpoint.resource_name
    listed = client.list_endpoints(parent=f"projects/{number}/locations/us-central1")
    assert endpoint.resource_name in [one.name for one in listed]
    assert aiplatform.Endpoint(numbered).update(labels={"a": "b"}).labels == {"a": "b"}
    assert client.delete_endpoint(name=numbered).result() is not None
    assert methods(logs, endpoint.resource_name) == ["CreateEndpoint", "UpdateEndpoint", "DeleteEndpoint"]
    asked = f'protoPayload.resourceName="{endpoint.resource_name}"'
    assert found(logs, asked, project=number) == found(logs, asked)
    dataset = bigquery.Dataset(f"{number}.numbered")
    warehouse = bigquery.Client(project=PROJECT, client_options={"api_endpoint": portico.url})
    assert warehouse.create_dataset(dataset).project == PROJECT
