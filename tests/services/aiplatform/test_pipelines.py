"""Pipelines that kfp compiles, submitted by the official client: what each construct does."""

from __future__ import annotations

import pytest
from tests.services.aiplatform.pipelines_run import outputs, states


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
