"""The model registry: versions, aliases, the default version, copy, export, labels, evaluations."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from tests.services.aiplatform.conftest import train_booster


@pytest.fixture
def registry(aiplatform):
    from google.cloud.aiplatform.models import ModelRegistry

    return ModelRegistry


def test_versions_aliases_and_the_default(aiplatform, upload, registry):
    model = upload(version_aliases=["golden"], version_description="the first")
    second = upload(train_booster(3.0), parent_model=model.resource_name, is_default_version=False)
    assert (second.version_id, second.version_aliases) == ("2", [])
    assert second.resource_name == model.resource_name
    assert aiplatform.Model(model.resource_name).version_id == "1"
    entry = registry(model)
    entry.add_version_aliases(["silver"], version="2")
    assert aiplatform.Model(f"{model.resource_name}@silver").version_id == "2"
    third = upload(train_booster(4.0), parent_model=model.resource_name, version_aliases=["golden"])
    assert third.version_id == "3"
    assert [v.version_id for v in entry.list_versions()] == ["1", "2", "3"]
    assert set(third.version_aliases) == {"golden", "default"}
    versions = {v.version_id: set(v.version_aliases) for v in entry.list_versions()}
    assert versions == {"1": set(), "2": {"silver"}, "3": {"golden", "default"}}
    entry.remove_version_aliases(target_aliases=["golden"], version="3")
    with pytest.raises(exceptions.BadRequest, match="default"):
        entry.delete_version("3")
    entry.delete_version("1")
    assert {v.version_id for v in entry.list_versions()} == {"2", "3"}
    with pytest.raises(exceptions.NotFound):
        aiplatform.Model(f"{model.resource_name}@1")
    model.delete()


def test_a_version_is_changed_by_name(aiplatform, upload):
    model = upload(labels={"team": "a"})
    model.update(display_name="better", description="why", labels={"team": "b"})
    found = aiplatform.Model(model.resource_name)
    assert (found.display_name, found.description, dict(found.labels)) == ("better", "why", {"team": "b"})
    [listed] = aiplatform.Model.list(filter=f'model="{model.name}" AND labels.team=b')
    assert listed.resource_name == model.resource_name
    assert aiplatform.Model.list(filter=f'model="{model.name}" AND labels.team=a') == []
    model.delete()


def test_a_chosen_id_is_taken_once(upload):
    model = upload(model_id="my-own-id")
    assert model.name == "my-own-id"
    with pytest.raises(exceptions.Conflict, match="parentModel"):
        upload(model_id="my-own-id")
    model.delete()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"serving_container_ports": [99999]}, r"ports\[0\]"),
        ({"serving_container_environment_variables": {"a b": "c"}}, r"env\[0\]"),
    ],
)
def test_what_no_container_can_have_is_refused(upload, given, field):
    with pytest.raises(exceptions.BadRequest, match=field):
        upload(**given)


def test_a_copy_predicts_as_its_source_and_outlives_it(aiplatform, upload, booster):
    model = upload()
    copied = model.copy(destination_location="us-central1")
    model.delete()
    endpoint = copied.deploy()
    [answer] = endpoint.predict(instances=[{"a": 1, "b": 2, "c": 3}]).predictions
    assert answer == booster.predict([[1, 2, 3]])[0]
    endpoint.undeploy_all()


def test_an_export_is_what_was_uploaded(upload, bucket, booster):
    model = upload()
    exported = model.export_model(
        export_format_id="custom-trained", artifact_destination=f"gs://{bucket.name}/out"
    )
    prefix = exported["artifactOutputUri"].removeprefix(f"gs://{bucket.name}/")
    [blob] = list(bucket.list_blobs(prefix=prefix))
    assert blob.name.endswith("/model.txt")
    assert blob.download_as_text() == booster.model_to_string()


def test_evaluations_are_imported_and_listed(portico, upload):
    from google.cloud import aiplatform_v1

    model = upload()
    client = aiplatform_v1.ModelServiceClient(client_options={"api_endpoint": portico.url}, transport="rest")
    made = client.import_model_evaluation(
        parent=model.resource_name,
        model_evaluation={
            "display_name": "by hand",
            "metrics_schema_uri": "gs://google-cloud-aiplatform/schema/modelevaluation/regression_metrics_1.0.0.yaml",
            "metrics": {"rootMeanSquaredError": 1.5},
            "model_explanation": {
                "mean_attributions": [{"feature_attributions": {"a": 0.5, "b": [1.0, 2.0]}}]
            },
        },
    )
    [found] = model.list_model_evaluations()
    [mean] = found.gca_resource.model_explanation.mean_attributions
    assert mean.feature_attributions["a"] == 0.5 and list(mean.feature_attributions["b"]) == [1.0, 2.0]
    assert found.resource_name == made.name
    assert found.metrics["rootMeanSquaredError"] == 1.5
    slices = [
        {
            "slice_": {"dimension": "slice", "value": value},
            "metrics_schema_uri": found.gca_resource.metrics_schema_uri,
            "metrics": {"rootMeanSquaredError": error},
            "model_explanation": {"mean_attributions": [{"feature_attributions": {"a": error}}]},
        }
        for value, error in (("x", 1.0), ("y", 2.0))
    ]
    named = client.batch_import_model_evaluation_slices(parent=made.name, model_evaluation_slices=slices)
    listed = {one.name: one for one in client.list_model_evaluation_slices(parent=made.name)}
    assert sorted(listed) == sorted(named.imported_model_evaluation_slices)
    assert {one.slice_.value: one.metrics["rootMeanSquaredError"] for one in listed.values()} == {
        "x": 1.0,
        "y": 2.0,
    }
    for one in listed.values():
        [mean] = one.model_explanation.mean_attributions
        assert mean.feature_attributions["a"] == one.metrics["rootMeanSquaredError"]
    with pytest.raises(exceptions.BadRequest, match=r"\[0\].metrics is missing"):
        client.batch_import_model_evaluation_slices(
            parent=made.name, model_evaluation_slices=[{"slice_": {"dimension": "slice", "value": "z"}}]
        )
    with pytest.raises(exceptions.BadRequest, match="metrics"):
        client.import_model_evaluation(parent=model.resource_name, model_evaluation={"display_name": "none"})
