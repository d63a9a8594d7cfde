"""What callers may do in BigQuery: through its methods, through statements, and through its Storage API."""

from __future__ import annotations

import json
import time
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import bigquery, bigquery_storage_v1, storage
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport
from google.oauth2 import credentials as oauth2
from tests.services.iam.test_permissions import Someone, client

PROJECT = "guarded-sql"


@pytest.fixture(scope="module")
def iam(portico: Any) -> Any:
    return client(portico, "iam", "v1")


def sql(portico: Any, who: Someone | None = None) -> bigquery.Client:
    found = oauth2.Credentials(who.token) if who else None
    return bigquery.Client(PROJECT, found, client_options={"api_endpoint": portico.url})


@pytest.fixture(scope="module")
def secret(portico: Any) -> str:
    """The name of a table of the project."""
    dataset = f"d{time.time_ns()}"
    owner = sql(portico)
    owner.create_dataset(dataset)
    owner.query(f"CREATE TABLE {dataset}.secret AS SELECT 42 AS x").result()
    owner.query(f"CREATE VIEW {dataset}.shown AS SELECT * FROM {dataset}.secret").result()
    owner.query(
        f"CREATE FUNCTION {dataset}.f() AS ((SELECT MAX(x) FROM {PROJECT}.{dataset}.secret))"
    ).result()
    return f"{dataset}.secret"


@pytest.fixture
def who(portico: Any, iam: Any) -> Someone:
    return Someone(portico, iam, PROJECT, "analyst")


def give(portico: Any, who: Someone, *roles: str) -> None:
    projects = client(portico, "cloudresourcemanager", "v3").projects()
    policy = projects.getIamPolicy(resource=f"projects/{PROJECT}", body={}).execute()
    policy["bindings"] += [{"role": role, "members": [who.member]} for role in roles]
    projects.setIamPolicy(resource=f"projects/{PROJECT}", body={"policy": policy}).execute()


def test_who_may_only_run_jobs_reads_no_table(portico, who, secret):
    asked = sql(portico, who)
    with pytest.raises(exceptions.Forbidden, match=r"bigquery\.jobs\.create"):
        asked.query("SELECT 1").result()
    give(portico, who, "roles/bigquery.jobUser")
    assert [row.x for row in asked.query("SELECT 1 AS x").result()] == [1]
    dataset = secret.partition(".")[0]
    for text in (
        f"SELECT * FROM {secret}", f"SELECT * FROM {dataset}.shown", f"SELECT {dataset}.f()",
        f"SELECT * FROM {dataset}.nothing", f"SELECT * FROM {dataset}.INFORMATION_SCHEMA.TABLES",
        f"SELECT * FROM {dataset}.__TABLES__", "SELECT * FROM INFORMATION_SCHEMA.SCHEMATA",
        f"SELECT (SELECT COUNT(*) FROM {secret})", f"WITH a AS (SELECT * FROM {secret}) SELECT 1 FROM a",
        f"SELECT * FROM `{dataset}.s*`", f"SELECT * FROM {secret} FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()",
        f"BEGIN DECLARE n INT64; SET n = (SELECT MAX(x) FROM {secret}); SELECT n; END",
        f"EXECUTE IMMEDIATE 'SELECT * FROM {secret}'",
        f"INSERT INTO {secret} VALUES (1)", f"UPDATE {secret} SET x = 1 WHERE TRUE", f"DELETE FROM {secret} WHERE TRUE",
        f"TRUNCATE TABLE {secret}", f"DROP TABLE {secret}", f"DROP TABLE IF EXISTS {secret}",
        f"ALTER TABLE {secret} ADD COLUMN y INT64", f"CREATE TABLE {dataset}.mine AS SELECT 1 AS x",
        f"CREATE OR REPLACE TABLE {secret} AS SELECT 1 AS x", f"CREATE VIEW {dataset}.v AS SELECT 1 AS x",
        f"DROP VIEW {dataset}.shown", f"CREATE FUNCTION {dataset}.g() AS (1)", f"DROP FUNCTION {dataset}.f",
        f"CREATE SCHEMA {dataset}x", f"DROP SCHEMA {dataset} CASCADE",
        f"ALTER SCHEMA {dataset} SET OPTIONS (description = 'x')",
        f"CREATE ROW ACCESS POLICY p ON {secret} GRANT TO ('allUsers') FILTER USING (TRUE)",
        f"MERGE {secret} t USING (SELECT 1 AS x) s ON t.x = s.x WHEN MATCHED THEN DELETE",
        f"CREATE TABLE {dataset}.c CLONE {secret}", f"CREATE TABLE {dataset}.c COPY {secret}",
        f"CREATE TABLE {dataset}.c LIKE {secret}",
    ):  # fmt: skip
        with pytest.raises(exceptions.GoogleAPICallError) as refused:
            asked.query(text).result()
        assert refused.value.code == 403 and "Access Denied" in refused.value.message, text
    owner = sql(portico)
    assert [row.x for row in owner.query(f"SELECT * FROM {secret}").result()] == [42]
    with pytest.raises(exceptions.Forbidden):
        list(asked.list_rows(owner.get_table(secret)))
    with pytest.raises(exceptions.Forbidden):
        asked.query(
            "SELECT 1 AS x", bigquery.QueryJobConfig(destination=f"{PROJECT}.{dataset}.mine")
        ).result()
    with pytest.raises(exceptions.Forbidden):
        asked.copy_table(f"{PROJECT}.{secret}", f"{PROJECT}.{dataset}.mine").result()
    with pytest.raises(exceptions.Forbidden):
        asked.extract_table(f"{PROJECT}.{secret}", "gs://nobodys/x.csv").result()
    with pytest.raises(exceptions.Forbidden):
        asked.insert_rows_json(owner.get_table(secret), [{"x": 1}])


def test_a_viewer_reads_and_an_editor_writes(portico, who, secret):
    give(portico, who, "roles/bigquery.jobUser", "roles/bigquery.dataViewer")
    asked, dataset = sql(portico, who), secret.partition(".")[0]
    for text in (f"SELECT x FROM {secret}", f"SELECT x FROM {dataset}.shown", f"SELECT {dataset}.f() AS x"):
        assert [row.x for row in asked.query(text).result()] == [42]
    with pytest.raises(exceptions.Forbidden):
        asked.query(f"INSERT INTO {secret} VALUES (1)").result()
    give(portico, who, "roles/bigquery.dataEditor")
    asked.query(f"CREATE TABLE {dataset}.{who.email[:6]}_t AS SELECT x FROM {secret}").result()
    asked.query(f"DROP TABLE {dataset}.{who.email[:6]}_t").result()
    with pytest.raises(exceptions.Forbidden):
        asked.query(
            f"CREATE ROW ACCESS POLICY p ON {secret} GRANT TO ('allUsers') FILTER USING (TRUE)"
        ).result()


def test_an_editor_of_tables_gives_nobody_access_and_takes_no_dataset_away(portico, who, secret):
    """Asked where a statement is carried out: what a script puts together, a routine has or a comment splits is one,
    too."""
    give(portico, who, "roles/bigquery.jobUser", "roles/bigquery.dataEditor")
    asked, dataset = sql(portico, who), secret.partition(".")[0]
    grants = (
        f"GRANT `roles/bigquery.dataOwner` ON SCHEMA {dataset} TO '{who.member}'",
        f"GRANT `roles/bigquery.dataOwner` ON TABLE {secret} TO '{who.member}'",
        f"REVOKE `roles/bigquery.dataOwner` ON VIEW {dataset}.shown FROM 'user:a@example.com'",
        f"CREATE ROW ACCESS/**/POLICY p ON {secret} GRANT TO ('allUsers') FILTER USING (TRUE)",
        f"DROP ALL ROW ACCESS/**/POLICIES ON {secret}", f"DROP SCHEMA {dataset} CASCADE",
        f"ALTER SCHEMA {dataset} SET OPTIONS (description = 'x')",
    )  # fmt: skip
    for text in grants:
        split = f'EXECUTE IMMEDIATE CONCAT("{text[:2]}", "{text[2:]}")'
        asked.query(f"CREATE OR REPLACE PROCEDURE {dataset}.p() BEGIN {text}; END").result()
        for one in (text, split, f"CALL {dataset}.p()"):
            with pytest.raises(exceptions.Forbidden, match=r"Access Denied: .*bigquery\."):
                asked.query(one).result()
    asked.query(f"CREATE SCHEMA {dataset}_own").result()
    before = sql(portico).get_dataset(dataset).access_entries
    assert {one.entity_id for one in before} == {"projectOwners", "projectWriters", "projectReaders"}
    give(portico, who, "roles/bigquery.dataOwner")
    for text in (*grants[:2], *grants[3:5], grants[6], f"DROP SCHEMA {dataset}_own"):
        asked.query(text).result()
    entries = sql(portico).get_dataset(dataset).access_entries
    assert [one for one in entries if one in before] == before and len(entries) == len(before) + 1


def test_what_a_statement_only_reads_need_not_be_its_callers_to_change(portico, who, secret):
    give(portico, who, "roles/bigquery.jobUser", "roles/bigquery.dataViewer")
    owner, own = sql(portico), f"own_{time.time_ns()}"
    made = owner.create_dataset(own)
    made.access_entries = [*made.access_entries, bigquery.AccessEntry("WRITER", "userByEmail", who.email)]
    owner.update_dataset(made, ["access_entries"])
    asked = sql(portico, who)
    for text in (
        f"CREATE TABLE {own}.t AS SELECT x FROM {secret}", f"INSERT INTO {own}.t SELECT x + 1 FROM {secret}",
        f"DELETE FROM {own}.t WHERE x IN (SELECT x FROM {secret})",
        f"MERGE {own}.t AS t USING {secret} AS s ON t.x = s.x WHEN NOT MATCHED THEN INSERT ROW",
        f"BEGIN DECLARE n INT64; SET n = (SELECT MAX(x) FROM {secret}); INSERT INTO {own}.t VALUES (n); END",
    ):  # fmt: skip
        asked.query(text).result()
    assert sorted(row.x for row in asked.query(f"SELECT x FROM {own}.t").result()) == [42, 42, 43]
    for text in (
        f"INSERT INTO {secret} SELECT x FROM {own}.t", f"UPDATE {secret} SET x = 1 WHERE x IN (SELECT x FROM {own}.t)",
        f"CREATE OR REPLACE TABLE {secret} AS SELECT x FROM {secret}",
        f"MERGE {secret} AS t USING {own}.t AS s ON t.x = s.x WHEN MATCHED THEN DELETE",
        f"BEGIN SELECT x FROM {secret}; DELETE FROM {secret} WHERE TRUE; END",
    ):  # fmt: skip
        with pytest.raises(exceptions.GoogleAPICallError) as refused:
            asked.query(text).result()
        assert refused.value.code == 403, text


def test_a_models_answers_are_its_readers(portico, who, secret):
    dataset = secret.partition(".")[0]
    sql(portico).query(
        f"CREATE OR REPLACE MODEL {dataset}.m OPTIONS(model_type='linear_reg', input_label_cols=['y']) AS "
        "SELECT x, 2.0 * x AS y FROM UNNEST(GENERATE_ARRAY(1, 9)) x"
    ).result()
    give(portico, who, "roles/bigquery.jobUser")
    asked = sql(portico, who)
    answers = f"ML.PREDICT(MODEL {PROJECT}.{dataset}.m, (SELECT 3 AS x))"
    for text in (f"SELECT * FROM {answers}", f"CREATE TEMP TABLE t AS SELECT * FROM {answers}; SELECT * FROM t",
                 f"SELECT * FROM ML.WEIGHTS(MODEL {dataset}.m)",
                 f"SELECT * FROM ML.PREDICT(MODEL {dataset}.n, (SELECT 1))",
                 f"EXPORT MODEL {dataset}.m OPTIONS(uri='gs://nowhere/m')"):  # fmt: skip
        with pytest.raises(exceptions.Forbidden, match=r"bigquery\.models\.getData|storage\.objects"):
            asked.query(text).result()
    for text in (
        f"DROP MODEL {dataset}.m",
        f"ALTER MODEL {dataset}.m SET OPTIONS(description='mine')",
        f"CREATE OR REPLACE MODEL {dataset}.m OPTIONS(model_type='linear_reg') AS SELECT 1 label",
    ):
        with pytest.raises(exceptions.Forbidden, match=r"bigquery\.(models|tables)\."):
            asked.query(text).result()
    give(portico, who, "roles/bigquery.dataViewer")
    [row] = asked.query(f"SELECT * FROM {answers}").result()
    assert row.predicted_y == pytest.approx(6)
    with pytest.raises(exceptions.Forbidden, match=r"bigquery\.models\."):
        asked.query(f"DROP MODEL {dataset}.m").result()
    copied = f"{PROJECT}.{dataset}.m", f"{PROJECT}.{dataset}.n"
    with pytest.raises(exceptions.Forbidden, match=r"bigquery\.(models|tables)\.create"):
        asked.copy_table(*copied).result()
    give(portico, who, "roles/bigquery.dataEditor")
    asked.copy_table(*copied).result()
    assert asked.get_model(copied[1]).model_id == "n"


def test_files_are_read_as_the_caller(portico, who, secret):
    """A load or an external table is no way to an object that its caller may not read."""
    bucket = storage.Client("elsewhere").create_bucket(f"elsewhere-{time.time_ns()}")
    bucket.blob("a.csv").upload_from_string("x\n7\n")
    give(portico, who, "roles/bigquery.admin")
    asked, dataset, uri = sql(portico, who), secret.partition(".")[0], f"gs://{bucket.name}/a.csv"
    made = f"{dataset}.from_{time.time_ns()}"
    config = bigquery.LoadJobConfig(autodetect=True, source_format="CSV")
    for ask in (
        lambda: asked.load_table_from_uri(uri, f"{PROJECT}.{made}", job_config=config),
        lambda: asked.query(f"LOAD DATA INTO {made} (x INT64) FROM FILES (format='CSV', uris=['{uri}'])"),
        lambda: asked.query(f"CREATE EXTERNAL TABLE {made} (x INT64) OPTIONS (format='CSV', uris=['{uri}'])"),
        lambda: asked.query(
            f"EXPORT DATA OPTIONS (uri='gs://{bucket.name}/o*.csv', format='CSV') AS SELECT 1 AS x"
        ),
    ):
        with pytest.raises(exceptions.GoogleAPICallError) as refused:
            ask().result()
        assert refused.value.code == 403
    assert [one.name for one in bucket.list_blobs()] == ["a.csv"]


def test_the_storage_api_asks_too(portico, who, secret):
    """Reading and writing, by gRPC."""
    table = f"projects/{PROJECT}/datasets/{secret.replace('.', '/tables/')}"
    port = json.loads((portico.home / "run" / "address.json").read_text())["grpc"]
    shown = {"metadata": [("authorization", f"Bearer {who.token}")], "retry": None}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        reading = bigquery_storage_v1.BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
        writing = bigquery_storage_v1.BigQueryWriteClient(
            transport=BigQueryWriteGrpcTransport(channel=channel)
        )
        session = types.ReadSession(table=table, data_format=types.DataFormat.ARROW)
        asked = {"parent": f"projects/{PROJECT}", "read_session": session}
        with pytest.raises(exceptions.PermissionDenied):
            reading.create_read_session(**asked, **shown)
        give(portico, who, "roles/bigquery.readSessionUser")
        with pytest.raises(exceptions.PermissionDenied, match=r"bigquery\.tables\.getData"):
            reading.create_read_session(**asked, **shown)
        give(portico, who, "roles/bigquery.dataViewer")
        made = reading.create_read_session(**asked, **shown)
        assert sum(page.row_count for page in reading.read_rows(made.streams[0].name, **shown)) == 1
        for ask in (
            lambda: writing.create_write_stream(parent=table, write_stream={"type_": "COMMITTED"}, **shown),
            lambda: writing.get_write_stream(name=f"{table}/streams/_default", **shown),
            lambda: list(
                writing.append_rows(
                    iter([types.AppendRowsRequest(write_stream=f"{table}/streams/_default")]), **shown
                )
            ),
        ):
            with pytest.raises(exceptions.PermissionDenied, match=r"bigquery\.tables\.updateData"):
                ask()


def test_jobs_are_their_callers(portico, who, iam, secret):
    other = Someone(portico, iam, PROJECT, "analyst")
    give(portico, who, "roles/bigquery.jobUser")
    give(portico, other, "roles/bigquery.jobUser")
    job = sql(portico, who).query("SELECT 1 AS x")
    job.result()
    assert sql(portico, who).get_job(job.job_id).state == "DONE"
    with pytest.raises(exceptions.Forbidden):
        sql(portico, other).get_job(job.job_id)
    path = f"/bigquery/v2/projects/{PROJECT}/queries/{job.job_id}"
    assert other.ask("GET", path).status_code == 403 and who.ask("GET", path).status_code == 200


def test_data_sets_and_tables_say_who_may_read(portico, who, secret):
    """`access` of a data set, and the policy of a table."""
    give(portico, who, "roles/bigquery.jobUser")
    owner, asked = sql(portico), sql(portico, who)
    names = [f"d{time.time_ns()}_{one}" for one in ("by_access", "by_policy")]
    for name in names:
        owner.create_dataset(name)
        owner.query(f"CREATE TABLE {name}.t AS SELECT 7 AS x").result()
        with pytest.raises(exceptions.Forbidden):
            asked.query(f"SELECT x FROM {name}.t").result()

    dataset = owner.get_dataset(names[0])
    entry = bigquery.AccessEntry("READER", "userByEmail", who.email)
    dataset.access_entries = [*dataset.access_entries, entry]
    dataset = owner.update_dataset(dataset, ["access_entries"])
    assert [row.x for row in asked.query(f"SELECT x FROM {names[0]}.t").result()] == [7]
    with pytest.raises(exceptions.Forbidden):
        asked.query(f"DELETE FROM {names[0]}.t WHERE TRUE").result()
    dataset.access_entries = [one for one in dataset.access_entries if one != entry]
    owner.update_dataset(dataset, ["access_entries"])
    with pytest.raises(exceptions.Forbidden):
        asked.query(f"SELECT x FROM {names[0]}.t").result()

    table = f"{PROJECT}.{names[1]}.t"
    policy = owner.get_iam_policy(table)
    policy.bindings = [{"role": "roles/bigquery.dataViewer", "members": {who.member}}]
    owner.set_iam_policy(table, policy)
    assert [row.x for row in asked.query(f"SELECT x FROM {names[1]}.t").result()] == [7]
    assert asked.test_iam_permissions(table, ["bigquery.tables.getData", "bigquery.tables.delete"]) == {
        "permissions": ["bigquery.tables.getData"]
    }


def test_editors_of_a_project_write_into_its_data_sets(portico, who, secret):
    give(portico, who, "roles/editor")
    dataset = secret.partition(".")[0]
    asked = sql(portico, who)
    assert [row.x for row in asked.query(f"SELECT x FROM {secret}").result()] == [42]
    asked.query(f"CREATE TABLE {dataset}.of_editor AS SELECT x FROM {secret}").result()
    asked.query(f"DROP TABLE {dataset}.of_editor").result()
