"""Vertex AI: one file per resource collection. Importing this registers every method and job kind."""

from portico.services.aiplatform import (  # noqa: F401
    batch_prediction_jobs,
    dataset_versions,
    datasets,
    deployments,
    endpoints,
    evaluations,
    model_deployment_monitoring_jobs,
    model_monitoring_jobs,
    model_monitoring_stats,
    model_monitors,
    models,
    monitoring_search,
    schedules,
    training_pipelines,
)
from portico.services.standard import operations  # noqa: F401
