"""ML Metadata's stores, artifacts, executions, contexts and schemas, through the official client."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from tests.services.aiplatform.metadata.conftest import new


def names(found: Any) -> list[str]:
    return [one.display_name for one in found]


def test_a_store_has_googles_schemas_and_takes_others(client, store):
    assert client.get_metadata_store(name=store).description == "mine"
    assert store in [s.name for s in client.list_metadata_stores(parent=store.rpartition("/metadata")[0])]
    schema = client.get_metadata_schema(name=f"{store}/metadataSchemas/google-vertex-tensorboard-run-v0-0-1")
    assert "title: google.VertexTensorboardRun" in schema.schema
    made = client.create_metadata_schema(
        parent=store,
        metadata_schema={"schema": "title: mine.Prepared\ntype: object", "schema_type": "ARTIFACT_TYPE"},
    )
    assert made.name in [
        s.name
        for s in client.list_metadata_schemas(request={"parent": store, "filter": 'schema_version="0.0.1"'})
    ]
    with pytest.raises(exceptions.BadRequest, match=r"schema title 'no-title' is not allowed"):
        client.create_metadata_schema(parent=store, metadata_schema={"schema": "title: no-title"})
    with pytest.raises(exceptions.Conflict):
        client.create_metadata_store(
            parent=store.rpartition("/metadata")[0],
            metadata_store={},
            metadata_store_id=store.rpartition("/")[2],
        ).result()


def test_a_deleted_store_takes_along_what_is_in_it_when_forced(client, store):
    artifact = new(client, store, "artifact", schema_title="system.Model")
    with pytest.raises(exceptions.BadRequest, match="delete them first"):
        client.delete_metadata_store(name=store).result()
    client.delete_metadata_store(request={"name": store, "force": True}).result()
    with pytest.raises(exceptions.NotFound):
        client.get_artifact(name=artifact.name)


def test_the_default_store_is_there_when_something_is_put_into_it(aiplatform):
    where = {"project": "nobody-was-here", "location": "us-central1"}
    assert aiplatform.Artifact.list(**where) == []
    made = aiplatform.Artifact.create(schema_title="system.Dataset", uri="gs://b/o", **where)
    assert made.schema_version == "0.0.1"
    found = aiplatform.Artifact.get_with_uri("gs://b/o", **where)
    assert found.resource_name == made.resource_name


def test_artifacts_are_changed_and_deleted(aiplatform):
    made = aiplatform.Artifact.create(
        schema_title="system.Model",
        display_name="m",
        metadata={"framework": "sklearn", "rate": 0.25, "deep": {}},
    )
    made.update(metadata={"rate": 0.5, "deep": {"er": [1, "a"]}, "new": [2]}, description="better")
    again = aiplatform.Artifact(made.resource_name)
    assert again.metadata == {"framework": "sklearn", "rate": 0.5, "deep": {"er": [1, "a"]}, "new": [2]}
    assert again.gca_resource.description == "better"
    made.delete()
    with pytest.raises(exceptions.NotFound):
        aiplatform.Artifact(made.resource_name)


def test_a_stale_etag_is_refused_in_the_words_that_googles_client_reads(client, store):
    from google.cloud.aiplatform.metadata import context

    made = new(client, store, "context", schema_title="system.Experiment")
    fresh = client.update_context(context={**type(made).to_dict(made), "description": "one"})
    with pytest.raises(exceptions.Conflict) as error:
        client.update_context(context={**type(made).to_dict(made), "description": "two"})
    said = context._ETAG_ERROR_REGEX.search(error.value.message.partition(": ")[2])
    assert said and said[1] == made.etag and said[2] == fresh.etag and said[1] < said[2]
    with pytest.raises(exceptions.Conflict):
        client.delete_context(request={"name": made.name, "etag": made.etag}).result()
    client.update_context(context={"name": made.name, "description": "three"})  # without one it is written
    assert client.get_context(name=made.name).description == "three"


def test_an_update_makes_what_is_missing_when_it_is_allowed_to(client, store):
    name = f"{store}/artifacts/not-there"
    artifact = {"name": name, "display_name": "made", "schema_title": "system.Dataset"}
    with pytest.raises(exceptions.NotFound):
        client.update_artifact(artifact=artifact)
    client.update_artifact(request={"artifact": artifact, "allow_missing": True})
    with pytest.raises(exceptions.BadRequest, match="'NOT-THERE' is not allowed"):
        other = {**artifact, "name": f"{store}/artifacts/NOT-THERE"}
        client.update_artifact(request={"artifact": other, "allow_missing": True})
    client.update_artifact(
        request={"artifact": {**artifact, "uri": "gs://a"}, "allow_missing": True, "update_mask": "uri"}
    )
    assert client.get_artifact(name=name).uri == "gs://a"


@pytest.mark.parametrize(
    "what, fields, match",
    [
        ("artifact", {"schema_title": "system.Run"}, "EXECUTION_TYPE, not an ARTIFACT_TYPE"),
        ("execution", {"schema_title": "system.Model"}, "ARTIFACT_TYPE, not an EXECUTION_TYPE"),
        ("context", {"schema_title": "system.Experimnt"}, "There is no schema system.Experimnt"),
        ("artifact", {"schema_title": "x"}, "schema title 'x' is not allowed"),
        ("context", {"id": "My_Run"}, "contextId 'My_Run' is not allowed"),
        ("artifact", {"metadata": {"text": "x" * 300_000}}, "larger than 200 KB"),
    ],
)
def test_what_is_wrong_is_named(client, store, what, fields, match):
    with pytest.raises(exceptions.BadRequest, match=match):
        new(client, store, what, **fields)


def test_filters_of_the_document(client, store):
    for number in range(3):
        new(client, store, "artifact", display_name=f"a{number}", uri=f"gs://b/{number}",
            schema_title="system.Model" if number else "system.Dataset",
            metadata={"rate": number / 2, "kind:1": "k", "last": number == 2}, state="LIVE")  # fmt: skip
    for asked, expected in {
        'schema_title="system.Model"': ["a2", "a1"],
        'schema_title = "system.Model" AND display_name="a1"': ["a1"],
        '(schema_title="system.Dataset" OR display_name="a2")': ["a2", "a0"],
        'uri="gs://b/0"': ["a0"],
        "metadata.rate.number_value > 0.25": ["a2", "a1"],
        'metadata."kind:1".string_value = "k" AND metadata.last.bool_value = true': ["a2"],
        'create_time > "2020-11-19T11:30:00-04:00" AND state="LIVE"': ["a2", "a1", "a0"],
    }.items():
        assert names(client.list_artifacts(request={"parent": store, "filter": asked})) == expected, asked
    ordered = client.list_artifacts(request={"parent": store, "order_by": "display_name", "page_size": 2})
    assert names(ordered) == ["a0", "a1", "a2"]
    with pytest.raises(exceptions.BadRequest, match="there is no field 'colour'"):
        list(client.list_artifacts(request={"parent": store, "filter": 'colour="red"'}))


def test_a_resource_of_vertex_ai_is_found_at_whichever_address(client, store):
    tail = "projects/p/locations/us-central1/models/1@2"
    new(
        client,
        store,
        "artifact",
        display_name="m",
        uri=f"https://us-central1-aiplatform.googleapis.com/v1/{tail}",
    )
    asked = f'uri="https://http://127.0.0.1:8080/v1/{tail}"'
    assert names(client.list_artifacts(request={"parent": store, "filter": asked})) == ["m"]


def test_contexts_hold_artifacts_executions_and_each_other(client, store):
    experiment = new(client, store, "context", display_name="e", schema_title="system.Experiment")
    runs = [
        new(client, store, "context", display_name=f"r{n}", schema_title="system.ExperimentRun")
        for n in range(2)
    ]
    client.add_context_children(context=experiment.name, child_contexts=[r.name for r in runs])
    client.add_context_children(context=experiment.name, child_contexts=[runs[0].name])  # is there already
    shown = client.get_context(name=runs[0].name)
    assert list(shown.parent_contexts) == [experiment.name] and shown.etag == runs[0].etag
    asked = f'schema_title="system.ExperimentRun" AND parent_contexts:"{experiment.name}"'
    assert names(client.list_contexts(request={"parent": store, "filter": asked})) == ["r1", "r0"]
    above = f'child_contexts:"{runs[1].name}"'
    assert names(client.list_contexts(request={"parent": store, "filter": above})) == ["e"]
    with pytest.raises(exceptions.BadRequest, match="would be above itself"):
        client.add_context_children(context=runs[0].name, child_contexts=[experiment.name])

    artifact, loose = (new(client, store, "artifact", display_name=name) for name in ("in", "out"))
    execution = new(client, store, "execution", display_name="run", schema_title="system.Run")
    for _ in range(2):
        client.add_context_artifacts_and_executions(
            context=runs[0].name, artifacts=[artifact.name], executions=[execution.name]
        )
    inside = {"parent": store, "filter": f'in_context("{runs[0].name}")'}
    assert names(client.list_artifacts(request=inside)) == ["in"]
    assert names(client.list_executions(request=inside)) == ["run"]
    outside = {"parent": store, "filter": f'NOT in_context("{runs[0].name}")'}
    assert names(client.list_artifacts(request=outside)) == ["out"]
    with pytest.raises(exceptions.NotFound):
        client.add_context_artifacts_and_executions(context=runs[0].name, artifacts=[f"{store}/artifacts/no"])

    client.remove_context_children(context=experiment.name, child_contexts=[runs[1].name])
    assert not client.get_context(name=runs[1].name).parent_contexts
    client.delete_context(name=experiment.name).result()
    assert not client.get_context(name=runs[0].name).parent_contexts
    client.delete_artifact(name=artifact.name).result()
    assert names(client.list_artifacts(request=inside)) == [] and loose.display_name == "out"


def test_purge_looks_first(client, store):
    for number in range(3):
        new(client, store, "execution", display_name=f"x{number}", state="COMPLETE" if number else "FAILED")
    asked = {"parent": store, "filter": 'state="COMPLETE"'}
    looked = client.purge_executions(request=asked).result()
    assert looked.purge_count == 2 and len(looked.purge_sample) == 2
    assert client.purge_executions(request={**asked, "force": True}).result().purge_count == 2
    assert names(client.list_executions(parent=store)) == ["x0"]
    with pytest.raises(exceptions.BadRequest, match="filter"):
        client.purge_artifacts(request={"parent": store})
    with pytest.raises(exceptions.BadRequest, match="blank"):  # not: all of them
        client.purge_artifacts(request={"parent": store, "filter": " ", "force": True})
