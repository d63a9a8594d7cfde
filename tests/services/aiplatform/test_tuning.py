"""Hyperparameter tuning jobs by the official client: trials are custom jobs of their own."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform import hyperparameter_tuning as hpt
from tests.waiting import until

from portico.sandbox.isolation import isolation

PLAIN = "python:3.11"
# What cloudml-hypertune writes, by the standard library alone.
REPORT = """
import argparse, json, os, sys, time
os.makedirs(os.path.dirname(os.environ["CLOUD_ML_HP_METRIC_FILE"]), exist_ok=True)
lines = []
def report(name, value, step=0):
    lines.append({"timestamp": time.time(), "trial": os.environ["CLOUD_ML_TRIAL_ID"], name: str(float(value)),
                  "global_step": str(step), "checkpoint_path": ""})
    with open(os.environ["CLOUD_ML_HP_METRIC_FILE"], "w") as file:
        file.writelines(json.dumps(line, sort_keys=True) + "\\n" for line in lines[-100:])
parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
parser.add_argument("--depth", type=int)
parser.add_argument("--kind")
given = parser.parse_args()
trial = int(os.environ["CLOUD_ML_TRIAL_ID"])
"""
SPACE = {
    "rate": hpt.DoubleParameterSpec(min=1e-4, max=1.0, scale="log"),
    "depth": hpt.IntegerParameterSpec(min=1, max=8, scale="linear"),
    "kind": hpt.CategoricalParameterSpec(values=["a", "b"]),
}


def tuning(aiplatform: Any, bucket: Any, script: str, space: Any = None, **options: Any) -> Any:
    container = {"image_uri": PLAIN, "command": ["python", "-c", REPORT + script]}
    pool = {
        "machine_spec": {"machine_type": "n1-standard-4"},
        "replica_count": 1,
        "container_spec": container,
    }
    custom = aiplatform.CustomJob("trial", [pool], base_output_dir=f"gs://{bucket.name}/out",
                                  staging_bucket=f"gs://{bucket.name}")  # fmt: skip
    options = {
        "metric_spec": {"score": "maximize"},
        "max_trial_count": 4,
        "parallel_trial_count": 2,
    } | options
    return aiplatform.HyperparameterTuningJob(
        display_name="tuning", custom_job=custom, parameter_spec=space or SPACE, **options
    )


def values(trial: Any) -> dict[str, Any]:
    return {one.parameter_id: one.value for one in trial.parameters}


def ended(job: Any) -> Any:
    def state() -> Any:
        job._sync_gca_resource()
        done = ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_SUCCEEDED")
        return job._gca_resource if job.state.name in done else None

    return until(state, "the job has ended")


def test_what_the_code_writes_to_var_hypertune_counts(portico, aiplatform, bucket):
    script = """
with open("/var/hypertune/output.metrics", "a") as file:
    file.write(json.dumps({"score": given.depth}) + "\\n")
    file.write(json.dumps({"score": given.depth + 0.5, "global_step": 2}))
"""
    if isolation().name == "landlock":  # elsewhere /var is not the machine's
        script += 'assert os.path.isdir("/var/lib")\n'
    space = SPACE | {"depth": hpt.DiscreteParameterSpec(values=[2, 4], scale=None)}  # told as ints
    job = tuning(aiplatform, bucket, script, space, max_trial_count=1, parallel_trial_count=1)
    job.run(sync=True)
    [trial] = job.trials
    depth = values(trial)["depth"]
    assert [(one.step_count, one.metrics[0].value) for one in trial.measurements] == [
        (0, depth),
        (2, depth + 0.5),
    ]
    assert trial.final_measurement.metrics[0].value == depth + 0.5


def test_trials_run_with_their_parameters_and_report(portico, aiplatform, bucket):
    script = """
place = os.environ["AIP_MODEL_DIR"]
assert json.loads(os.environ["CLUSTER_SPEC"])["task"]["trial"] == str(trial) and place.endswith(f"/{trial}/model/")
with open(place.replace("gs://", "/gcs/") + "model.txt", "w") if os.makedirs(
        place.replace("gs://", "/gcs/"), exist_ok=True) is None else None as file:
    file.write(f"{given.rate!r} {given.depth} {given.kind}")
for step in (1, 2):
    report("score", given.depth + step / 10, step)
    report("other", 1.0, step)
"""
    job = tuning(aiplatform, bucket, script)
    job.run(sync=True)
    assert job.state.name == "JOB_STATE_SUCCEEDED" and len(job.trials) == 4
    assert [one.id for one in job.trials] == ["1", "2", "3", "4"]
    for trial in job.trials:
        found = values(trial)
        assert trial.state.name == "SUCCEEDED" and trial.end_time >= trial.start_time
        assert [one.step_count for one in trial.measurements] == [1, 2]
        assert trial.final_measurement.metrics[0].value == found["depth"] + 0.2
        saved = bucket.blob(f"out/{trial.id}/model/model.txt").download_as_text()
        assert saved == f"{found['rate']!r} {int(found['depth'])} {found['kind']}"
        custom = aiplatform.CustomJob.get(trial.custom_job)
        assert custom.state.name == "JOB_STATE_SUCCEEDED"
        assert f"--depth={int(found['depth'])}" in custom.job_spec.worker_pool_specs[0].container_spec.args
    assert job.resource_name in [
        one.resource_name for one in aiplatform.HyperparameterTuningJob.list(filter='display_name="tuning"')
    ]
    recorded = [
        one.metadata for one in aiplatform.Execution.list(filter='schema_title="system.CustomJobExecution"')
    ]
    by_job = {
        one["customJob"]: one for one in recorded if one.get("hyperparameterTuningJob") == job.resource_name
    }
    for trial in job.trials:
        told = by_job[trial.custom_job]
        assert told["trial"] == trial.id and told["parameters"]["kind"] == values(trial)["kind"]
        assert told["score"] == trial.final_measurement.metrics[0].value
    job.delete()
    with pytest.raises(exceptions.NotFound):
        aiplatform.HyperparameterTuningJob.get(job.resource_name)


def test_a_failing_trial_is_told_and_counted(aiplatform, bucket):
    script = """
if trial == 2:
    raise ValueError("on purpose")
if trial != 3:
    report("score", trial)
"""
    job = tuning(aiplatform, bucket, script, max_failed_trial_count=3)
    job.run(sync=True)
    states = {one.id: one.state.name for one in job.trials}
    assert states == {"1": "SUCCEEDED", "2": "INFEASIBLE", "3": "INFEASIBLE", "4": "SUCCEEDED"}
    assert "ValueError: on purpose" in job.trials[1].infeasible_reason
    assert "without reporting a finite value of score" in job.trials[2].infeasible_reason


def test_too_many_failed_trials_end_the_job(aiplatform, bucket):
    job = tuning(aiplatform, bucket, "sys.exit(3)", max_trial_count=6, max_failed_trial_count=2)
    with pytest.raises(RuntimeError, match="2 end the job"):
        job.run(sync=True)
    assert job.state.name == "JOB_STATE_FAILED" and "non-zero status of 3" in job._gca_resource.error.message
    assert len(job.trials) < 6


def test_cancelling_ends_all_trials(aiplatform, bucket):
    import psutil

    job = tuning(aiplatform, bucket, "import subprocess; subprocess.Popen(['sleep', '976']); time.sleep(976)")
    job._gca_resource.trial_job_spec.scheduling = None
    job.run(sync=False)
    job.wait_for_resource_creation()

    def sleepers() -> list[int]:
        return [p.pid for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "976"]]

    until(lambda: len(sleepers()) == 2, "both trials run")
    job.cancel()
    assert ended(job).state.name == "JOB_STATE_CANCELLED"
    until(lambda: not sleepers(), "nothing is left of them")

    def closed() -> bool:
        job._sync_gca_resource()
        return {one.state.name for one in job._gca_resource.trials} == {"INFEASIBLE"}

    until(closed, "both trials have ended")
    assert len(job._gca_resource.trials) == 2


def test_a_hopeless_trial_is_ended_early(aiplatform, bucket):
    script = """
for step in range(1, 4):
    report("score", step * (1 if trial < 4 else 0.1), step)
if trial >= 4:
    time.sleep(900)
"""
    job = tuning(aiplatform, bucket, script, parallel_trial_count=1)
    job._gca_resource.study_spec.median_automated_stopping_spec = {"use_elapsed_duration": False}
    job.run(sync=True)
    last = job.trials[3]
    assert job.state.name == "JOB_STATE_SUCCEEDED" and last.state.name == "SUCCEEDED"
    assert last.final_measurement.step_count == 3 and last.final_measurement.metrics[0].value < 0.5


def test_what_depends_and_a_grid(aiplatform, bucket):
    depth = hpt.IntegerParameterSpec(min=1, max=2, scale="linear", parent_values=["b"])
    kind = hpt.CategoricalParameterSpec(values=["a", "b"], conditional_parameter_spec={"depth": depth})
    job = tuning(
        aiplatform, bucket, "report('score', given.depth or 0)", {"kind": kind},
        search_algorithm="grid", max_trial_count=10,
    )  # fmt: skip
    job.run(sync=True)
    assert [values(one) for one in job.trials] == [
        {"kind": "a"}, {"kind": "b", "depth": 1}, {"kind": "b", "depth": 2}
    ]  # fmt: skip


def test_a_bad_spec_names_the_field(aiplatform, bucket):
    with pytest.raises(exceptions.BadRequest, match="maxTrialCount is from 1"):
        tuning(aiplatform, bucket, "", max_trial_count=-1).run(sync=True)
    with pytest.raises(exceptions.BadRequest, match="above 0"):
        space = {"rate": hpt.DoubleParameterSpec(min=0, max=1, scale="log")}
        tuning(aiplatform, bucket, "", space).run(sync=True)


def test_all_that_was_reported_counts(tmp_path):
    import json

    from portico.services.aiplatform.tuning.hypertune import MetricFile

    path = tmp_path / "output.metrics"
    path.write_text("of an attempt before\n")
    file = MetricFile(path, ["score", "loss"])
    assert not file.look()

    def line(step: int, **metrics: float) -> dict[str, str]:
        told = {name: str(value) for name, value in metrics.items()}
        return {"timestamp": 100.0 + step, "trial": "1", "global_step": str(step), **told}  # type: ignore[dict-item]

    every = [line(step, score=step / 200) for step in range(200)]
    every[5:5] = [line(4, loss=9.0)]
    every += [line(200, score=float("nan"))]
    for end in range(50, len(every) + 1):
        path.write_text("".join(json.dumps(one) + "\n" for one in every[max(0, end - 100) : end]) + '{"half')
        file.look()
    found = file.measurements(begun=90.0)
    assert [one["stepCount"] for one in found] == [str(step) for step in range(200)]
    assert [one["metricId"] for one in found[4]["metrics"]] == ["score", "loss"]
    assert found[0]["elapsedDuration"] == "10.000000s"


def test_a_hostile_metric_file_is_passed_over(tmp_path):
    import json
    import os

    from portico.services.aiplatform.tuning.hypertune import MetricFile

    folder = tmp_path / "job" / ".hypertune"
    folder.mkdir(parents=True)
    path, outside = folder / "output.metrics", tmp_path / "outside"
    good = json.dumps({"timestamp": 100.0, "global_step": "1", "score": "0.5"}) + "\n"
    outside.write_text(good)
    file = MetricFile(path, ["score"])
    os.mkfifo(path)
    assert not file.look()
    path.unlink()
    path.symlink_to(outside)
    assert not file.look()
    path.unlink()
    path.mkdir()
    assert not MetricFile(path, ["score"]).look()
    path.rmdir()
    wrong = [
        '{"timestamp": 100, "global_step": 1e999, "score": 1}',
        '{"timestamp": 1e999, "global_step": 1, "score": 1}',
        '{"timestamp": 100, "global_step": 9223372036854775808, "score": 1}',
        '{"timestamp": 100, "global_step": 1, "score": 1%s}' % ("0" * 400),
        "[" * 100_000,
        "[]",
        "\x00\xff",
    ]
    path.write_text("\n".join(wrong) + "\n" + good + '{"timestamp": 1e300, "global_step": 2, "score": 1}\n')
    assert file.look()
    assert [one["stepCount"] for one in file.measurements(begun=90.0)] == ["1", "2"]
    assert file.measurements(begun=90.0)[1]["elapsedDuration"] == "315576000000.000000s"
    for number in range(12):  # what is remembered has a bound
        path.write_text(f"{number}" + "x" * 1_000_000 + "\n")
        file.look()
    assert sum(map(len, file._lines)) <= 8 << 20


@pytest.mark.slow
def test_kills_lose_no_trial_and_count_none_twice(new_portico):
    """Kills the server, or one of its processes, whenever so many measurements have come; the end is as without."""
    import os
    import random
    import signal

    import psutil
    import requests

    chance = random.Random(7)
    server = new_portico().start()
    parent = "projects/p/locations/us-central1"
    marker = f"trials-of-{server.port}"
    script = (
        REPORT
        + f"# {marker}\nfor step in (1, 2, 3):\n    report('score', trial + step / 10, step); time.sleep(0.4)"
    )
    body = {
        "displayName": "killed",
        "maxTrialCount": 8,
        "parallelTrialCount": 2,
        "studySpec": {
            "metrics": [{"metricId": "score", "goal": "MAXIMIZE"}],
            "parameters": [{"parameterId": "rate", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}],
        },
        "trialJobSpec": {
            "workerPoolSpecs": [{"containerSpec": {"imageUri": PLAIN, "command": ["python", "-c", script]}}]
        },
    }
    try:
        made = requests.post(f"{server.url}/v1/{parent}/hyperparameterTuningJobs", json=body, timeout=240)
        name = made.json()["name"]

        def now() -> dict[str, Any]:
            try:
                return dict(requests.get(f"{server.url}/v1/{name}", timeout=240).json())
            except (requests.RequestException, ValueError):
                return {}

        def come(count: int) -> bool:
            told = now()
            measured = sum(len(one.get("measurements", [])) for one in told.get("trials", []))
            return measured >= count or told.get("state") == "JOB_STATE_SUCCEEDED"

        for count in sorted(chance.sample(range(1, 22), 6)):
            until(lambda count=count: come(count), f"{count} measurements have come")
            if chance.random() < 0.5:
                server.kill()
                server.start()
            else:
                victim = chance.choice(server.pids()[1:])
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        until(
            lambda: now().get("state", "") not in ("", "JOB_STATE_PENDING", "JOB_STATE_RUNNING"),
            "it has ended",
        )
        told = now()
        assert told["state"] == "JOB_STATE_SUCCEEDED", told
        assert [one["id"] for one in told["trials"]] == [str(number) for number in range(1, 9)]
        assert {one["state"] for one in told["trials"]} == {"SUCCEEDED"}
        for one in told["trials"]:
            assert [m["stepCount"] for m in one["measurements"]] == ["1", "2", "3"]
            assert one["finalMeasurement"]["metrics"][0]["value"] == int(one["id"]) + 0.3
        custom = requests.get(f"{server.url}/v1/{parent}/customJobs?pageSize=100", timeout=240).json()[
            "customJobs"
        ]
        assert {one["name"] for one in custom} == {one["customJob"] for one in told["trials"]} and len(
            custom
        ) == 8

        def left() -> list[int]:
            every = psutil.process_iter(["cmdline"])
            return [p.pid for p in every if any(marker in part for part in p.info["cmdline"] or ())]

        until(lambda: not left(), "no process is left behind")
    finally:
        server.stop()


WARM = """
import glob, os, sys
from trainer import report
waited = "threadpoolctl" in sys.modules
import threadpoolctl
open("left", "x").write("each trial begins in a folder of its own")
place, number = "/gcs/BUCKET/", os.environ["CLOUD_ML_TRIAL_ID"]
before = sorted(map(os.path.basename, glob.glob(place + "trial-*")))
assert not os.path.exists(place + "trial-" + number)
with open(place + "trial-" + number, "w") as file:
    file.write("own")
print("imported:", waited, "before:", before, "in", os.getcwd(), flush=True)
report.report("score", 1)
if number == "2":
    import subprocess
    subprocess.Popen(["sleep", "973.5"])
"""


@pytest.mark.slow
@pytest.mark.skipif(
    isolation().name == "bubblewrap", reason="its walls hold one view of Cloud Storage for ever"
)
def test_trials_are_copies_of_a_process_that_has_done_the_imports(portico, aiplatform, bucket):
    import psutil
    from tests.services.aiplatform.test_custom_jobs import packed

    files = {
        "setup.py": "",
        "trainer/__init__.py": "",
        "trainer/report.py": REPORT,
        "trainer/task.py": WARM.replace("BUCKET", bucket.name),
        "trainer.egg-info/requires.txt": "threadpoolctl==3.5.0\n",
    }
    bucket.blob("trainer-1.0.tar.gz").upload_from_string(packed(files))
    package = {
        "executor_image_uri": PLAIN,
        "package_uris": [f"gs://{bucket.name}/trainer-1.0.tar.gz"],
        "python_module": "trainer.task",
    }
    job = tuning(aiplatform, bucket, "", parallel_trial_count=1, max_trial_count=3)
    pool = job._gca_resource.trial_job_spec.worker_pool_specs[0]
    pool.container_spec = None
    pool.python_package_spec = package
    job.run(sync=True)
    assert [one.state.name for one in job.trials] == ["SUCCEEDED"] * 3
    logs = {}
    for trial in job.trials:
        number = trial.custom_job.rpartition("/")[2]
        (logs[trial.id],) = [
            text
            for path in portico.home.glob("jobs/*/log.txt")
            if f"customJobs/{number}:" in (text := path.read_text())
        ]
    for number in range(1, 4):
        seen = [f"trial-{one}" for one in range(1, number)]
        # The third, too: the second left a process behind, so that it begins in another.
        assert f"imported: True before: {seen} in" in logs[str(number)]
        assert ("A process that waited for it runs it." in logs[str(number)]) == (number > 1)
    folders = [log.partition("] in ")[2].split()[0] for log in logs.values()]
    left = [one.pid for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "973.5"]]
    assert not left and folders[0] == folders[1] != folders[2]
    until(lambda: not list(portico.home.glob("jobs/*/workers/*")), "nothing waits for a trial any more")


def test_of_a_long_curve_as_much_is_kept_as_decides():
    from portico.services.aiplatform.vizier import measurements

    spec = {
        "metrics": [{"metricId": "score", "goal": "MAXIMIZE"}],
        "measurementSelectionType": "BEST_MEASUREMENT",
    }
    every = [
        {
            "stepCount": str(step),
            "metrics": [{"metricId": "score", "value": 9.0 if step == 777 else step / 1e4}],
        }
        for step in range(10_000)
    ]
    ordered = measurements.ordered([*reversed(every), *every])
    assert ordered == every
    kept = measurements.thinned(ordered, spec, 50)
    assert 50 <= len(kept) <= 52 and kept[0] == every[0] and kept[-1] == every[-1]
    assert measurements.final(kept, spec) == measurements.final(every, spec) == every[777]
    assert measurements.thinned(every[:50], spec, 50) == every[:50]
    two = {**spec, "metrics": [*spec["metrics"], {"metricId": "loss", "goal": "MINIMIZE"}]}
    late = [*every, {"stepCount": "10001", "metrics": [{"metricId": "loss", "value": 1.0}]}]
    assert measurements.final(measurements.thinned(late, two, 50), two) == measurements.final(late, two)
