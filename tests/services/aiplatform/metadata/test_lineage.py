"""What events connect, through the official client."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from tests.services.aiplatform.metadata.conftest import new


@pytest.fixture
def chain(client, store):
    """raw -> prepare -> table -> train -> model, and table -> look -> report."""
    made = {
        name: new(client, store, "artifact", display_name=name, schema_title=title)
        for name, title in (
            ("raw", "system.Dataset"), ("table", "system.Dataset"), ("model", "system.Model"),
            ("report", "system.HTML"),
        )
    }  # fmt: skip
    for name, taken, given in (
        ("prepare", "raw", "table"),
        ("train", "table", "model"),
        ("look", "table", "report"),
    ):
        made[name] = new(client, store, "execution", display_name=name, schema_title="system.Run")
        events = [{"artifact": made[taken].name, "type_": "INPUT", "labels": {"slot": "one"}},
                  {"artifact": made[given].name, "type_": "OUTPUT"}]  # fmt: skip
        client.add_execution_events(execution=made[name].name, events=events)
    return made


def shown(graph):
    return (
        {a.display_name for a in graph.artifacts},
        {e.display_name for e in graph.executions},
        len(graph.events),
    )


def test_an_executions_inputs_and_outputs(client, chain):
    graph = client.query_execution_inputs_and_outputs(execution=chain["train"].name)
    assert shown(graph) == ({"table", "model"}, {"train"}, 2)
    assert {(e.artifact, e.type_.name) for e in graph.events} == {
        (chain["table"].name, "INPUT"),
        (chain["model"].name, "OUTPUT"),
    }
    assert dict(graph.events[0].labels) == {"slot": "one"}


def test_an_event_between_two_nodes_is_there_once(client, chain):
    for kind in ("INPUT", "OUTPUT"):
        again = [{"artifact": chain["table"].name, "type_": kind}]
        client.add_execution_events(execution=chain["train"].name, events=again)
    assert len(client.query_execution_inputs_and_outputs(execution=chain["train"].name).events) == 2


def test_an_artifacts_lineage(client, chain):
    def lineage(name, **options):
        return shown(
            client.query_artifact_lineage_subgraph(request={"artifact": chain[name].name, **options})
        )

    everything = ({"raw", "table", "model", "report"}, {"prepare", "train", "look"}, 6)
    assert lineage("model") == lineage("raw") == everything
    assert lineage("model", max_hops=2) == ({"model", "table"}, {"train"}, 2)
    assert lineage("model", max_hops=50) == everything
    only = 'schema_title="system.Dataset" OR display_name="model"'
    assert lineage("raw", filter=only) == ({"raw", "table", "model"}, {"prepare", "train", "look"}, 5)
    with pytest.raises(exceptions.BadRequest, match="maxHops"):
        lineage("raw", max_hops=-1)


def test_max_hops_of_zero_is_the_artifact_alone(aiplatform, portico, chain):
    import requests

    url = f"{portico.url}/v1/{chain['model'].name}:queryArtifactLineageSubgraph?maxHops=0"
    answer = requests.get(url).json()
    assert [a["name"] for a in answer["artifacts"]] == [chain["model"].name] and "events" not in answer


def test_a_contexts_lineage(client, store, chain):
    context = new(client, store, "context", schema_title="system.PipelineRun")
    client.add_context_artifacts_and_executions(
        context=context.name, artifacts=[chain["model"].name], executions=[chain["train"].name]
    )
    graph = client.query_context_lineage_subgraph(context=context.name)
    assert shown(graph) == ({"model"}, {"train"}, 1)


def test_a_deleted_node_leaves_no_event(client, chain):
    client.delete_execution(name=chain["train"].name).result()
    graph = client.query_artifact_lineage_subgraph(artifact=chain["model"].name)
    assert shown(graph) == ({"model"}, set(), 0)
