"""Pipelines of Google's own components (google_cloud_pipeline_components) for the tests."""

IMAGE = "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.22.0"

# One of each kind of launcher: an operation's, a query's, a job's that fails, and a component as a custom job.
LAUNCHERS = """
from google_cloud_pipeline_components.types import artifact_types
from google_cloud_pipeline_components.v1.bigquery import BigqueryQueryJobOp
from google_cloud_pipeline_components.v1.custom_job import (
    CustomTrainingJobOp, create_custom_training_job_from_component)
from google_cloud_pipeline_components.v1.model import ModelUploadOp


@dsl.component(base_image="python:3.11")
def shout(text: str, said: dsl.Output[dsl.Artifact]) -> str:
    with open(said.path, "w") as file:
        file.write(text)
    return text.upper()


shout_as_job = create_custom_training_job_from_component(shout, display_name="shout", machine_type="n1-standard-2")


@dsl.component(base_image="python:3.11")
def whose(model: dsl.Input[dsl.Artifact]) -> str:
    return model.metadata["resourceName"]


@dsl.pipeline
def launchers(folder: str, project: str):
    made = dsl.importer(
        artifact_uri=folder, artifact_class=artifact_types.UnmanagedContainerModel,
        metadata={"containerSpec": {"imageUri": "us-docker.pkg.dev/portico/prediction/lightgbm-cpu.4-7:latest"}})
    model = ModelUploadOp(project=project, display_name="of a pipeline", unmanaged_container_model=made.output)
    whose(model=model.outputs["model"])
    BigqueryQueryJobOp(project=project, location="US", query="SELECT 1 AS one")
    shout_as_job(project=project, text="hello", base_output_directory=folder)
    CustomTrainingJobOp(project=project, display_name="as the API spells it", worker_pool_specs=[{
        "machineSpec": {"machineType": "n1-standard-2"}, "replicaCount": "1", "containerSpec": {
            "imageUri": "python:3.11",
            "command": ["python3", "-c", "import os; assert os.environ['aName'] == 'aValue'"],
            "env": [{"name": "aName", "value": "aValue"}]}}])


@dsl.pipeline
def failing(project: str):
    CustomTrainingJobOp(project=project, display_name="fails", worker_pool_specs=[{
        "machine_spec": {"machine_type": "n1-standard-2"}, "replica_count": 1, "container_spec": {
            "image_uri": "python:3.11", "command": ["python3", "-c", "raise SystemExit('the data is bad')"]}}])


@dsl.pipeline
def waiting(project: str):
    CustomTrainingJobOp(project=project, display_name="waits", worker_pool_specs=[{
        "machine_spec": {"machine_type": "n1-standard-2"}, "replica_count": 1, "container_spec": {
            "image_uri": "python:3.11", "command": ["python3", "-c", "import time; time.sleep(600)"]}}])
"""

# The whole life of an evaluation; the predictions are there already.
EVALUATION = """
from google_cloud_pipeline_components.types.artifact_types import VertexModel
from google_cloud_pipeline_components.preview.model_evaluation import ModelImportEvaluationOp
from google_cloud_pipeline_components.v1.model_evaluation import (
    ModelEvaluationClassificationOp, ModelEvaluationRegressionOp)


@dsl.pipeline
def evaluation(folder: str, model: str, project: str):
    registered = dsl.importer(artifact_uri=folder, artifact_class=VertexModel, metadata={"resourceName": model})
    classes = dsl.importer(artifact_uri=folder, artifact_class=dsl.Artifact)
    done = ModelEvaluationClassificationOp(
        project=project, target_field_name="y", predictions_gcs_source=classes.output, class_labels=["no", "yes"],
        slicing_specs=[{"configs": {"where": {"all_values": {"value": True}}}}])
    ModelImportEvaluationOp(
        model=registered.output, display_name="by a pipeline",
        classification_metrics=done.outputs["evaluation_metrics"])


@dsl.pipeline
def regression(folder: str, project: str):
    values = dsl.importer(artifact_uri=folder, artifact_class=dsl.Artifact)
    ModelEvaluationRegressionOp(project=project, target_field_name="n", predictions_gcs_source=values.output)
"""

# What is done with data before an evaluation.
EVALUATION_DATA = r"""
from google_cloud_pipeline_components._implementation.model_evaluation import (
    EvaluationDataSamplerOp, TargetFieldDataRemoverOp)

@dsl.pipeline
def data_of_files(files: list, form: str, folder: str, project: str):
    sample = EvaluationDataSamplerOp(
        project=project, gcs_source_uris=files, instances_format=form, sample_size=20,
    )
    TargetFieldDataRemoverOp(
        project=project, gcs_source_uris=sample.outputs["gcs_output_directory"], instances_format=form,
        target_field_name="y",
    )

@dsl.pipeline
def data_of_table(table: str, project: str):
    sample = EvaluationDataSamplerOp(project=project, bigquery_source_uri=table, sample_size=20)
    TargetFieldDataRemoverOp(
        project=project, bigquery_source_uri=sample.outputs["bigquery_output_table"], target_field_name="y",
    )
"""

# A forecasting model from its data to the evaluation of what it forecasts, of points and of quantiles.
FORECASTING = """
from google_cloud_pipeline_components.preview.model_evaluation import ModelImportEvaluationOp
from google_cloud_pipeline_components.v1.automl.training_job import AutoMLForecastingTrainingJobRunOp
from google_cloud_pipeline_components.v1.batch_predict_job import ModelBatchPredictOp
from google_cloud_pipeline_components.v1.dataset import TimeSeriesDatasetCreateOp
from google_cloud_pipeline_components.v1.model_evaluation import ModelEvaluationForecastingOp


@dsl.pipeline
def forecasting(folder: str, project: str):
    data = TimeSeriesDatasetCreateOp(project=project, display_name="sales", gcs_source=f"{folder}/past.csv")
    trained = AutoMLForecastingTrainingJobRunOp(
        project=project, display_name="sales", dataset=data.outputs["dataset"],
        optimization_objective="minimize-quantile-loss", quantiles=[0.1, 0.5, 0.9], target_column="sales",
        time_column="month", time_series_identifier_column="store", available_at_forecast_columns=["month", "promo"],
        unavailable_at_forecast_columns=["sales", "visitors"], time_series_attribute_columns=["region"],
        forecast_horizon=3, context_window=6, data_granularity_unit="month", data_granularity_count=1,
        budget_milli_node_hours=1, column_specs={"sales": "numeric", "region": "categorical"})
    told = ModelBatchPredictOp(
        project=project, job_display_name="next", model=trained.outputs["model"], instances_format="csv",
        gcs_source_uris=[f"{folder}/future.csv"], gcs_destination_output_uri_prefix=f"{folder}/out",
        predictions_format="jsonl")
    given = dict(
        project=project, target_field_name="sales", ground_truth_format="csv", model=trained.outputs["model"],
        ground_truth_gcs_source=[f"{folder}/truth.csv"],
        predictions_gcs_source=told.outputs["gcs_output_directory"])
    ModelEvaluationForecastingOp(**given)
    spread = ModelEvaluationForecastingOp(
        forecasting_type="quantile", forecasting_quantiles=[0.1, 0.5, 0.9], point_evaluation_quantile=0.5, **given)
    ModelImportEvaluationOp(
        model=trained.outputs["model"], display_name="by a pipeline",
        forecasting_metrics=spread.outputs["evaluation_metrics"])


@dsl.pipeline
def forecasts(folder: str, project: str, quantiles: list, point: float):
    values = dsl.importer(artifact_uri=folder, artifact_class=dsl.Artifact)
    ModelEvaluationForecastingOp(
        project=project, target_field_name="n", predictions_gcs_source=values.output,
        forecasting_type="quantile", forecasting_quantiles=quantiles, point_evaluation_quantile=point)
"""
