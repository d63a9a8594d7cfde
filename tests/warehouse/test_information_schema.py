# ruff: noqa: E501
"""INFORMATION_SCHEMA's views of jobs, sessions and privileges, and those that Portico has not."""

from __future__ import annotations

from typing import Any

import pytest

from portico.errors import InvalidArgument, Unimplemented
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
