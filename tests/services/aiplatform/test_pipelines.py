"""Pipelines that kfp compiles, submitted by the official client: what each construct does."""

from __future__ import annotations

import pytest
from tests.services.aiplatform.pipelines_run import failed, outputs, states


def test_a_chain(run_pipeline):
    job = run_pipeline("chain", x=5)
    assert outputs(job) == {"add": 8, "add-2": 18, job.job_id: 18}
    assert set(states(job).values()) == {"SUCCEEDED"}


@pytest.mark.parametrize(
    ("x", "word", "chosen", "ran"),
    [
        (1, "yes", "one", {"say"}),
        (2, "yes", "two", {"say-2"}),
        (3, "yes", "other", {"say-4"}),
        (3, 'it\'s "so"', "other", {"quoted", "say-4"}),
    ],
)
def test_branches(run_pipeline, x, word, chosen, ran):
    job = run_pipeline("branches", x=x, word=word)
    found = outputs(job)
    assert found[job.job_id] == chosen
    said = {name for name, state in states(job).items() if state == "SUCCEEDED"}
    assert said & {"say", "say-2", "quoted", "say-4"} == ran


@pytest.mark.parametrize(
    ("given", "true"),
    [
        (
            {"i": 1, "f": 1.5, "s": "a", "b": False},
            {"i-eq", "i-lt", "i-le", "f-gt", "s-eq", "b-eq", "f-ge-i"},
        ),
        ({"i": 2, "f": 0.5, "s": "b", "b": True}, {"i-ne", "i-gt", "i-ge"}),
    ],
)
def test_every_operator(run_pipeline, given, true):
    found = outputs(run_pipeline("operators", **given))
    assert {name for name in found if "-" in name and not name.startswith("operators")} == true


def test_loops(run_pipeline):
    job = run_pipeline("loops")
    found = outputs(job)
    assert found["flat"] == 36 and found["nested"] == 72
    assert found["read-all"] == "x,y" and found[job.job_id] == "x+y"
    assert found["say"] == sorted(f"{letter}{n}" for letter in "pq" for n in (11, 12, 13))
    assert found["add"] == [11, 12, 13]


def test_loops_over_artifacts(run_pipeline):
    assert outputs(run_pipeline("over_artifacts"))["join"] == "a1+bb2"


def test_nested_pipelines(run_pipeline):
    job = run_pipeline("nested", x=4)
    found = outputs(job)
    assert found["inside"] == 5 or found["inside"]["sum"] == 5
    assert found["read"] == "inner5" and found[job.job_id] == 8


def test_an_exit_handler_sees_what_came_of_it(run_pipeline):
    job = run_pipeline("leaving", word="good")
    assert outputs(job)["told"] == f"SUCCEEDED exit-handler-1 None of {job.job_id}"


def test_an_exit_handler_sees_what_failed(submit_pipeline):
    job = submit_pipeline("leaving", parameter_values={"word": "bad"})
    error = failed(job)
    assert "The failed tasks are: [exit-handler-1]" in error and "The failed tasks are: [fail]" in error
    assert "it had to come bad" in error and 'Its inputs: {"text": "bad"}' in error
    told = outputs(job)["told"]
    assert told.startswith("FAILED exit-handler-1") and "it had to come bad" in told
    by_name = {task.task_name: task for task in job.task_details}
    assert "ValueError: it had to come bad" in by_name["fail"].error.message
    assert by_name["fail"].execution.state.name == "FAILED"
    assert by_name["say"].state.name == "SUCCEEDED" and by_name["told"].state.name == "SUCCEEDED"


def test_what_ignores_that_others_failed(submit_pipeline):
    job = submit_pipeline("regardless")
    assert "The failed tasks are: [fail]" in failed(job)
    found = states(job)
    assert (found["fail"], found["never"], found["add"]) == ("FAILED", "NOT_TRIGGERED", "NOT_TRIGGERED")
    assert found["join"] == "SUCCEEDED"


def test_what_goes_on_when_a_task_fails(submit_pipeline):
    slow = submit_pipeline("two_ways", failure_policy="slow")
    failed(slow)
    assert states(slow)["say-2"] == "SUCCEEDED"


def test_a_task_is_tried_again(run_pipeline, bucket):
    job = run_pipeline("again", bucket=bucket.name)
    [task] = [one for one in job.task_details if one.task_name == "flaky"]
    assert outputs(job)["flaky"] == "at attempt 3"
    errors = [status.error.message for status in task.pipeline_task_status if status.error.message]
    assert len(errors) == 2 and all("not yet" in error for error in errors)


def test_texts(run_pipeline, bucket):
    job = run_pipeline("texts")
    found = outputs(job)
    assert found["environment"] == "set"
    place = f"gs://{bucket.name}/root/test-project/{job.job_id}/"
    one, two = (text.split("|") for text in (found["shell"]["out"], found["shell-2"]["out"]))
    assert one[:2] == ["a-x'y", "none"] and one[2].startswith(f"{place}shell_") and one[2].endswith("/data")
    assert two[:3] == ["a-{{$.inputs.parameters['opt']}}", "--opt", "given"]
    name, resource, number, task, task_number, created, scheduled, root = found["placeholders"].split("|")
    assert (name, resource, root) == (job.job_id, job.resource_name, f"gs://{bucket.name}/root")
    assert task == "placeholders" and number.isdigit() and task_number.isdigit()
    assert created == scheduled and created.endswith("Z")


def test_types(run_pipeline):
    job = run_pipeline("types")
    assert outputs(job)["kinds"] == {"i": 1, "f": 2.5, "s": "s", "b": True, "l": [1, "a"], "d": {"k": [1]}}
    [task] = [one for one in job.task_details if one.task_name == "measured"]
    made = {name: held.artifacts[0] for name, held in task.outputs.items()}
    assert {name: one.schema_title for name, one in made.items()} == {
        "metrics": "system.Metrics", "classes": "system.ClassificationMetrics", "page": "system.HTML",
        "note": "system.Markdown", "model": "system.Model", "any_": "system.Artifact",
    }  # fmt: skip
    assert dict(made["metrics"].metadata) == {"accuracy": 0.75}
    assert "confusionMatrix" in dict(made["classes"].metadata)


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("a", "The input 'value' has no value: the task nothing-written gave no 'Output'"),
        ("b", "another type. The output 'out' must be an integer, not the text 'seven\\n'"),
    ],
)
def test_a_component_must_write_what_others_need(submit_pipeline, which, words):
    assert words in failed(submit_pipeline("lacking", parameter_values={"which": which}))


def test_an_output_that_nobody_needs_may_be_unwritten(run_pipeline, portico):
    job = run_pipeline("lacking", which="alone")
    assert "Output" not in outputs(job).get("nothing-written-2", {})
    logs = [path.read_text() for path in portico.home.glob("jobs/*/log.txt")]
    assert any("ended without writing its output 'Output' (STRING)" in one for one in logs)


def test_importers(run_pipeline, submit_pipeline, bucket):
    bucket.blob("there.txt").upload_from_string("text")
    uri = f"gs://{bucket.name}/there.txt"
    job = run_pipeline("imported", uri=uri, note="n")
    assert outputs(job)["read"] == "text4"
    once, anew = imported(job)
    assert once.uri == anew.uri == uri
    assert dict(once.metadata) == {"length": 4, "note": "n"} and once.schema_title == "system.Dataset"
    later = submit_pipeline("imported", parameter_values={"uri": uri, "note": "n"}, job_id=f"{job.job_id}-2")
    later.wait()
    again, made = imported(later)
    assert again.name in (once.name, anew.name) and made.name not in (once.name, anew.name)


def imported(job):
    """The artifacts of the importer that takes what is there already, and of the other."""
    tasks = {task.task_name: task for task in job.task_details}
    return [tasks[name].outputs["artifact"].artifacts[0] for name in ("importer", "importer-2")]


def test_a_given_artifact(run_pipeline, submit_pipeline, bucket):
    first = run_pipeline("nested")
    [made] = [task.outputs["data"].artifacts[0] for task in first.task_details if task.task_name == "write"]
    job = submit_pipeline("given", input_artifacts={"data": made.name.rpartition("/")[2]})
    job.wait()
    assert outputs(job)["read"] == "inner5"
