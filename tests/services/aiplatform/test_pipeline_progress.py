"""How a run goes on from the ends of its tasks' jobs, told here: what starts, what ends, what a crash leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.aiplatform.kfp_sources import CONSTRUCTS, LARGE

from portico.host import wiring
from portico.services.aiplatform.pipelines import ir, progress, recorded
from portico.services.aiplatform.pipelines.turn import Turn
from portico.store import jobs, pipelines
from portico.store.database import Database
from portico.store.pipelines import Task

pytestmark = pytest.mark.usefixtures("either_store")
RUN = "projects/p/locations/us-central1/pipelineJobs/r"


class Run:
    """A run of a pipeline whose tasks' jobs the test ends. Every transaction reads all anew, as after a crash."""

    def __init__(self, home: Path, file: str, policy: str = "") -> None:
        wiring.import_services()
        self.database = Database(home)
        self.database.create_tables()
        with open(file) as text:
            components = ir.read(yaml.load(text, yaml.CSafeLoader))
        facts = {
            "job": "r",
            "pipeline": "p",
            "pipelineRoot": "gs://b/r",
            "createTime": 0.0,
            "failurePolicy": policy,
        }
        definitions = (components[ir.ROOT].get("inputDefinitions") or {}).get("parameters") or {}
        given = {name: one["defaultValue"] for name, one in definitions.items()}
        with self.database.write() as connection:
            pipelines.add_components(connection, RUN, components)
            recorded.add_contexts(connection, RUN, "p", 0.0, {})
            jobs.insert(
                connection, id="1", kind="pipelineJobs", resource=RUN, payload={}, now=0.0, lane="thread"
            )
            turn = Turn(connection, 1.0)
            root = Task(1, RUN, 1, None, ir.ROOT, "dag", ir.ROOT, facts, 0.0, job="1")
            root.inputs["parameters"] = given
            progress.begin(turn, root)
            turn.settle()

    def queued(self) -> list[jobs.Job]:
        with self.database.read() as connection:
            return jobs.next_queued(connection, "process", 10_000)

    def start(self, job: jobs.Job) -> None:
        with self.database.write() as connection:
            jobs.lease(connection, job, "o", 1.0, 60.0)
            progress.follow_job(connection, job, 1.0)

    def end(self, job: jobs.Job, state: Any = "SUCCEEDED", value: Any = 1) -> None:
        outputs = {"parameters": {"Output": value}, "artifacts": {}}
        error = None if state == "SUCCEEDED" else {"code": 9, "message": "it failed"}
        with self.database.write() as connection:
            found = jobs.get(connection, job.id)
            jobs.end(connection, found, state, 0.0, result={"outputs": outputs}, error=error)
            progress.follow_job(connection, found, 1.0)

    def tasks(self) -> list[Task]:
        with self.database.read() as connection:
            return list(pipelines.of_run(connection, RUN))

    def named(self, name: str) -> Task:
        return next(task for task in self.tasks() if task.name == name)

    def name(self, job: jobs.Job) -> str:
        return next(task.name for task in self.tasks() if task.job == job.id)

    def to_the_end(self, fails: Callable[[str], bool] = lambda name: False) -> int:
        """How many jobs ran."""
        count = 0
        while queued := self.queued():
            for job in queued:
                self.start(job)
                self.end(job, "FAILED" if fails(self.name(job)) else "SUCCEEDED")
                count += 1
        return count


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    made: list[Run] = []

    def start(name: str, source: str = CONSTRUCTS, policy: str = "") -> Run:
        made.append(Run(tmp_path, compiled(source)[name], policy))
        return made[-1]

    yield start
    for run in made:
        run.database.close()


def test_only_what_has_all_it_needs_is_queued(begin):
    run = begin("chain")
    [first] = run.queued()
    assert run.name(first) == "add" and run.named("add").inputs["parameters"] == {"a": 1, "b": 3}
    run.start(first)
    assert run.queued() == [] and run.named("add").state == "RUNNING"
    run.end(first, value=7)
    [second] = run.queued()
    assert run.named("add-2").inputs["parameters"] == {"a": 7, "b": 10}
    run.start(second)
    run.end(second, value=17)
    root = run.named("root")
    assert root.state == "SUCCEEDED" and root.outputs["parameters"] == {"Output": 17}


def test_no_more_iterations_than_allowed_run_at_once(begin):
    run = begin("limited", LARGE)
    most = 0
    while queued := run.queued():
        most = max(most, len(queued))
        run.start(queued[0])
        run.end(queued[0])
    assert most == 3 and run.named("for-loop-2").begun == 10 and run.named("root").state == "SUCCEEDED"


def test_fail_slow_does_all_that_can_be_done(begin):
    run = begin("two_ways")
    run.to_the_end(lambda name: name == "fail")
    found = {task.name: task.state for task in run.tasks()}
    assert found == {"root": "FAILED", "fail": "FAILED", "say": "SUCCEEDED", "say-2": "SUCCEEDED"}
    message = run.named("root").error["message"]
    assert (
        message == "The DAG failed because some tasks failed. The failed tasks are: [fail]. fail: it failed"
    )


def test_fail_fast_begins_nothing_more(begin):
    run = begin("two_ways", policy=progress.FAIL_FAST)
    by_name = {run.name(job): job for job in run.queued()}
    for job in by_name.values():
        run.start(job)
    run.end(by_name["fail"], "FAILED")
    run.end(by_name["say"])
    assert run.queued() == [] and run.named("say-2").state == "NOT_TRIGGERED"
    assert run.named("root").state == "FAILED"


def test_an_exit_handler_runs_also_when_it_is_fast_to_fail(begin):
    run = begin("leaving", policy=progress.FAIL_FAST)
    run.to_the_end(lambda name: name == "fail")
    assert run.named("told").state == "SUCCEEDED" and run.named("root").state == "FAILED"


def test_the_parent_rests_while_its_children_are_at_work(begin):
    run = begin("chain")
    with run.database.write() as connection:
        job = jobs.get(connection, "1")
        jobs.lease(connection, job, "o", 1.0, 60.0)
        jobs.wait(connection, job, None)
    [first] = run.queued()
    run.start(first)
    run.end(first)
    with run.database.read() as connection:
        assert jobs.get(connection, "1").state == "WAITING"
    run.to_the_end()
    with run.database.read() as connection:
        assert jobs.get(connection, "1").state == "QUEUED"


def test_a_crash_in_a_move_leaves_nothing_of_it(begin, monkeypatch):
    run = begin("chain")
    [first] = run.queued()
    run.start(first)
    monkeypatch.setattr(pipelines, "update", lambda connection, changed: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.end(first)
    monkeypatch.undo()
    assert run.named("add").state == "RUNNING" and run.queued() == []
    run.end(first)
    assert [run.name(job) for job in run.queued()] == ["add-2"]


def test_what_no_end_has_told_is_found_out(begin):
    run = begin("chain")
    [first] = run.queued()
    with run.database.write() as connection:
        found = jobs.get(connection, first.id)
        jobs.end(connection, found, "FAILED", 0.0, error={"code": 13, "message": "lost"})
    with run.database.write() as connection:
        turn = Turn(connection, 1.0)
        progress.mend(turn, turn.task(1))
        turn.settle()
    assert run.named("add").state == "FAILED" and run.named("root").state == "FAILED"


def test_cancelled_with_all_that_has_not_ended(begin):
    run = begin("chain")
    [first] = run.queued()
    run.start(first)
    with run.database.write() as connection:
        turn = Turn(connection, 1.0)
        progress.cancel(turn, turn.task(1))
        turn.settle()
    run.end(first)
    assert {task.name: task.state for task in run.tasks()} == {
        "root": "CANCELLED", "add": "CANCELLED", "add-2": "NOT_TRIGGERED",
    }  # fmt: skip


def test_a_wide_run(begin, monkeypatch):
    """Of so many iterations some are under way at a time, though nothing limits them."""
    monkeypatch.setattr(progress, "_BESIDE", 50)
    run = begin("wide", LARGE)
    assert len(run.queued()) == 50
    assert run.to_the_end() == 120
    assert Counter(task.state for task in run.tasks()) == {"SUCCEEDED": 242}
