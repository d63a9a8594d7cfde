"""Every operator of a condition on every type that kfp lets it compare, true and false; and how far a loop goes."""

from __future__ import annotations

import operator

import pytest
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.aiplatform.pipelines_run import failed, outputs

from portico.services.aiplatform.pipelines import conditions

OPERATORS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
SOURCE = r"""
@dsl.component
def say(text: str) -> str:
    return text

@dsl.pipeline
def compare(f: float, s: str, b: bool, i: int):
    for name, value, other in (("f", f, 1.5), ("s", s, "m"), ("b", b, True), ("n", b, False), ("i", i, 2)):
        with dsl.If(value == other): say(text=f"{name} ==")
        with dsl.If(value != other): say(text=f"{name} !=")
        with dsl.If(value < other): say(text=f"{name} <")
        with dsl.If(value <= other): say(text=f"{name} <=")
        with dsl.If(value > other): say(text=f"{name} >")
        with dsl.If(value >= other): say(text=f"{name} >=")

@dsl.pipeline
def loop(items: List[int]):
    with dsl.ParallelFor(items) as item:
        say(text=f"{item}")
"""
OTHER = {"f": 1.5, "s": "m", "b": True, "n": False, "i": 2}


@pytest.fixture
def job(aiplatform, bucket, submit_pipeline):
    def submit(name, **values):
        made = aiplatform.PipelineJob(
            display_name=name, template_path=compiled(SOURCE)[name], pipeline_root=f"gs://{bucket.name}/root",
            job_id=f"conditions-{name}-{bucket.name.rpartition('-')[2]}", parameter_values=values,
        )  # fmt: skip
        made.submit()
        return made

    return submit


@pytest.mark.parametrize("sign", OPERATORS)
@pytest.mark.parametrize(
    ("literal", "other", "values"),
    [
        ("1.5", 1.5, (1.0, 1.5, 1.75, -2.0)),
        ("2", 2, (1, 2, 3, -2)),
        ("'m'", "m", ("", "a", "m", "mm", "z", "é")),
        ("true", True, (True, False)),
        ("false", False, (True, False)),
    ],
)
def test_operators(sign, literal, other, values):
    value = "inputs.parameter_values['pipelinechannel--x']"
    condition = f"int({value}) {sign} {literal}" if literal == "2" else f"{value} {sign} {literal}"
    conditions.check(condition, "f")
    for one in values:
        found = conditions.holds(condition, {"pipelinechannel--x": one})
        assert found is OPERATORS[sign](one, other), (one, condition)
        negated = f"!({condition})"  # what an Else has of it
        assert conditions.holds(negated, {"pipelinechannel--x": one}) is not found


@pytest.mark.parametrize(
    "given",
    [
        {"f": 1.0, "s": "a", "b": False, "i": 1},
        {"f": 1.5, "s": "m", "b": True, "i": 2},
        {"f": 2.5, "s": "z", "b": True, "i": 3},
    ],
)
def test_operators_in_a_pipeline(job, given):
    made = job("compare", **given)
    made.wait()
    values = {**given, "n": given["b"]}
    said = {text for name, text in outputs(made).items() if name.startswith("say")}
    assert said == {
        f"{name} {sign}"
        for name, other in OTHER.items()
        for sign, holds in OPERATORS.items()
        if holds(values[name], other)
    }


def test_a_loop_goes_so_far(job):
    made = job("loop", items=list(range(10_001)))
    assert "The loop has 10,001 iterations; at most 10,000 are run." in failed(made)
