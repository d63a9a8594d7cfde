"""Vertex AI."""

from portico.services.aiplatform.required import REQUIRED
from portico.services.standard.apis import Api, Lacking

API = Api(
    name="aiplatform",
    versions=("v1", "v1beta1"),
    title="Vertex AI (`aiplatform` v1, v1beta1)",
    note=(
        "Operations are got, listed, waited on, cancelled and deleted by one implementation at every path that "
        "the documents name ({operations} methods, not listed below) and below every resource, also at the "
        "paths that clients poll without a version (`/ui/projects/…/operations/N`)."
    ),
    collections=(
        "batch.asking",
        "batch.batch_prediction_jobs",
        "custom.custom_jobs",
        "custom.persistent_resources",
        "data_items.kept",
        "data_items.export_data",
        "data_items.importing",
        "data_items.searching",
        "dataset_versions",
        "datasets",
        "deployment_resource_pools",
        "deployments",
        "endpoints",
        "evaluations",
        "metadata.metadata_stores",
        "metadata.lineage_subgraphs",
        "metadata.recorded",
        "monitoring.model_deployment_monitoring_jobs",
        "monitoring.model_monitoring_jobs",
        "monitoring.search_stats",
        "monitoring.model_monitors",
        "models",
        "pipelines.pipeline_jobs",
        "pipelines.starting",
        "monitoring.search_anomalies",
        "schedules",
        "tensorboard.reading",
        "tensorboard.run_series",
        "tensorboard.writing",
        "training.training_pipelines",
        "reruns.reruns",
        "tuning.hyperparameter_tuning_jobs",
        "vizier.studies",
        "vizier.trials",
    ),
    handlers=(
        "training.automl",
        "batch.run",
        "custom.persistent_run",
        "custom.run",
        "monitoring.monitor_run",
        "pipelines.run",
        "pipelines.task_run",
        "tuning.run",
        "vizier.run",
    ),
    mount="",
    package="type.googleapis.com/google.cloud.aiplatform.",
    message="GoogleCloudAiplatform{Version}{message}",
    # Polled without a version, and below resources that no document lists.
    operations=r"(?:(?P<prefix>ui|v1|v1beta1)/)?(?P<parent>projects/[^/]+/locations/[^/]+(?:/[^/]+/[^/]+)*)",
    required=REQUIRED,
    # The document has another method under its name, batchImportEvaluatedAnnotations.
    lacking={
        "projects.locations.models.evaluations.batchImportSlices": Lacking(
            "{+parent=projects/*/locations/*/models/*/evaluations/*}/slices:batchImport",
            "BatchImportModelEvaluationSlicesRequest",
            "BatchImportModelEvaluationSlicesResponse",
        )
    },
    written=(
        "TensorboardBlob.id",
        *(
            f"ModelEvaluationSlice.{name}"
            for name in ("slice", "metrics", "metricsSchemaUri", "modelExplanation")
        ),
        *(f"ModelEvaluationSliceSlice.{name}" for name in ("dimension", "value", "sliceSpec")),
        "ModelExplanation.meanAttributions",
        *(
            f"Attribution.{name}"
            for name in (
                "featureAttributions",
                "baselineOutputValue",
                "instanceOutputValue",
                "approximationError",
                "outputIndex",
                "outputName",
                "outputDisplayName",
            )
        ),
        *(
            f"Trial.{name}"
            for name in ("parameters", "state", "measurements", "finalMeasurement", "infeasibleReason")
        ),
        *(f"TrialParameter.{name}" for name in ("parameterId", "value")),
        *(f"Measurement.{name}" for name in ("stepCount", "elapsedDuration", "metrics")),
        *(f"MeasurementMetric.{name}" for name in ("metricId", "value")),
    ),
)
