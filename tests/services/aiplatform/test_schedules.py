"""Schedules: cron lines, and model monitoring jobs made again and again in domain time, by the official client."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.protobuf import timestamp_pb2
from vertexai.resources.preview.ml_monitoring import spec

from portico.services.aiplatform import cron

from .monitored import advance, alerts, csv_of, early, monitor, points, put, rows, schema  # noqa: F401

HOUR = 3600


def runs(text: str, start: str, count: int) -> list[str]:
    """The first runs of a cron line after `start`, in UTC."""
    at, made = datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp(), []
    for _ in range(count):
        found = cron.parse(text).next_after(at)
        assert found is not None and found > at
        at = found
        made.append(datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M"))
    return made


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("*/30 * * * *", "2024-02-28 23:29:59", ["2024-02-28 23:30", "2024-02-29 00:00", "2024-02-29 00:30"]),
        ("0 0 * * *", "2024-02-28 00:00", ["2024-02-29 00:00", "2024-03-01 00:00"]),
        ("5,35 8-10/2 * * *", "2024-01-01", ["2024-01-01 08:05", "2024-01-01 08:35", "2024-01-01 10:05"]),
        ("15/20 6 * * *", "2024-01-01", ["2024-01-01 06:15", "2024-01-01 06:35", "2024-01-01 06:55"]),
        (
            "0 12 * * mon-wed",
            "2024-01-03 12:00",
            ["2024-01-08 12:00", "2024-01-09 12:00", "2024-01-10 12:00"],
        ),
        ("0 12 * * 5-7", "2024-01-01", ["2024-01-05 12:00", "2024-01-06 12:00", "2024-01-07 12:00"]),
        ("0 12 * * 0", "2024-01-01", ["2024-01-07 12:00", "2024-01-14 12:00"]),
        ("0 0 13 * FRI", "2024-09-07", ["2024-09-13 00:00", "2024-09-20 00:00", "2024-09-27 00:00"]),
        ("0 0 13 * Fri", "2024-10-01", ["2024-10-04 00:00", "2024-10-11 00:00", "2024-10-13 00:00"]),
        ("0 0 */10 * 2", "2024-01-01", ["2024-05-21 00:00", "2024-06-11 00:00"]),
        ("0 0 29 FEB *", "2023-01-01", ["2024-02-29 00:00", "2028-02-29 00:00"]),
        ("0 0 31 4-6 *", "2024-01-01", ["2024-05-31 00:00", "2025-05-31 00:00"]),
        ("TZ=America/New_York 30 8 * * *", "2024-03-09 13:30", ["2024-03-10 12:30", "2024-03-11 12:30"]),
        ("CRON_TZ=Asia/Kolkata 0 0 1 1 *", "2024-01-01", ["2024-12-31 18:30", "2025-12-31 18:30"]),
        # Spring: the clocks go from 02:00 EST (07:00 UTC) to 03:00 EDT.
        ("TZ=America/New_York 30 2 * * *", "2024-03-09 08:00", ["2024-03-10 07:30", "2024-03-11 06:30"]),
        ("TZ=America/New_York 0 * * * *", "2024-03-10 05:30", ["2024-03-10 06:00", "2024-03-10 07:00"]),
        # Autumn: 01:00 to 02:00 comes twice; a daily run once, an hourly one each time.
        ("TZ=America/New_York 30 1 * * *", "2024-11-02 06:00", ["2024-11-03 05:30", "2024-11-04 06:30"]),
        (
            "TZ=America/New_York 30 * * * *",
            "2024-11-03 04:45",
            ["2024-11-03 05:30", "2024-11-03 06:30", "2024-11-03 07:30"],
        ),
    ],
)
def test_a_cron_line_runs_when_it_says(text, start, expected):
    assert runs(text, start, len(expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("60 * * * *", "minute '60'"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day of the month '0'"),
        ("* * * 13 *", "month '13'"),
        ("* * * foo *", "month 'foo'"),
        ("* * * * 8", "day of the week '8'"),
        ("9-5 * * * *", "ends before it begins"),
        ("*/0 * * * *", "minute '0'"),
        ("1,,2 * * * *", "minute ''"),
        ("-1 * * * *", "minute ''"),
        ("0 0 30 2 *", "no such day"),
        ("TZ=Mars/Olympus 0 0 * * *", "Mars/Olympus"),
        ("TZ=../../etc/passwd 0 0 * * *", "time zone"),
        ("\u0663 * * * *", "minute"),
    ],
)
def test_a_wrong_cron_line_says_what_is_wrong(text, message):
    with pytest.raises(ValueError, match=message):
        cron.parse(text)


def test_the_last_run_of_the_calendar_is_the_last():
    near = datetime(9999, 12, 30, tzinfo=UTC).timestamp()
    assert cron.parse("0 0 1 * *").next_after(near) is None


@pytest.fixture
def watched(upload, bucket):
    made = monitor(upload(), put(bucket, "training.csv", csv_of(rows(0, 2000))))
    yield made
    made.delete(force=True)


def spoken(seconds: float) -> timestamp_pb2.Timestamp:
    return timestamp_pb2.Timestamp(seconds=int(seconds))


def moments(schedule: Any, jobs: Any) -> list[float]:
    return sorted(job.schedule_time.timestamp() for job in jobs if job.schedule == schedule.name)


def test_a_schedule_makes_a_job_whenever_it_is_due(watched, bucket, advance):  # noqa: F811
    now = early(advance)
    target = put(bucket, "target.csv", csv_of(rows(1, 1000, shift=2.0)))
    schedule = watched.create_schedule(display_name="hourly", cron="0 * * * *", target_dataset=target)
    first = (now // HOUR + 1) * HOUR
    assert schedule.state.name == "ACTIVE" and schedule.next_run_time.timestamp() == first
    assert [s.name for s in watched.list_schedules()] == [schedule.name]
    assert watched.list_schedules(filter='display_name="other"') == []
    advance(3 * HOUR)
    jobs = watched.list_jobs()
    assert moments(schedule, jobs) == [first, first + HOUR, first + 2 * HOUR]
    assert {job.state.name for job in jobs} == {"JOB_STATE_SUCCEEDED"}  # an advance waits for them
    schedule = watched.get_schedule(schedule.name)
    assert schedule.started_run_count == 3
    assert schedule.last_scheduled_run_response.scheduled_run_time.timestamp() == first + 2 * HOUR
    assert schedule.last_scheduled_run_response.run_response in {job.name for job in jobs}
    assert schedule.next_run_time.timestamp() == first + 3 * HOUR
    found = points(watched, schedule_name=schedule.name)["a"]
    assert [p.create_time.timestamp() for p in found] == [first + 2 * HOUR, first + HOUR, first]
    assert {p.schedule for p in found} == {schedule.name}
    assert alerts(watched, start_time=spoken(first), end_time=spoken(first + HOUR)) == ["a"]
    assert points(watched, schedule_name=schedule.name + "0") == {}
    watched.delete_schedule(schedule.name)
    with pytest.raises(exceptions.NotFound):
        watched.get_schedule(schedule.name)
    advance(2 * HOUR)
    assert len(watched.list_jobs()) == 3


def test_pause_resume_catch_up_and_change(watched, bucket, advance):  # noqa: F811
    target = put(bucket, "target.csv", csv_of(rows(1, 500)))
    now = early(advance)
    schedule = watched.create_schedule(display_name="daily", cron="0 * * * *", target_dataset=target)
    first = (now // HOUR + 1) * HOUR
    watched.pause_schedule(schedule.name)
    with pytest.raises(exceptions.BadRequest, match="PAUSED"):
        watched.pause_schedule(schedule.name)
    advance(2 * HOUR)
    assert watched.list_jobs() == []
    watched.resume_schedule(schedule.name)
    with pytest.raises(exceptions.BadRequest, match="not paused"):
        watched.resume_schedule(schedule.name)
    shown = watched.get_schedule(schedule.name)
    assert shown.next_run_time.timestamp() == first + 2 * HOUR
    assert shown.last_pause_time < shown.last_resume_time
    watched.pause_schedule(schedule.name)
    advance(2 * HOUR)
    from google.cloud.aiplatform import initializer, utils

    client = initializer.global_config.create_client(utils.ScheduleClientWithOverride).select_version(
        "v1beta1"
    )
    client.resume_schedule(request={"name": schedule.name, "catch_up": True})
    now = advance(1)
    assert moments(schedule, watched.list_jobs()) == [first + 2 * HOUR, first + 3 * HOUR]
    changed = watched.update_schedule(schedule.name, display_name="other", cron="30 * * * *")
    assert changed.display_name == "other" and changed.catch_up
    half = first + 3.5 * HOUR
    assert changed.next_run_time.timestamp() == (half if half > now else half + HOUR)
    with pytest.raises(exceptions.BadRequest, match="schedules"):
        watched.delete()


def test_a_schedule_ends_after_its_last_run(watched, bucket, advance, portico):  # noqa: F811
    target = put(bucket, "target.csv", csv_of(rows(1, 500)))
    now = early(advance)
    first = (now // HOUR + 1) * HOUR
    ended = watched.create_schedule(
        display_name="ending", cron="0 * * * *", target_dataset=target, end_time=spoken(first + 1.5 * HOUR)
    )
    late = watched.create_schedule(
        display_name="late", cron="0 * * * *", target_dataset=target, start_time=spoken(first + HOUR)
    )
    assert late.next_run_time.timestamp() == first + 2 * HOUR
    counted = requests.post(
        f"{portico.url}/v1beta1/{watched.resource_name.rpartition('/modelMonitors')[0]}/schedules",
        json=body_of(watched, target) | {"maxRunCount": "1"},
        timeout=240,
    ).json()
    advance(4 * HOUR)
    jobs = watched.list_jobs()
    assert moments(ended, jobs) == [first, first + HOUR]
    assert moments(late, jobs) == [first + 2 * HOUR, first + 3 * HOUR]
    assert watched.get_schedule(ended.name).state.name == "COMPLETED"
    shown = watched.get_schedule(counted["name"])
    assert shown.state.name == "COMPLETED" and shown.started_run_count == 1
    with pytest.raises(exceptions.BadRequest, match="completed"):
        watched.update_schedule(ended.name, cron="30 * * * *")


def body_of(watched: Any, target: Any) -> dict[str, Any]:
    """A schedule as JSON."""
    source = {"gcsSource": {"gcsUri": target.gcs_uri, "format": "CSV"}}
    job = {"modelMonitoringSpec": {"objectiveSpec": {"targetDataset": {"columnizedDataset": source}}}}
    return {
        "displayName": "raw",
        "cron": "0 * * * *",
        "maxConcurrentRunCount": "1",
        "createModelMonitoringJobRequest": {"parent": watched.resource_name, "modelMonitoringJob": job},
    }


def test_a_window_is_told_from_the_time_of_the_run(aiplatform, upload, bucket, advance):  # noqa: F811
    """Each run sees what was predicted in the hour before it, and a baseline of the hour before that."""
    model = upload()
    endpoint = aiplatform.Endpoint.create(
        display_name="logged",
        enable_request_response_logging=True,
        request_response_logging_sampling_rate=1.0,
    )
    model.deploy(endpoint=endpoint)
    watched = monitor(model, model_monitoring_schema=schema(fields={"a": "float", "b": "float"}))
    now = early(advance)
    advance(int(HOUR - now % HOUR) + 1)
    schedule = watched.create_schedule(
        display_name="drift",
        cron="0 * * * *",
        target_dataset=spec.MonitoringInput(endpoints=[endpoint.resource_name], window="1h"),
        baseline_dataset=spec.MonitoringInput(endpoints=[endpoint.resource_name], offset="1h", window="1h"),
    )
    for hour, shift in enumerate((0.0, 0.0, 3.0)):
        for part in range(4):
            sent = rows(100 * hour + part, 100, shift)
            endpoint.predict([{"a": row["a"], "b": row["b"], "c": 0.5} for row in sent])
        advance(HOUR)
    jobs = sorted(watched.list_jobs(), key=lambda job: job.schedule_time)
    assert [job.state.name for job in jobs] == [
        "JOB_STATE_FAILED",  # there is no hour before the first
        "JOB_STATE_SUCCEEDED",
        "JOB_STATE_SUCCEEDED",
    ]
    assert "not one row in the baseline" in jobs[0].job_execution_detail.error.message
    window = jobs[2].job_execution_detail.target_datasets[0].time_range
    assert window.end_time.seconds == jobs[2].schedule_time.timestamp()
    assert window.end_time.seconds - window.start_time.seconds == HOUR
    found = points(watched)
    assert [point.has_anomaly for point in found["a"]] == [True, False]
    assert [point.has_anomaly for point in found["b"]] == [False, False]
    watched.delete_schedule(schedule.name)
    watched.delete()
    endpoint.delete(force=True)


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"cron": "61 * * * *"}, 400, "minute '61'"),
        (
            {"createModelMonitoringJobRequest": {}},
            400,
            "createPipelineJobRequest or createModelMonitoringJobRequest",
        ),
        ({"createPipelineJobRequest": {"parent": "x"}}, 400, "Give one of"),
        ({"createNotebookExecutionJobRequest": {"parent": "x"}}, 501, "createNotebookExecutionJobRequest"),
        ({"maxConcurrentRunCount": "-1"}, 400, "maxConcurrentRunCount"),
        ({"startTime": "2030-01-02T00:00:00Z", "endTime": "2030-01-01T00:00:00Z"}, 400, "endTime"),
        (
            {"createModelMonitoringJobRequest": {"parent": "projects/p/locations/l/modelMonitors/1"}},
            400,
            "is not in projects/test-project",
        ),
    ],
)
def test_bad_input_names_the_field(watched, portico, bucket, change, status, message):
    body = body_of(watched, put(bucket, "t.csv", "a,b,c\n1,2,x\n")) | change
    location = watched.resource_name.rpartition("/modelMonitors")[0]
    answer = requests.post(f"{portico.url}/v1beta1/{location}/schedules", json=body, timeout=240)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]
