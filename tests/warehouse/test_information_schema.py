# ruff: noqa: E501
"""INFORMATION_SCHEMA's views of jobs, sessions and privileges, and those that Portico has not."""

from __future__ import annotations

from typing import Any

import pytest

from portico.errors import InvalidArgument, PorticoError, Unimplemented
from portico.warehouse import catalog, iam_policies
from portico.warehouse.asked import Asked
from portico.warehouse.engine import Warehouse

BEGAN = 1_700_000_000_000


def jobs(what: str, **asked: str) -> list[dict[str, Any]]:
    """Two jobs of one session, the second of three seconds, and one of somebody else's."""
    return [
        {
            "configuration": {"jobType": "QUERY", "query": {"query": "SELECT 1"}}, "status": {"state": "DONE"},
            "jobReference": {"projectId": "p", "jobId": f"job{place}"}, "user_email": user,
            "statistics": {
                "creationTime": str(BEGAN + place * 60_000), "startTime": str(BEGAN + place * 60_000),
                "endTime": str(BEGAN + place * 60_000 + 2_000 * place),
                **({"sessionInfo": {"sessionId": session}} if session else {}),
            },
        }
        for place, (user, session) in enumerate([("ann", "s1"), ("ann", "s1"), ("bob", "")])
    ]  # fmt: skip


def rows(warehouse: Warehouse, text: str, caller: str = "ann") -> list[tuple[Any, ...]]:
    table = warehouse.run(text, Asked("p", "p.d", caller=caller, outside=jobs))[-1].rows
    assert table is not None
    return [tuple(row.values()) for row in table.to_pylist()]


def test_a_job_has_a_row_for_each_of_its_seconds(warehouse: Warehouse) -> None:
    text = "SELECT job_id, FORMAT_TIMESTAMP('%M:%S', period_start), state FROM `region-us`.INFORMATION_SCHEMA.{} ORDER BY 1, 2"
    ann = [
        ("job0", "13:20", "DONE"),
        ("job1", "14:20", "RUNNING"),
        ("job1", "14:21", "RUNNING"),
        ("job1", "14:22", "DONE"),
    ]
    assert rows(warehouse, text.format("JOBS_TIMELINE_BY_USER")) == ann
    assert (
        len(rows(warehouse, text.format("JOBS_TIMELINE")))
        == len(rows(warehouse, text.format("JOBS_TIMELINE_BY_PROJECT")))
        == 9
    )


def test_a_session_is_told_by_its_jobs(warehouse: Warehouse) -> None:
    text = (
        "SELECT session_id, principal_subject, is_active, last_modified_time - creation_time, "
        "TIMESTAMP_DIFF(expiration_time, last_modified_time, HOUR) FROM `region-us`.INFORMATION_SCHEMA.SESSIONS_BY_{}"
    )
    [(name, subject, active, lasted, idle)] = rows(warehouse, text.format("PROJECT"))
    assert (name, subject, active, lasted.nanoseconds, idle) == ("s1", "user:ann", False, 62 * 10**9, 24)
    assert rows(warehouse, text.format("USER"), "bob") == []
    warehouse.sessions.begin("s1", Asked("p", caller="ann", warehouse=warehouse))
    assert rows(warehouse, text.format("USER"))[0][2] is True
    warehouse.sessions.abort("s1", "ann")


def test_privileges_are_those_of_access_lists_and_policies(warehouse: Warehouse) -> None:
    warehouse.run("CREATE TABLE d.seen (a INT64)", Asked("p"))
    with warehouse.transaction() as cursor:
        held = catalog.require(cursor, "p", "d")
        held.body["access"] = [
            {"role": "OWNER", "specialGroup": "projectOwners"}, {"role": "READER", "userByEmail": "ann@x.org"},
            {"view": {"projectId": "p", "datasetId": "e", "tableId": "v"}},
        ]  # fmt: skip
        catalog.write(cursor, held)
        table = catalog.require(cursor, "p", "d", "seen")
        binding = {"role": "roles/bigquery.dataViewer", "members": ["group:all@x.org"]}
        iam_policies.put(table.body, {"bindings": [binding]}, "")
        catalog.write(cursor, table)
    text = "SELECT object_schema, object_name, object_type, privilege_type, grantee FROM `region-us`.INFORMATION_SCHEMA.OBJECT_PRIVILEGES WHERE 'd' IN (object_schema, object_name) ORDER BY 2, 4"
    assert rows(warehouse, text) == [
        (None, "d", "SCHEMA", "roles/bigquery.dataOwner", "projectOwner:p"),
        (None, "d", "SCHEMA", "roles/bigquery.dataViewer", "user:ann@x.org"),
        ("d", "seen", "TABLE", "roles/bigquery.dataViewer", "group:all@x.org"),
    ]


@pytest.mark.parametrize("name", [
    "JOBS_BY_ORGANIZATION", "JOBS_TIMELINE_BY_FOLDER", "BI_CAPACITIES", "RESERVATIONS_BY_PROJECT", "INSIGHTS",
    "STREAMING_TIMELINE_BY_PROJECT", "WRITE_API_TIMELINE", "TABLE_STORAGE_USAGE_TIMELINE", "SCHEMATA_LINKS",
    "EFFECTIVE_PROJECT_OPTIONS", "PROPERTY_GRAPHS",
])  # fmt: skip
def test_a_view_of_what_is_not_here_is_refused_with_the_reason(warehouse: Warehouse, name: str) -> None:
    with pytest.raises(Unimplemented, match=f"INFORMATION_SCHEMA.{name} is not built in Portico: "):
        rows(warehouse, f"SELECT * FROM `region-us`.INFORMATION_SCHEMA.{name}")


def test_a_view_that_nobody_knows_names_those_there_are(warehouse: Warehouse) -> None:
    with pytest.raises(
        InvalidArgument, match=r"it has COLUMNS, .*OBJECT_PRIVILEGES.*TABLE_STORAGE_BY_PROJECT"
    ):
        rows(warehouse, "SELECT * FROM `region-us`.INFORMATION_SCHEMA.NOTHING")


def test_grant_and_revoke_are_told_of_in_lists_and_policies(warehouse: Warehouse) -> None:
    def run(text: str) -> str:
        return warehouse.run(text, Asked("p", "p.d"))[-1].kind

    run("CREATE TABLE d.shared (a INT64)")
    run("CREATE VIEW d.looked AS SELECT 1 AS a")
    text = "GRANT `roles/bigquery.dataViewer`, `roles/bigquery.metadataViewer` ON TABLE d.shared TO 'user:ann@x.org', \"group:all@x.org\""
    assert run(text) == "GRANT_ON_TABLE" == run(text)
    assert (
        run("GRANT `roles/bigquery.dataOwner` ON VIEW looked TO 'serviceAccount:s@p.iam.gserviceaccount.com'")
        == "GRANT_ON_VIEW"
    )
    assert (
        run("REVOKE `roles/bigquery.dataViewer` ON TABLE d.shared FROM 'user:ann@x.org'") == "REVOKE_ON_TABLE"
    )
    assert run("GRANT `roles/bigquery.dataEditor` ON SCHEMA d TO 'domain:x.org'") == "GRANT_ON_SCHEMA"
    shown = "SELECT object_name, privilege_type, grantee FROM d.INFORMATION_SCHEMA.OBJECT_PRIVILEGES WHERE object_name IN ('shared', 'looked') OR grantee = 'domain:x.org' ORDER BY 1, 2, 3"
    assert rows(warehouse, shown) == [
        ("d", "roles/bigquery.dataEditor", "domain:x.org"),
        ("looked", "roles/bigquery.dataOwner", "serviceAccount:s@p.iam.gserviceaccount.com"),
        ("shared", "roles/bigquery.dataViewer", "group:all@x.org"),
        ("shared", "roles/bigquery.metadataViewer", "group:all@x.org"),
        ("shared", "roles/bigquery.metadataViewer", "user:ann@x.org"),
    ]
    assert run("REVOKE `roles/bigquery.dataEditor` ON SCHEMA d FROM 'domain:x.org'") == "REVOKE_ON_SCHEMA"
    assert len(rows(warehouse, shown)) == 4


@pytest.mark.parametrize(("text", "said"), [
    ("GRANT `roles/x` ON TABLE d.seen TO 'ann'", "Invalid user 'ann'"),
    ("GRANT `roles/x` ON PROJECT p TO 'user:a@x.org'", "PROJECT is not built"),
    ("GRANT `roles/x` ON VIEW d.seen TO 'user:a@x.org'", "is no VIEW"),
    ("GRANT `roles/x` ON TABLE d.nothing TO 'user:a@x.org'", "Not found: Table"),
    ("GRANT `roles/x` ON TABLE d.seen FROM 'user:a@x.org'", "Expected TO"),
])  # fmt: skip
def test_what_can_not_be_granted_is_said(warehouse: Warehouse, text: str, said: str) -> None:
    warehouse.run("CREATE TABLE IF NOT EXISTS d.seen (a INT64)", Asked("p"))
    with pytest.raises(PorticoError, match=said):
        warehouse.run(text, Asked("p", "p.d"))


@pytest.mark.parametrize("text", [
    "SELECT * FROM UNNEST([1]) AS x MATCH_RECOGNIZE (ORDER BY x MEASURES 1 AS m PATTERN (a) DEFINE a AS TRUE)",
    "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS (epsilon = 1, privacy_unit_column = x) COUNT(*) FROM UNNEST([1]) AS x",
    "SELECT WITH AGGREGATION_THRESHOLD OPTIONS (threshold = 2, privacy_unit_column = x) COUNT(*) FROM UNNEST([1]) AS x",
])  # fmt: skip
def test_a_clause_that_is_not_here_is_refused_by_its_name(warehouse: Warehouse, text: str) -> None:
    with pytest.raises(Unimplemented, match=r"^(MATCH_RECOGNIZE|WITH [A-Z_]+) is not built in Portico"):
        rows(warehouse, text)


@pytest.mark.parametrize(
    "view",
    ["`p.region-US.INFORMATION_SCHEMA.SCHEMATA`", "`p`.`region-US`.`INFORMATION_SCHEMA.SCHEMATA` AS v"],
)
def test_a_view_may_stand_in_one_pair_of_backticks(warehouse: Warehouse, view: str) -> None:
    assert ("d",) in rows(warehouse, f"SELECT schema_name FROM {view}")
