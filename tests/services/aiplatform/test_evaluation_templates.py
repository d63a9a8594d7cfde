"""Google's own templates for evaluations, and the feature attributions that they compute."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from tests.services.aiplatform.pipelines_run import states

from portico.errors import FailedPrecondition
from portico.services.aiplatform.pipelines.components.evaluation import of_table
from portico.services.aiplatform.pipelines.components.evaluation_attributions import attributions

TEMPLATES = "/apis/artifactregistry/kfp/us/vertex-evaluation/pipeline-templates"


def test_attributions_are_means_of_sizes_in_all_and_by_output() -> None:
    def row(output: str, **features: Any) -> dict[str, Any]:
        return {"attributions": [{"outputDisplayName": output, "featureAttributions": features}]}

    rows = [
        {"explanation": row("yes", a=2.0, b=[1.0, -1.0])},
        {"explanation": json.dumps(row("no", a=-4.0, b=[0.0, 0.0]))},
        {"explanation": None},
    ]
    whole, yes, no = attributions(rows)["explanation"]["attributions"]
    assert whole == {"featureAttributions": {"a": 3.0, "b": 1.0}}
    assert yes == {"dimension": "annotationSpec", "value": "yes", "featureAttributions": {"a": 2.0, "b": 2.0}}
    assert (no["value"], no["featureAttributions"]) == ("no", {"a": 4.0, "b": 0.0})
    with pytest.raises(FailedPrecondition, match="generate_explanation"):
        attributions([{"prediction": 1}])


@pytest.mark.parametrize(("told", "means"), [("[0.83,0.17]", [0.83, 0.17]), ("yes", "yes"), (2.5, 2.5)])
def test_predictions_of_ones_own_model_in_a_table_are_json(told: Any, means: Any) -> None:
    found = of_table({"age": 3, "prediction": told}, "income")
    assert found == {"instance": {"age": 3}, "prediction": means, "explanation": None}


def test_a_template_that_google_has_not_is_not_found(portico: Any) -> None:
    told = requests.get(f"{portico.url}{TEMPLATES}/evaluation-text-pipeline/1.0.0", timeout=240)
    assert told.status_code == 404 and "evaluation-automl-tabular-regression-pipeline" in told.text


@pytest.mark.slow
def test_a_model_is_evaluated_by_googles_template(
    portico: Any, aiplatform: Any, bucket: Any, booster: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud.aiplatform import pipeline_jobs
    from tests.services.aiplatform.conftest import IMAGE

    monkeypatch.setattr(pipeline_jobs, "_JOB_WAIT_TIME", 0.1)
    bucket.blob("model/model.txt").upload_from_string(booster.model_to_string())
    model = aiplatform.Model.upload(
        display_name="evaluated", artifact_uri=f"gs://{bucket.name}/model", serving_container_image_uri=IMAGE,
        explanation_parameters={"sampled_shapley_attribution": {"path_count": 5}},
        explanation_metadata={"inputs": {"features": {}}, "outputs": {"prediction": {}}},
    )  # fmt: skip
    lines = [{"a": n / 10, "b": 1 - n / 10, "c": 0.5, "y": 2 * n / 10 - 1 + n / 10} for n in range(20)]
    bucket.blob("truth.jsonl").upload_from_string("\n".join(map(json.dumps, lines)))
    template = tmp_path / "template.yaml"
    name = "evaluation-feature-attribution-regression-pipeline"
    template.write_bytes(requests.get(f"{portico.url}{TEMPLATES}/{name}/1.0.0", timeout=1200).content)
    job = aiplatform.PipelineJob(
        display_name="evaluate", template_path=str(template), pipeline_root=f"gs://{bucket.name}/root",
        parameter_values={
            "project": "test-project", "location": "us-central1", "model_name": model.versioned_resource_name,
            "target_field_name": "y", "batch_predict_instances_format": "jsonl",
            "batch_predict_gcs_source_uris": [f"gs://{bucket.name}/truth.jsonl"],
            "batch_predict_gcs_destination_output_uri": f"gs://{bucket.name}/predicted",
            "evaluation_prediction_score_column": "prediction",
        },
    )  # fmt: skip
    job.submit()
    job.wait()
    assert set(states(job).values()) == {"SUCCEEDED"}
    [found] = model.list_model_evaluations()
    assert found.metrics["rootMeanSquaredError"] < 1
    [mean] = found.gca_resource.model_explanation.mean_attributions
    assert mean.feature_attributions["a"] > mean.feature_attributions["c"]
