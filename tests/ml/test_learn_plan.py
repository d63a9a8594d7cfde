"""A model trained again from the plan of its training: the same files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.ml.test_learn_train import INPUTS, people

from portico.ml.learn.plan import Plan
from portico.ml.learn.spec import TrainSpec
from portico.ml.learn.split import SplitSpec
from portico.ml.learn.train import train


def files(trained: object, folder: Path) -> dict[str, bytes]:
    trained.save(folder)  # type: ignore[attr-defined]
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("kind", "target", "options"),
    [
        ("regression", "amount", {}),
        ("regression", "amount", {"split": SplitSpec("predefined", "part"), "weight_column": "weight"}),
        ("classification", "yes", {"optimization_objective": "minimize-log-loss"}),
        ("classification", "kind", {}),
    ],
)
def test_a_plan_gives_the_same_files(tmp_path, kind, target, options):
    table = people(300)
    spec = TrainSpec(kind, target, INPUTS, budget_seconds=1.5, threads=1, **options)
    first = train(table, spec)
    plan = Plan.from_json(json.loads(json.dumps(first.plan.to_json())))
    again = train(table, spec, plan=plan)
    assert files(again, tmp_path / "again") == files(first, tmp_path / "first")
    assert again.iterations == plan.rounds < first.iterations
    assert again.plan == plan  # so that a repetition can be repeated
    if target == "yes":  # of two classes the folds' means serve
        assert not any(member.refits for member in plan.members)


def test_a_plan_does_not_look_at_the_clock(tmp_path, monkeypatch):
    monkeypatch.delenv("PORTICO_ITERATIONS_A_NODE_SECOND")
    table = people(300)
    spec = TrainSpec("regression", "amount", INPUTS, budget_seconds=1.0, threads=1)
    first = train(table, spec)  # cut short wherever this machine was then
    again = train(table, spec, plan=first.plan)
    assert files(again, tmp_path / "again") == files(first, tmp_path / "first")
    assert again.cut_short == first.cut_short
