"""Vizier by Google's client: studies, their trials, what is suggested next and when a trial is to stop."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1 import types
from tests.waiting import until

PARENT = "projects/test-project/locations/us-central1"


@pytest.fixture
def vizier(aiplatform: Any, portico: Any) -> Any:
    from google.cloud.aiplatform.utils import VizierClientWithOverride

    return aiplatform.initializer.global_config.create_client(VizierClientWithOverride)


def double(name: str, low: float, high: float, scale: str = "UNIT_LINEAR_SCALE") -> dict[str, Any]:
    return {
        "parameter_id": name,
        "double_value_spec": {"min_value": low, "max_value": high},
        "scale_type": scale,
    }


def categorical(name: str, *values: str, below: dict[str, list[Any]] | None = None) -> dict[str, Any]:
    conditions = [
        {"parent_categorical_values": {"values": [value]}, "parameter_spec": spec}
        for value, specs in (below or {}).items()
        for spec in specs
    ]
    return {
        "parameter_id": name,
        "categorical_value_spec": {"values": values},
        "conditional_parameter_specs": conditions,
    }


def discrete(name: str, *values: float) -> dict[str, Any]:
    return {"parameter_id": name, "discrete_value_spec": {"values": values}}


def integer(name: str, low: int, high: int, scale: str = "UNIT_LINEAR_SCALE") -> dict[str, Any]:
    return {
        "parameter_id": name,
        "integer_value_spec": {"min_value": low, "max_value": high},
        "scale_type": scale,
    }


def study_of(
    vizier: Any, *parameters: dict[str, Any], goals: dict[str, str] | None = None, **spec: Any
) -> str:
    metrics = [{"metric_id": name, "goal": goal} for name, goal in (goals or {"y": "MAXIMIZE"}).items()]
    study = {
        "display_name": f"study-{time.time_ns()}",
        "study_spec": {"metrics": metrics, "parameters": parameters, **spec},
    }
    return str(vizier.create_study(parent=PARENT, study=study).name)


def suggest(vizier: Any, study: str, count: int = 1, client: str = "one", **more: Any) -> list[Any]:
    asked = {"parent": study, "suggestion_count": count, "client_id": client, **more}
    return list(vizier.suggest_trials(request=asked).result(timeout=120).trials)


def values(trial: Any) -> dict[str, Any]:
    return {one.parameter_id: one.value for one in trial.parameters}


def measurement(step: int = 0, **metrics: float) -> dict[str, Any]:
    return {"step_count": step, "metrics": [{"metric_id": k, "value": v} for k, v in metrics.items()]}


def complete(vizier: Any, trial: Any, **metrics: float) -> Any:
    asked = {"name": trial.name, "final_measurement": measurement(**metrics)}
    return vizier.complete_trial(request=asked)


def test_a_study_is_made_once_found_and_deleted(vizier):
    name = study_of(vizier, double("x", 0, 1))
    made = vizier.get_study(name=name)
    assert made.state.name == "ACTIVE" and made.study_spec.metrics[0].metric_id == "y"
    again = {"display_name": made.display_name, "study_spec": made.study_spec}
    with pytest.raises(exceptions.Conflict, match="exists already"):
        vizier.create_study(parent=PARENT, study=again)
    found = vizier.lookup_study(request={"parent": PARENT, "display_name": made.display_name})
    assert found.name == name and name in [one.name for one in vizier.list_studies(parent=PARENT)]
    suggest(vizier, name)
    vizier.delete_study(name=name)
    with pytest.raises(exceptions.NotFound):
        vizier.get_study(name=name)
    with pytest.raises(exceptions.NotFound):
        vizier.lookup_study(request={"parent": PARENT, "display_name": made.display_name})


@pytest.mark.parametrize(
    ("parameters", "spec", "says"),
    [
        ([], {}, "needs a parameter"),
        ([double("x", 2, 1)], {}, "above its maxValue"),
        ([double("x", 0, 1, "UNIT_LOG_SCALE")], {}, "above 0"),
        ([double("x", 0, 1), double("x", 0, 1)], {}, "unique"),
        ([{"parameter_id": "x"}], {}, "needs one of doubleValueSpec"),
        ([discrete("x", 2, 1)], {}, "increasing"),
        ([double("x", 0, 1)], {"algorithm": "GRID_SEARCH"}, "GRID_SEARCH needs"),
        ([categorical("c", "a", below={"b": [double("x", 0, 1)]})], {}, "no value of 'c'"),
        ([double("x", 0, 1)], {"metrics": []}, "metrics"),
        ([double("x", 0, 1)], {"goals": {"y": "GOAL_TYPE_UNSPECIFIED"}}, "MAXIMIZE"),
        (
            [double("x", 0, 1)],
            {"goals": {"y": "MAXIMIZE", "z": "MINIMIZE"}, "median_automated_stopping_spec": {}},
            "one metric",
        ),
    ],
)
def test_a_bad_spec_names_what_is_wrong(vizier, parameters, spec, says):
    with pytest.raises(exceptions.BadRequest, match=says):
        study_of(vizier, *parameters, **spec)


def test_a_client_gets_its_trials_again_until_they_end(vizier):
    study = study_of(vizier, double("x", 0, 1))
    first = suggest(vizier, study, 2)
    assert [one.id for one in first] == ["1", "2"] and {one.client_id for one in first} == {"one"}
    assert [one.name for one in suggest(vizier, study, 2)] == [one.name for one in first]
    other = suggest(vizier, study, 1, "two")
    assert other[0].id == "3" and other[0].state.name == "ACTIVE"
    complete(vizier, first[0], y=1.0)
    third = suggest(vizier, study, 2)
    assert [one.id for one in third] == ["2", "4"]
    assert [one.id for one in vizier.list_trials(parent=study)] == ["4", "3", "2", "1"]
    vizier.delete_trial(name=third[1].name)
    assert suggest(vizier, study, 2)[1].id == "5"


def test_who_asks_alone_needs_no_name(vizier):
    study = study_of(vizier, double("x", 0, 1))
    first = suggest(vizier, study, 1, "")
    assert [one.name for one in suggest(vizier, study, 1, "")] == [one.name for one in first]
    assert suggest(vizier, study, 1, "two")[0].id == "2"


def test_a_suggestion_is_done_when_it_is_answered(vizier):
    study = study_of(vizier, double("x", 0, 1))
    for _ in range(6):
        complete(vizier, suggest(vizier, study)[0], y=1.0)
    asked = {"parent": study, "suggestion_count": 1, "client_id": "one"}
    operation = vizier.suggest_trials(request=asked)
    assert operation.metadata.client_id == "one"
    answer = operation.result(timeout=120)
    assert answer.study_state.name == "ACTIVE" and answer.end_time >= answer.start_time


def test_measurements_choose_the_final_one(vizier):
    for selection, wanted in (("LAST_MEASUREMENT", 0.4), ("BEST_MEASUREMENT", 0.9)):
        study = study_of(vizier, double("x", 0, 1), measurement_selection_type=selection)
        trial = suggest(vizier, study)[0]
        with pytest.raises(exceptions.BadRequest, match="no measurement of y"):
            vizier.complete_trial(request={"name": trial.name})
        for step, y in ((3, 0.4), (1, 0.2), (2, 0.9)):
            asked = {"trial_name": trial.name, "measurement": measurement(step, y=y)}
            seen = vizier.add_trial_measurement(request=asked)
        assert [one.step_count for one in seen.measurements] == [1, 2, 3]
        assert seen.measurements[0].elapsed_duration.total_seconds() > 0
        with pytest.raises(exceptions.BadRequest, match="no metric 'z'"):
            vizier.add_trial_measurement(
                request={"trial_name": trial.name, "measurement": measurement(4, z=1.0)}
            )
        ended = vizier.complete_trial(request={"name": trial.name})
        assert ended.state.name == "SUCCEEDED" and ended.final_measurement.metrics[0].value == wanted
        with pytest.raises(exceptions.BadRequest, match="has ended already"):
            vizier.complete_trial(request={"name": trial.name})


def test_infeasible_and_made_trials(vizier):
    study = study_of(vizier, double("x", 0, 1), integer("n", 1, 5))
    trial = suggest(vizier, study)[0]
    asked = {"name": trial.name, "trial_infeasible": True, "infeasible_reason": "it diverged"}
    ended = vizier.complete_trial(request=asked)
    assert ended.state.name == "INFEASIBLE" and ended.infeasible_reason == "it diverged"
    mine = types.Trial(
        parameters=[{"parameter_id": "x", "value": 0.25}, {"parameter_id": "n", "value": 4}],
    )
    made = vizier.create_trial(parent=study, trial=mine)
    assert made.state.name == "REQUESTED" and values(made) == {"x": 0.25, "n": 4}
    taken = suggest(vizier, study, client="two")[0]
    assert taken.name == made.name and taken.state.name == "ACTIVE" and taken.client_id == "two"
    mine.final_measurement = types.Measurement(metrics=[{"metric_id": "y", "value": 7}])
    mine.state = "SUCCEEDED"
    done = vizier.create_trial(parent=study, trial=mine)
    assert done.state.name == "SUCCEEDED"
    best = vizier.list_optimal_trials(request={"parent": study}).optimal_trials
    assert [one.name for one in best] == [done.name]
    mine.parameters[1].value = 9
    with pytest.raises(exceptions.BadRequest, match="no integer from 1 to 5"):
        vizier.create_trial(parent=study, trial=mine)


def test_every_scale_and_type_keeps_its_bounds(vizier):
    study = study_of(
        vizier, double("linear", -1, 1), double("log", 1e-5, 1.0, "UNIT_LOG_SCALE"),
        double("reverse", 0.5, 0.999, "UNIT_REVERSE_LOG_SCALE"), integer("count", 1, 300, "UNIT_LOG_SCALE"),
        discrete("size", 16, 32, 64.5), categorical("kind", "a", "b"), algorithm="RANDOM_SEARCH",
    )  # fmt: skip
    found = [values(one) for one in suggest(vizier, study, 60)]
    assert all(-1 <= one["linear"] <= 1 and 1e-5 <= one["log"] <= 1 for one in found)
    assert all(0.5 <= one["reverse"] <= 0.999 for one in found)
    assert 10 < sum(one["log"] < 10**-2.5 for one in found) < 50  # half of the decades
    assert all(one["count"] == int(one["count"]) and 1 <= one["count"] <= 300 for one in found)
    assert {one["size"] for one in found} == {16, 32, 64.5} and {one["kind"] for one in found} == {"a", "b"}


def test_what_depends_on_another_is_there_only_beside_it(vizier):
    study = study_of(
        vizier, categorical("kind", "tree", "line", below={
            "tree": [integer("depth", 2, 8)], "line": [double("alpha", 0.1, 10, "UNIT_LOG_SCALE")],
        }),
    )  # fmt: skip
    seen = set()
    for number in range(12):
        trial = suggest(vizier, study)[0]
        found = values(trial)
        assert found.keys() == {"kind", "depth" if found["kind"] == "tree" else "alpha"}
        seen.add(found["kind"])
        complete(vizier, trial, y=float(number))
    assert seen == {"tree", "line"}


def test_a_grid_is_searched_once(vizier):
    study = study_of(
        vizier, integer("n", 1, 2), categorical("kind", "a", "b", below={"b": [discrete("d", 0.5, 1)]}),
        algorithm="GRID_SEARCH",
    )  # fmt: skip
    found = [values(one) for one in suggest(vizier, study, 10)]
    assert len(found) == 6 and len({tuple(sorted(one.items())) for one in found}) == 6
    asked = {"parent": study, "suggestion_count": 1, "client_id": "other"}
    answer = vizier.suggest_trials(request=asked).result(timeout=120)
    assert not answer.trials and answer.study_state.name == "COMPLETED"


def test_contexts_fix_parameters(vizier):
    study = study_of(vizier, double("x", 0, 1), categorical("day", "monday", "tuesday"))
    contexts = [{"parameters": [{"parameter_id": "day", "value": "tuesday"}]}]
    assert {values(one)["day"] for one in suggest(vizier, study, 5, contexts=contexts)} == {"tuesday"}
    with pytest.raises(exceptions.BadRequest, match="no value of 'day'"):
        suggest(
            vizier, study, contexts=[{"parameters": [{"parameter_id": "day", "value": "friday"}]}], client="b"
        )


def test_the_best_of_several_objectives(vizier):
    study = study_of(vizier, double("x", 0, 1), goals={"good": "MAXIMIZE", "cost": "MINIMIZE"})
    pairs = [(1.0, 5.0), (0.5, 1.0), (0.4, 2.0), (1.0, 6.0), (0.7, 2.0), (0.1, 0.5), (0.2, 3.0)]
    for good, cost in pairs:
        complete(vizier, suggest(vizier, study)[0], good=good, cost=cost)
    best = vizier.list_optimal_trials(request={"parent": study}).optimal_trials
    assert [one.id for one in best] == ["1", "2", "5", "6"]
    assert 0 <= values(suggest(vizier, study)[0])["x"] <= 1


def test_it_learns():
    from portico.services.aiplatform.vizier.suggesting import suggest as next_of

    def search(algorithm: str, name: str) -> float:
        scale = {"scaleType": "UNIT_LOG_SCALE"}
        spec = {
            "algorithm": algorithm,
            "metrics": [{"metricId": "y", "goal": "MINIMIZE"}],
            "parameters": [
                {"parameterId": "x", "doubleValueSpec": {"minValue": -5, "maxValue": 5}},
                {"parameterId": "rate", "doubleValueSpec": {"minValue": 1e-6, "maxValue": 1}, **scale},
            ],
        }
        trials: list[dict[str, Any]] = []
        for number in range(1, 41):
            made = next_of(name, spec, trials, number)
            assert made is not None and made == next_of(name, spec, trials, number)
            x, rate = (one["value"] for one in made)
            y = (x - 3) ** 2 + (math.log10(rate) + 4) ** 2
            final = {"metrics": [{"metricId": "y", "value": y}]}
            trials.append({"state": "SUCCEEDED", "parameters": made, "finalMeasurement": final})
        return min(one["finalMeasurement"]["metrics"][0]["value"] for one in trials)

    names = [f"study-{number}" for number in range(5)]
    learnt = sum(search("ALGORITHM_UNSPECIFIED", name) for name in names)
    assert learnt < sum(search("RANDOM_SEARCH", name) for name in names) / 2


def run_curves(vizier: Any, study: str, ends: list[float], steps: int = 8) -> None:
    """Ends trials, whose curve rises to each of `ends` and flattens."""
    for end in ends:
        trial = suggest(vizier, study)[0]
        for step in range(1, steps + 1):
            y = end * (1 - 0.5**step)
            vizier.add_trial_measurement(
                request={"trial_name": trial.name, "measurement": measurement(step, y=y)}
            )
        vizier.complete_trial(request={"name": trial.name})


def is_to_stop(vizier: Any, trial: Any) -> bool:
    asked = {"trial_name": trial.name}
    operation = vizier.check_trial_early_stopping_state(request=asked)
    assert operation.metadata.trial == trial.name
    return bool(operation.result(timeout=120).should_stop)


@pytest.mark.parametrize(
    "rule",
    [
        {"median_automated_stopping_spec": {"use_elapsed_duration": False}},
        {"decay_curve_stopping_spec": {"use_elapsed_duration": False}},
        {"convex_automated_stopping_spec": {"max_step_count": 8, "min_measurement_count": 4}},
    ],
)
def test_a_hopeless_trial_is_to_stop_and_a_good_one_not(vizier, rule):
    study = study_of(vizier, double("x", 0, 1), **rule)
    run_curves(vizier, study, [0.9, 0.8, 0.95, 0.7, 0.85, 0.92])
    bad, good = suggest(vizier, study, 2)
    assert not is_to_stop(vizier, bad)  # nothing is measured yet
    for step in range(1, 5):
        for trial, end in ((bad, 0.1), (good, 1.0)):
            told = measurement(step, y=end * (1 - 0.5**step))
            vizier.add_trial_measurement(request={"trial_name": trial.name, "measurement": told})
    assert is_to_stop(vizier, bad) and not is_to_stop(vizier, good)
    assert vizier.get_trial(name=bad.name).state.name == "STOPPING"
    assert vizier.complete_trial(request={"name": bad.name}).state.name == "SUCCEEDED"


def test_a_trial_is_stopped_by_hand(vizier):
    trial = suggest(vizier, study_of(vizier, double("x", 0, 1)))[0]
    assert vizier.stop_trial(request={"name": trial.name}).state.name == "STOPPING"
    assert is_to_stop(vizier, trial)
    complete(vizier, trial, y=1.0)
    with pytest.raises(exceptions.BadRequest):
        vizier.stop_trial(request={"name": trial.name})


FAR = [
    ({"doubleValueSpec": {"minValue": "NaN", "maxValue": 1}}, "minValue"),
    ({"doubleValueSpec": {"minValue": 0, "maxValue": "Infinity"}}, "maxValue"),
    ({"doubleValueSpec": {"minValue": -1e308, "maxValue": 1}}, "minValue"),
    ({"discreteValueSpec": {"values": [1, "Infinity"]}}, "values[1]"),
    ({"discreteValueSpec": {"values": ["NaN", 1]}}, "values[0]"),
    ({"discreteValueSpec": {"values": ["10", "9"]}}, "values"),
    ({"categoricalValueSpec": {"values": ["a", "b\0"]}}, "values"),  # no argument of a trial
    ({"parameterId": "x\0", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}, "parameterId"),
]


@pytest.mark.parametrize(("given", "field"), FAR)
def test_a_space_that_is_no_range_names_the_field(given, field):
    from portico.errors import InvalidArgument
    from portico.services.aiplatform.vizier import space

    with pytest.raises(InvalidArgument) as raised:
        space.check([{"parameterId": "x", **given}], "parameters")
    assert raised.value.violations[0].field.endswith(field)


@pytest.mark.parametrize("scale", ["UNIT_LINEAR_SCALE", "UNIT_LOG_SCALE", "UNIT_REVERSE_LOG_SCALE"])
def test_the_widest_scale_goes_there_and_back(scale):
    from portico.services.aiplatform.vizier import space

    spec = {
        "parameterId": "x",
        "doubleValueSpec": {"minValue": 1e-300, "maxValue": 1e300},
        "scaleType": scale,
    }
    space.check([spec], "parameters")
    if scale == "UNIT_LINEAR_SCALE":
        spec["doubleValueSpec"] = {"minValue": -1e300, "maxValue": 1e300}
    found = [space.at(spec, unit / 8) for unit in range(9)]
    assert found == sorted(found)
    if scale != "UNIT_REVERSE_LOG_SCALE":  # of which a float has but the upper end
        assert [space.place(spec, value) for value in found] == pytest.approx([unit / 8 for unit in range(9)])


def test_numbers_may_be_words():
    """As proto3's JSON allows."""
    from portico.services.aiplatform.vizier import space

    specs = [
        {"parameterId": "x", "discreteValueSpec": {"values": ["9", "10.5"], "defaultValue": "10.5"}},
        {"parameterId": "y", "doubleValueSpec": {"minValue": "0", "maxValue": "2", "defaultValue": "0.5"}},
    ]
    space.check(specs, "parameters")
    assert space.walk(specs, lambda _, one: space.first(one)) == [("x", 10.5), ("y", 0.5)]
    assert space.value_in(specs[0], 9, "x") == 9.0


def test_a_wanted_value_of_a_vast_grid_is_found_at_once():
    from portico.services.aiplatform.vizier import suggesting

    vast = {"integerValueSpec": {"minValue": "0", "maxValue": str(2**63 - 1)}}
    spec = {
        "algorithm": "GRID_SEARCH",
        "parameters": [{"parameterId": "x", **vast}, {"parameterId": "y", **vast}],
    }
    found = suggesting.suggest("s", spec, [], 1, {"x": 2**62, "y": 2**61})
    assert found == [{"parameterId": "x", "value": 2**62}, {"parameterId": "y", "value": 2**61}]
    assert suggesting.suggest("s", spec, [{"parameters": found}], 2, {"x": 2**62, "y": 2**61}) is None


def test_the_greatest_measurements_can_be_reckoned_with():
    from portico.services.aiplatform.vizier import stopping, suggesting

    spec = {
        "metrics": [{"metricId": "m", "goal": "MAXIMIZE"}, {"metricId": "n", "goal": "MINIMIZE"}],
        "parameters": [{"parameterId": "x", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}],
    }

    def trial(number: int, state: str = "SUCCEEDED") -> dict[str, Any]:
        big = 1.7e308 * (-1) ** number
        told = [
            {"stepCount": str(s), "metrics": [{"metricId": k, "value": big} for k in "mn"]} for s in range(8)
        ]
        return {
            "state": state, "parameters": [{"parameterId": "x", "value": number / 10}], "measurements": told,
            "finalMeasurement": told[-1],
        }  # fmt: skip

    trials = [trial(number) for number in range(8)]
    found = suggesting.suggest("s", spec, trials, 9)
    assert found is not None and 0 <= found[0]["value"] <= 1
    for rule in ("decayCurveStoppingSpec", "medianAutomatedStoppingSpec", "convexAutomatedStoppingSpec"):
        one = {**spec, "metrics": spec["metrics"][:1], rule: {}}
        assert stopping.should_stop(one, trial(9, "ACTIVE"), trials) in (True, False)


def test_many_suggestions_are_made_some_at_a_time(vizier):
    """Whoever comes between takes no more from them than some, and a study that is deleted ends them."""
    study = study_of(vizier, double("x", 0, 1))
    for trial in suggest(vizier, study, 5):
        complete(vizier, trial, y=1.0)
    asked = vizier.suggest_trials(request={"parent": study, "suggestion_count": 1000, "client_id": "one"})
    until(lambda: len(list(vizier.list_trials(parent=study))) >= 25, "the first are there")
    assert not asked.done()
    assert suggest(vizier, study, 1, client="two")[0].client_id == "two"
    vizier.delete_study(name=study)


def test_a_study_is_over_when_its_config_says_so(vizier):
    config = {"max_num_trials": 4, "max_num_trials_no_progress": 2, "min_num_trials": 3}
    study = study_of(vizier, double("x", 0, 1), study_stopping_config=config)
    for y in (3.0, 2.0, 1.0):  # two without progress, but none is over before the third
        [trial] = suggest(vizier, study)
        complete(vizier, trial, y=y)
    assert suggest(vizier, study) == []
    assert vizier.get_study({"name": study}).state.name == "COMPLETED"
    several = study_of(vizier, double("x", 0, 1), study_stopping_config={"max_num_trials": 25})
    assert len(suggest(vizier, several, count=60)) == 25
    with pytest.raises(exceptions.MethodNotImplemented, match="go on to their end"):
        study_of(vizier, double("x", 0, 1), study_stopping_config={"should_stop_asap": True})
    with pytest.raises(exceptions.BadRequest, match="for a study of one metric"):
        goals = {"a": "MAXIMIZE", "b": "MINIMIZE"}
        study_of(vizier, double("x", 0, 1), goals=goals, study_stopping_config=config)


def test_what_ends_a_study():
    from portico.services.aiplatform.vizier.ending import is_over

    def ended(second: int, y: float | None) -> dict[str, Any]:
        told: dict[str, Any] = {"state": "INFEASIBLE", "endTime": f"2026-01-01T00:00:{second:02d}Z"}
        if y is not None:
            told |= {"state": "SUCCEEDED", "finalMeasurement": {"metrics": [{"metricId": "y", "value": y}]}}
        return told

    begun = 1767225600.0  # 2026-01-01
    trials = [ended(1, 2.0), ended(5, 3.0), ended(9, 1.0), ended(12, None), {"state": "ACTIVE"}]

    def over(at: float, **config: Any) -> bool:
        spec = {"metrics": [{"metricId": "y", "goal": "MAXIMIZE"}], "studyStoppingConfig": config}
        return is_over(spec, trials, begun, begun + at)

    assert not over(20.0) and not over(20.0, minNumTrials=1)
    assert over(20.0, maxNumTrials=5) and not over(20.0, maxNumTrials=6)
    assert over(20.0, maxNumTrialsNoProgress=2) and not over(20.0, maxNumTrialsNoProgress=3)
    assert over(15.0, maxDurationNoProgress="10s") and not over(14.0, maxDurationNoProgress="10s")
    assert over(20.0, maximumRuntimeConstraint={"maxDuration": "20s"})
    assert not over(19.0, maximumRuntimeConstraint={"endTime": "2026-01-01T00:00:20Z"})
    late = {"maximumRuntimeConstraint": {"maxDuration": "1s"}}
    assert not over(20.0, minNumTrials=5, **late) and over(20.0, minNumTrials=4, **late)
    assert not over(20.0, minimumRuntimeConstraint={"maxDuration": "21s"}, **late)
