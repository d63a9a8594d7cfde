"""Cloud Logging's API, by Google's own client for it."""

from __future__ import annotations

import functools
import json
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import googleapiclient
import pytest
from googleapiclient import discovery, errors
from tests.services.aiplatform.test_custom_jobs import plain
from tests.waiting import until

from portico.errors import InvalidArgument
from portico.jobs import lines
from portico.services.logging.entries import _page
from portico.services.logging.query import Query, compile_query
from portico.services.logging.streams import Stream, in_order
from portico.services.standard.fields import FieldTypes

OWNER = "projects/logging-project"


@pytest.fixture
def entries(portico: Any) -> Any:
    import httplib2

    options = {"api_endpoint": f"{portico.url}/apis/logging/"}
    return discovery.build("logging", "v2", http=httplib2.Http(), client_options=options).entries()


def listed(entries: Any, filter: str, **options: Any) -> list[dict[str, Any]]:
    """All pages."""
    body = {"resourceNames": [OWNER], "filter": filter, **options}
    found: list[dict[str, Any]] = []
    while True:
        answer = entries.list(body=body).execute()
        found += answer.get("entries", [])
        if not answer.get("nextPageToken"):
            return found
        body["pageToken"] = answer["nextPageToken"]


def write(entries: Any, log: str, *written: dict[str, Any], **options: Any) -> Any:
    body = {
        "logName": f"{OWNER}/logs/{log}", "resource": {"type": "global"}, "entries": list(written), **options,
    }  # fmt: skip
    return entries.write(body=body).execute()


def test_what_is_written_is_listed_in_pages_and_both_orders(entries):
    start = datetime.now(UTC) - timedelta(minutes=5)
    times = [(start + timedelta(seconds=number // 2)).isoformat() for number in range(7)]
    made = [{"textPayload": f"line {n}", "timestamp": at, "insertId": f"{n}"} for n, at in enumerate(times)]
    write(entries, "pages", *made, labels={"who": "me"})
    write(
        entries, "pages", {"textPayload": "again", "timestamp": times[0], "insertId": "0"}
    )  # is the same entry
    name = f'logName="{OWNER}/logs/pages"'
    words = [f"line {n}" for n in range(7)]
    assert [one["textPayload"] for one in listed(entries, name, pageSize=2)] == words
    assert [
        one["textPayload"] for one in listed(entries, name, pageSize=3, orderBy="timestamp desc")
    ] == words[::-1]
    later = listed(entries, f'{name} AND timestamp>"{times[3]}"')
    assert [one["textPayload"] for one in later] == words[4:]
    assert later[0]["labels"] == {"who": "me"}
    assert later[0]["resource"] == {"type": "global", "labels": {"project_id": "logging-project"}}


def test_a_log_is_listed_and_deleted(portico, entries):
    import httplib2

    options = {"api_endpoint": f"{portico.url}/apis/logging/"}
    logs = discovery.build("logging", "v2", http=httplib2.Http(), client_options=options).projects().logs()
    write(entries, "goes", {"jsonPayload": {"a": 1}})
    name = f"{OWNER}/logs/goes"
    assert name in logs.list(parent=OWNER).execute()["logNames"]
    logs.delete(logName=name).execute()
    assert name not in logs.list(parent=OWNER).execute().get("logNames", [])
    with pytest.raises(errors.HttpError) as refused:
        logs.delete(logName=name).execute()
    assert refused.value.status_code == 404


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"logName": "nowhere"}, "entries[0].logName"),
        ({"resource": {"labels": {}}}, "entries[0].resource.type"),
        ({"textPayload": "a", "jsonPayload": {}}, "entries[0]"),
        ({"textPayload": "a" * 300_000}, "entries[0]"),
    ],
)
def test_a_bad_entry_is_named(entries, entry, field):
    with pytest.raises(errors.HttpError) as refused:
        write(entries, "bad", entry)
    assert refused.value.status_code == 400 and field in refused.value.reason
    body = {"logName": f"{OWNER}/logs/partly", "resource": {"type": "global"}, "partialSuccess": True}
    with pytest.raises(errors.HttpError):
        entries.write(body={**body, "entries": [entry, {"textPayload": field}]}).execute()
    assert listed(entries, f'log_id("partly") AND textPayload="{field}"')


ENTRY = {
    "logName": "projects/p/logs/workerpool0-0",
    "severity": "ERROR",
    "timestamp": "2026-03-01T10:00:00.5Z",
    "resource": {"type": "ml_job", "labels": {"job_id": "123", "task_name": "workerpool0-0"}},
    "jsonPayload": {"message": "Loss is NaN (step 7)", "attrs": {"tag": "a.b"}, "step": 7},
    "labels": {"ml.googleapis.com/trial_id": "4"},
}


@functools.cache
def fields() -> FieldTypes:
    """Those of a LogEntry, from its document."""
    folder = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    return FieldTypes(json.loads((folder / "logging.v2.json").read_text())["schemas"], "LogEntry")


@pytest.mark.parametrize(
    ("filter", "passes"),
    [
        ("", True),
        ('resource.type="ml_job" AND resource.labels.job_id="123"', True),
        ('resource.type = "ml_job" resource.labels.job_id = "124"', False),
        ("severity>=WARNING", True),
        ("severity < error", False),
        ("severity=(INFO OR ERROR)", True),
        ("severity=(INFO OR DEBUG)", False),
        ('timestamp>"2026-03-01T10:00:00Z" timestamp<="2026-03-01T10:00:00.500Z"', True),
        ('timestamp>"2026-03-01T10:00:00.5+0000"', False),
        ("NaN", True),
        ('"loss is nan"', True),
        ("nothing", False),
        ("NOT nothing", True),
        ("-NaN", False),
        ("jsonPayload.message:step", True),
        ("jsonPayload.message=step", False),
        (r'jsonPayload.message=~"step \d"', True),
        (r'jsonPayload.message!~"^step"', True),
        ("jsonPayload.step>6.5", True),
        ("jsonPayload.step=7", True),
        ("jsonPayload.attrs.tag:*", True),
        ("jsonPayload.attrs.other:*", False),
        ("jsonPayload.other!=x", True),
        ('labels."ml.googleapis.com/trial_id"="4"', True),
        ("resource.labels.job_id=(1 OR 2 OR 123)", True),
        ("severity=INFO OR severity=ERROR AND resource.type=ml_job", True),
        ("(severity=INFO AND NaN) OR (nothing)", False),
        ('log_id("workerpool0-0")', True),
        ('SEARCH("loss step")', True),
        ("severity=ERROR -- what matters\nAND NaN", True),
    ],
)
def test_the_query_language(filter, passes):
    assert compile_query(filter, fields()).passes(ENTRY) is passes


@pytest.mark.parametrize(
    ("filter", "says"),
    [
        ("severity=LOUD", "no severity"),
        ('timestamp>"yesterday"', "position 11"),
        ("nofield=1", "no field 'nofield'"),
        ("(severity=INFO", "not closed"),
        ('textPayload=~"("', "no regular expression"),
        ("sample(insertId, 0.5)", "not known here"),
        ("severity=", "value is expected"),
    ],
)
def test_a_bad_query_says_where(filter, says):
    with pytest.raises(InvalidArgument, match=says) as refused:
        compile_query(filter, fields())
    assert refused.value.violations[0].field == "filter"


def test_only_what_can_pass_is_read():
    query = compile_query(
        'resource.labels.job_id="7" timestamp>="2026-01-01T00:00:00Z" (severity=INFO)', fields()
    )
    assert query.equal == {"resource.labels.job_id": "7"} and query.since == 1767225600.0
    assert compile_query('resource.labels.job_id="7" OR NaN', fields()).equal == {}
    assert compile_query('NOT resource.labels.job_id="7"', fields()).equal == {}


def test_an_entrys_own_values_say_whether_it_may_be_wanted():
    query = compile_query('log_id("a/b") AND resource.labels.job_id="7"', fields())
    assert query.may_want({"resource.labels.job_id": "7"}, "projects/p/logs/a%2Fb")
    assert not query.may_want({}, "projects/p/logs/a")
    assert not query.may_want({"resource.labels.job_id": "8"})
    assert not compile_query('log_id("a") OR log_id("b")', fields()).may_want({}, "projects/p/logs/c")
    assert compile_query('log_id("a") OR NaN', fields()).may_want({}, "projects/p/logs/c")


@pytest.mark.parametrize(
    ("filter", "may"),
    [
        ('logName:"cloudaudit.googleapis.com"', False),
        ('logName:"access"', True),
        ('logName=("projects/p/logs/a" OR "projects/p/logs/b")', False),
        ('NOT logName:"access"', False),
        ('logName!~"access$" severity=INFO', False),
        ('(logName:"access" OR severity=ERROR) AND resource.type=global', False),
        ('logName:"audit" OR severity=ERROR', True),
        ('SEARCH("audit")', True),
    ],
)
def test_any_part_of_a_query_that_a_log_alone_answers_spares_its_reading(filter, may):
    query = compile_query(filter, fields())
    assert query.may_want({"resource.type": "endpoint"}, "projects/p/logs/access") is may


@pytest.mark.parametrize("newest_first", [False, True])
def test_entries_of_many_writers_come_in_order_and_none_is_opened_before_its_turn(newest_first):
    """Segments overlap: what arrives late is in a later one."""
    times = {1: [1, 5, 9], 2: [4, 6], 3: [20, 30], 4: [2, 25]}
    opened = []

    def entries(name):
        opened.append(name)
        return iter([(float(at), str(name), {}) for at in sorted(times[name], reverse=newest_first)])

    ends = max if newest_first else min
    merged = in_order(
        [Stream(ends(some), partial(entries, name)) for name, some in times.items()], newest_first
    )
    first = next(merged)[0]
    assert len(opened) == 1
    every = sorted((at for some in times.values() for at in some), reverse=newest_first)
    assert [first, *(entry[0] for entry in merged)] == every


def test_a_request_looks_at_so_many_entries_and_says_where_the_next_one_goes_on(monkeypatch):
    merged = [(float(n), str(n), {"n": n}) for n in range(10)]
    monkeypatch.setattr("portico.services.logging.entries._LOOKED", 4)
    wanted = Query(lambda entry: entry["n"] in (1, 2, 9))
    assert _page(iter(merged), wanted, 5) == ([{"n": 1}, {"n": 2}], (3.0, "3"))
    assert _page(iter(merged), wanted, 1) == ([{"n": 1}], (1.0, "1"))
    assert _page(iter(merged[6:]), wanted, 5) == ([{"n": 9}], None)


def test_lines_are_found_by_their_time(tmp_path):
    writer = lines.Writer(tmp_path)
    for number in range(5000):
        writer.write("t", "INFO", f"{number} " + "x" * (number % 90))
    writer.close()
    found = list(lines.read(tmp_path))
    assert [int(line.text.split()[0]) for line in found] == list(range(5000))
    times = [line.time for line in found]
    assert times == sorted(set(times))
    for number in (0, 1, 2499, 4998, 4999):
        assert list(lines.read(tmp_path, times[number])) == found[number:]
    assert list(lines.read(tmp_path, times[-1] + 1)) == []
    with lines.path_of(tmp_path).open("ab") as file:
        file.write(b'[1, "cut')  # by a crash
    again = lines.Writer(tmp_path)
    again.write("t", "INFO", "after")
    again.close()
    assert [line.text for line in lines.read(tmp_path, times[-1])][1:] == ["after"]


def test_a_line_of_any_length_that_was_cut_is_passed_over(tmp_path):
    writer = lines.Writer(tmp_path)
    writer.write("t", "INFO", "before")
    writer.write("t", "INFO", "\x01" * 16384)  # six bytes each
    writer.close()
    path = lines.path_of(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    again = lines.Writer(tmp_path)
    again.write("t", "INFO", "after")
    again.close()
    assert [line.text for line in lines.read(tmp_path)] == ["before", "after"]


@pytest.mark.parametrize(
    "filter",
    [
        'resource.type=("global" OR "ml_job")',
        "resource.type=(NOT global)",
        'timestamp>=("2020-01-01T00:00:00Z" OR "2010-01-01T00:00:00Z")',
        "timestamp:*",
        'timestamp=~"2026"',
        'timestamp!~"2026"',
    ],
)
def test_what_several_values_allow_narrows_nothing(filter):
    query = compile_query(filter, fields())
    assert not query.equal and query.since == 0.0 and query.until == float("inf")


def test_a_jobs_lines_are_entries_while_it_runs(portico, aiplatform, bucket, entries):
    script = """
import sys, time
print("to stdout", flush=True)
print("to stderr", file=sys.stderr, flush=True)
time.sleep(987)
"""
    job = aiplatform.CustomJob("logs", plain(script), staging_bucket=f"gs://{bucket.name}")
    job.submit()
    job_id = job.resource_name.rpartition("/")[2]
    of_job = f'resource.type="ml_job" AND resource.labels.job_id="{job_id}"'

    def found(filter: str = "", **options: Any) -> list[dict[str, Any]]:
        return listed(entries, f"{of_job} {filter}", resourceNames=["projects/test-project"], **options)

    code = until(
        lambda: len(f := found('resource.labels.task_name="workerpool0-0"')) == 2 and f,
        "both lines are there",
    )
    assert {one["jsonPayload"]["message"]: one["severity"] for one in code} == {
        "to stdout": "INFO", "to stderr": "ERROR",
    }  # fmt: skip
    assert code[0]["logName"] == "projects/test-project/logs/workerpool0-0"
    assert code[0]["resource"]["labels"]["job_id"] == job_id
    assert [one["jsonPayload"]["message"] for one in found("severity>=ERROR")] == ["to stderr"]
    # As `gcloud ai custom-jobs stream-logs` goes on from the last entry that it has seen.
    last = code[0]
    more = f'((timestamp="{last["timestamp"]}" AND insertId>"{last["insertId"]}") OR timestamp>"{last["timestamp"]}")'
    assert [one["jsonPayload"]["message"] for one in found(more)] == [code[1]["jsonPayload"]["message"]]
    assert found("confined")[0]["resource"]["labels"]["task_name"] == "service"
    job.cancel()
    until(lambda: found("cancelled"), "its end is told")
    assert [one["insertId"] for one in found()] == [
        one["insertId"] for one in found(orderBy="timestamp desc", pageSize=1)
    ][::-1]


def test_logs_follows_a_running_job(portico, aiplatform, bucket):
    import subprocess
    import sys

    script = "import time; print('it runs', flush=True); time.sleep(987)"
    job = aiplatform.CustomJob("followed", plain(script), staging_bucket=f"gs://{bucket.name}")
    job.submit()
    command = [sys.executable, "-m", "portico.cli.main", "logs", "-f", job.resource_name.rpartition("/")[2]]
    with subprocess.Popen(
        [*command, "--home", str(portico.home)], stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        started = time.monotonic()
        for line in following.stdout:
            if "it runs" in line:
                break
            assert time.monotonic() - started < 240
        job.cancel()
        assert "cancelled" in following.stdout.read()
