"""What a compiled pipeline must be: read, checked, taken to pieces; its conditions, placeholders and values."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.services.aiplatform.kfp_compiled import VERSIONS, compiled
from tests.services.aiplatform.kfp_sources import CONSTRUCTS, OLDEST

from portico.errors import FailedPrecondition, InvalidArgument, PorticoError, ResourceExhausted, Unimplemented
from portico.services.aiplatform.pipelines import conditions, executor, ir, values
from portico.services.aiplatform.pipelines.placeholders import Scope
from portico.store.pipelines import Task

T = "pipelineSpec.root.dag.tasks"
C = "pipelineSpec.components[comp-add]"
E = "pipelineSpec.deploymentSpec.executors[exec-add]"


@pytest.fixture(scope="module")
def chain() -> dict[str, Any]:
    return yaml.safe_load(Path(compiled(CONSTRUCTS)["chain"]).read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_of_kfp_is_read(version):
    found = compiled(OLDEST, version)
    assert len(found) == 3
    for file in found.values():
        assert ir.read(yaml.safe_load(Path(file).read_text()))[ir.ROOT]["tasks"]


def test_every_construct_is_read():
    for file in compiled(CONSTRUCTS).values():
        ir.read(yaml.safe_load(Path(file).read_text()))


def first(spec: dict[str, Any]) -> dict[str, Any]:
    return spec["root"]["dag"]["tasks"]["add"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda s: first(s).update(unknown=1), f"{T}[add].unknown"),
        (lambda s: first(s).update(componentRef={"name": 2}), f"{T}[add].componentRef.name"),
        (lambda s: first(s).update(componentRef={"name": "none"}), f"{T}[add].componentRef.name"),
        (lambda s: first(s).update(retryPolicy={"maxRetryCount": "x"}), f"{T}[add].retryPolicy.maxRetryCount"),
        (lambda s: first(s).update(dependentTasks=["none"]), f"{T}[add]"),
        (lambda s: first(s).update(dependentTasks=["add-2"]), T),
        (lambda s: first(s).update(triggerPolicy={"condition": "1 ==="}), f"{T}[add].triggerPolicy.condition"),
        (lambda s: first(s)["inputs"]["parameters"].clear(), f"{T}[add].inputs.parameters"),
        (lambda s: s["root"]["dag"]["tasks"].update(add=[]), f"{T}[add]"),
        (lambda s: s["root"].update(dag=[]), "pipelineSpec.root.dag"),
        (lambda s: s["root"].update(dag=None), "pipelineSpec.root"),
        (lambda s: s["components"]["comp-add"].update(outputDefinitions=3), f"{C}.outputDefinitions"),
        (
            lambda s: s["components"]["comp-add"]["inputDefinitions"]["parameters"]["a"].update(parameterType=99),
            f"{C}.inputDefinitions.parameters[a].parameterType",
        ),
        (
            lambda s: s["components"]["comp-add"]["inputDefinitions"]["parameters"]["a"].update(parameterType=[]),
            f"{C}.inputDefinitions.parameters[a].parameterType",
        ),
        (lambda s: s["deploymentSpec"]["executors"].update({"exec-add": {}}), E),
        (lambda s: s["deploymentSpec"]["executors"].update({"exec-add": {"container": None}}), E),
        (lambda s: s["deploymentSpec"]["executors"]["exec-add"]["container"].update(args="x"), f"{E}.container.args"),
        (lambda s: s.update(schemaVersion="1.9.0"), "pipelineSpec.schemaVersion"),
        (lambda s: s.update(root=5), "pipelineSpec.root"),
        (lambda s: s.pop("root"), "pipelineSpec.root"),
        (lambda s: s.pop("pipelineInfo"), "pipelineSpec.pipelineInfo.name"),
        (lambda s: s.update(deploymentSpec=[]), "pipelineSpec.deploymentSpec"),
        (
            lambda s: s["deploymentSpec"]["executors"].update(x={"container": {"image": 3}}),
            "pipelineSpec.deploymentSpec.executors[x].container.image",
        ),
        (
            lambda s: s["deploymentSpec"]["executors"].pop("exec-add"),
            "pipelineSpec.components[comp-add].executorLabel",
        ),
        (
            lambda s: s["components"].update(c={"dag": {"tasks": {"a": {"componentRef": {"name": "c"}}}}}),
            "pipelineSpec.components",
        ),
    ],
)  # fmt: skip
def test_the_error_names_the_field(chain, change, field):
    spec = copy.deepcopy(chain)
    change(spec)
    with pytest.raises(PorticoError) as caught:
        ir.read(spec)
    assert isinstance(caught.value, InvalidArgument)
    assert caught.value.violations[0].field == field
    assert field.removeprefix("pipelineSpec.").partition("[")[0] in caught.value.message


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "a\n"])
def test_names_are_no_paths(chain, name):
    for key in ("task", "output"):
        spec = copy.deepcopy(chain)
        if key == "task":
            spec["root"]["dag"]["tasks"][name] = spec["root"]["dag"]["tasks"]["add"]
        else:
            spec["components"]["comp-add"]["outputDefinitions"]["parameters"][name] = {
                "parameterType": "STRING"
            }
        with pytest.raises(InvalidArgument, match="is no name"):
            ir.read(spec)


OWN = {
    "name": "own",
    "type": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
    "uri": "gs://b/o",
    "metadata": {},
}
ASKED = {"outputs": {"outputFile": "/gcs/b/e.json", "artifacts": {"d": {"artifacts": [OWN]}}}}


def written(**said: Any) -> dict[str, Any]:
    task = Task(7, "projects/p/locations/l/pipelineJobs/r", 1, 1, "t", "container", "c", {}, 0.0)
    told = {"artifacts": {"d": {"artifacts": [said]}}}
    [made] = executor.outputs_of(task, {"artifacts": {"d": {}}}, ASKED, told)["artifacts"]["d"]
    return made


def test_whose_an_artifact_is_is_not_for_its_component_to_say():
    made = written(
        name="another's", type={"schemaTitle": "system.Model"}, uri="https://x/v1/models/1", metadata={"k": 1}
    )
    assert made == {**OWN, "uri": "https://x/v1/models/1", "metadata": {"k": 1}}


@pytest.mark.parametrize("said", [{"uri": "gs://b/" + "x" * 5000}, {"metadata": {"k": "x" * 300_000}}])
def test_what_is_too_large_is_refused(said):
    with pytest.raises(ResourceExhausted):
        written(**said)


V = "inputs.parameter_values"


@pytest.mark.parametrize(
    ("condition", "given", "holds"),
    [
        (f"int({V}['a']) == 4", {"a": 4}, True),
        (f"int({V}['a']) == 4 && {V}['b'] == 'x'", {"a": 5}, False),
        (f"!(int({V}['a']) == 4) && !({V}['s'] == 'it's')", {"a": 5, "s": "it's"}, False),
        (f"!(int({V}['a']) == 4) && {V}['s'] == 'it's \"so\"'", {"a": 5, "s": 'it\'s "so"'}, True),
        (f"{V}['s'] == 'a' b' && {V}['t'] == 'c'd'", {"s": "a' b", "t": "c'd"}, True),
        (f"'x'y' == {V}['s']", {"s": "x'y"}, True),
        (f"{V}['s'] == 'two\nlines'", {"s": "two\nlines"}, True),
        (f"{V}['f'] >= double(int({V}['a']))", {"f": 2.0, "a": 2}, True),
        (f"{V}['b'] == true", {"b": True}, True),
    ],
)
def test_conditions(condition, given, holds):
    conditions.check(condition, "f")
    assert conditions.holds(condition, given) is holds


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (f"{V}['x'] == 1", "has no value"),
        (f"int({V}['s']) == 1", "can't be evaluated"),
        (f"{V}['s']", "neither"),
    ],
)
def test_conditions_that_cannot_be_evaluated(condition, words):
    with pytest.raises(FailedPrecondition, match=words):
        conditions.holds(condition, {"s": "text"})


def test_a_condition_is_never_python():
    for text in ("__import__('os').system('true')", "open('/etc/passwd')", "(lambda: 1)()"):
        with pytest.raises((InvalidArgument, FailedPrecondition)):
            conditions.check(text, "f")
            conditions.holds(text, {})


def test_selectors():
    assert conditions.select('parseJson(string_value)["b"]', {"b": [1]}) == [1]
    assert conditions.select('parseJson(string_value)["b"]["c"]', '{"b": {"c": "it\'s"}}') == "it's"
    with pytest.raises(FailedPrecondition, match="can't be taken"):
        conditions.select('parseJson(string_value)["c"]', {"b": 1})


EXECUTOR = {
    "inputs": {
        "parameterValues": {"s": 'say "x"', "n": 3, "l": [1, "a"], "sly": "{{$.inputs.parameters['n']}}"},
        "artifacts": {"d": {"artifacts": [{"name": "N", "uri": "gs://b/o", "metadata": {"k": {"j": 1}}}]}},
    },
    "outputs": {"outputFile": "/gcs/b/e.json", "parameters": {"o": {"outputFile": "/gcs/b/o"}}},
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{$.inputs.parameters['n']}}-{{$.inputs.parameters['s']}}", '3-say "x"'),
        ("{{$.inputs.parameters['l']}}", '[1, "a"]'),
        ("{{$.inputs.parameters['s'].json_escape[1]}}", 'say \\"x\\"'),
        ("{{$.inputs.parameters['sly']}}", "{{$.inputs.parameters['n']}}"),
        ("{{$.inputs.parameters['absent']}}.", "."),
        ("{{$.inputs.artifacts['d'].uri}} {{$.inputs.artifacts['d'].path}}", "gs://b/o /gcs/b/o"),
        ("{{$.inputs.artifacts['d'].metadata['k']['j']}}", "1"),
        ("{{$.outputs.parameters['o'].output_file}} {{$.outputs.output_file}}", "/gcs/b/o /gcs/b/e.json"),
        ("{{$.pipeline_job_name}}", "job"),
        ("{{$}}", json.dumps(EXECUTOR)),
        ("{{ $x }}", "{{ $x }}"),
    ],
)
def test_placeholders(text, filled):
    assert Scope(EXECUTOR, {"pipeline_job_name": "job"}).fill(text) == filled


def test_a_whole_executor_input_can_be_escaped():
    made = Scope(EXECUTOR, {}).fill('"{{$.json_escape[1]}}"')
    assert json.loads(json.loads(made)) == EXECUTOR


@pytest.mark.parametrize("text", ["{{$.none}}", "{{$.outputs.parameters['x'].output_file}}", "{{$.inputs}}"])
def test_unknown_placeholders_are_named(text):
    with pytest.raises(FailedPrecondition) as caught:
        Scope(EXECUTOR, {}).fill(text)
    assert text in caught.value.message


def test_a_workspace_is_not_built():
    with pytest.raises(Unimplemented, match="workspace is a volume of Kubernetes"):
        Scope(EXECUTOR, {}).fill("{{$.workspace_path}}/x")


def test_structured_placeholders():
    given = [
        '{"Concat": ["a", "{{$.inputs.parameters[\'n\']}}", {"IfPresent": {"InputName": "no", "Then": "x",'
        ' "Else": "y"}}]}',
        '{"IfPresent": {"InputName": "n", "Then": ["--n", {"Concat": ["=", "{{$.inputs.parameters[\'n\']}}"]}]}}',
        '{"IfPresent": {"InputName": "no", "Then": ["--no"]}}',
        "plain",
    ]
    assert Scope(EXECUTOR, {}).arguments(given) == ["a3y", "--n", "=3", "plain"]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [("7\n", "NUMBER_INTEGER", 7), ("7.0", "NUMBER_INTEGER", 7), ("True", "BOOLEAN", True), (" x ", "STRING", " x "),
     ("[1]", "LIST", [1]), ('{"a": 1}', "STRUCT", {"a": 1}), ("2", "NUMBER_DOUBLE", 2.0)],
)  # fmt: skip
def test_values_of_files(text, kind, value):
    assert values.from_text(text, kind, "it") == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [(True, "NUMBER_INTEGER"), (1.5, "NUMBER_INTEGER"), (1, "BOOLEAN"), ("1", "NUMBER_DOUBLE"), (1, "STRING"),
     ({}, "LIST"), ([], "STRUCT"), (None, "STRING")],
)  # fmt: skip
def test_values_of_another_type(value, kind):
    with pytest.raises(ValueError, match="it must be"):
        values.as_type(value, kind, "it")
