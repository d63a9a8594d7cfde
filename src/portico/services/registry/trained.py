"""What our own training made, as a model of the registry: its files and its body."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from portico.jobs.worker import Context
from portico.services.registry import model_store

if TYPE_CHECKING:
    from portico.ml.learn.train import TrainedModel

_SCHEMAS = "gs://google-cloud-aiplatform/schema/"


class Savable(Protocol):
    def save(self, directory: Path) -> None: ...


def save_artifact(context: Context, trained: Savable, artifact: str) -> None:
    """Writes its files where those of a version are, all or none."""
    target = model_store.folder(context.home, artifact)
    beside = target.with_name(target.name + ".part")
    for old in (beside, target):
        shutil.rmtree(old, ignore_errors=True)
    trained.save(beside)
    beside.rename(target)


def model_body(trained: TrainedModel) -> dict[str, Any]:
    manifest = trained.model.manifest
    tabular = f"{_SCHEMAS}predict/"
    kind = manifest.prediction_type
    return {
        "metadataSchemaUri": f"{_SCHEMAS}model/metadata/automl_tabular_1.0.0.yaml",
        "metadata": {
            "predictionType": kind,
            "targetColumn": manifest.target,
            "classes": manifest.labels,
            "columns": manifest.kinds,
            "objective": manifest.objective,
            "featureImportance": manifest.feature_importance,
            "cutShort": bool(trained.cut_short),
            **({"cutShortReason": trained.cut_short} if trained.cut_short else {}),
        },
        "predictSchemata": {
            "instanceSchemaUri": f"{tabular}instance/tabular_{kind}_1.0.0.yaml",
            "predictionSchemaUri": f"{tabular}prediction/tabular_{kind}_1.0.0.yaml",
        },
        "explanationSpec": {
            "parameters": {"sampledShapleyAttribution": {"pathCount": 32}},
            "metadata": {
                "inputs": {name: {"inputTensorName": name} for name in trained.model.features},
                "outputs": {("value" if kind == "regression" else "scores"): {}},
            },
        },
        "supportedExportFormats": [{"id": "portico-native", "exportableContents": ["ARTIFACT"]}],
        "supportedDeploymentResourcesTypes": ["DEDICATED_RESOURCES", "AUTOMATIC_RESOURCES"],
        "supportedInputStorageFormats": ["jsonl", "csv", "parquet", "bigquery"],
        "supportedOutputStorageFormats": ["jsonl", "csv", "parquet", "bigquery"],
        "modelSourceInfo": {"sourceType": "AUTOML"},
    }
