"""The server is killed in the middle of a forecasting training, of its repetition by its plan, and of a batch forecast:
all end, once, and what is made again is the same."""

from __future__ import annotations

from typing import Any

import psutil
import pytest
from tests.services.aiplatform.test_batch_jobs import own_portico  # noqa: F401
from tests.services.aiplatform.test_forecasting import CONTEXT, HORIZON, as_csv, make_rows, results
from tests.waiting import until

from portico.client.api import Client

COPIES = 2000
AUTOML = (
    "gs://google-cloud-aiplatform/schema/trainingjob/definition/automl_time_series_forecasting_1.0.0.yaml"
)
INPUTS = {
    "targetColumn": "sales", "timeColumn": "month", "timeSeriesIdentifierColumn": "store",
    "unavailableAtForecastColumns": ["sales", "visitors"], "availableAtForecastColumns": ["month", "promo"],
    "timeSeriesAttributeColumns": ["region"], "forecastHorizon": HORIZON, "contextWindow": CONTEXT,
    "dataGranularity": {"unit": "month", "quantity": 1}, "trainBudgetMilliNodeHours": 6,
}  # fmt: skip


def killed(server: Any, seconds: float) -> None:
    """Once the process of a running job has computed for `seconds`; and the server is there again."""

    def computed() -> bool:
        return max(map(_computed, server.pids()), default=0.0) >= seconds

    until(computed, "a job is at work")
    server.kill()
    server.start()


def _computed(pid: int) -> float:
    """Seconds, of a process that was forked from the warm server."""
    try:
        process = psutil.Process(pid)
        parent = process.parent()
        of_a_job = parent is not None and "portico.jobs.warm" in parent.cmdline()
        return float(process.cpu_times().user) if of_a_job else 0.0
    except psutil.NoSuchProcess:
        return 0.0


@pytest.mark.slow
def test_a_training_and_its_forecasts_end_as_in_peace(own_portico):  # noqa: F811
    from google.cloud import aiplatform, storage

    bucket = storage.Client(project="test-project").create_bucket("forecast-kills")
    bucket.blob("sales.csv").upload_from_string(as_csv(make_rows(36)))
    dataset = aiplatform.TimeSeriesDataset.create(
        display_name="sales", gcs_source=f"gs://{bucket.name}/sales.csv"
    )
    asked = {
        "displayName": "sales",
        "inputDataConfig": {"datasetId": dataset.name},
        "trainingTaskDefinition": AUTOML,
        "trainingTaskInputs": INPUTS,
    }
    client = Client(own_portico.url, project="test-project")
    place = dataset.resource_name.partition("/datasets")[0]
    training = client.call("POST", f"/v1/{place}/trainingPipelines", asked)["name"]
    killed(own_portico, 0.2)

    def ended() -> dict[str, Any] | None:
        found = client.call("GET", f"/v1/{training}")
        assert found["state"] != "PIPELINE_STATE_FAILED", found
        return found if found["state"] == "PIPELINE_STATE_SUCCEEDED" else None

    until(ended, "the training has ended", 240)
    [model] = aiplatform.Model.list()
    assert len(model.list_model_evaluations()) == 1

    again = client.rerun(training)["name"]
    killed(own_portico, 0.2)
    end = ("SUCCEEDED", "FAILED", "CANCELLED")
    repeated = until(
        lambda: (found := client.rerun_of(again))["state"] in end and found, "the rerun has ended", 240
    )
    assert repeated["identical"] is True, repeated

    future = make_rows(36 + HORIZON, ahead=HORIZON)
    many = [{**row, "store": f"{row['store']}-{copy}"} for copy in range(COPIES) for row in future]
    bucket.blob("future.csv").upload_from_string(as_csv(many))
    written = []
    for number, kill in enumerate((False, True)):
        job = aiplatform.BatchPredictionJob.submit(
            job_display_name="next", model_name=model.resource_name, instances_format="csv",
            gcs_source=f"gs://{bucket.name}/future.csv", predictions_format="jsonl",
            gcs_destination_prefix=f"gs://{bucket.name}/out{number}",
        )  # fmt: skip
        if kill:
            killed(own_portico, 0.05)
        job.wait_for_completion()
        assert job.completion_stats.successful_count == COPIES * 4 * HORIZON
        written.append(results(bucket, job))
    assert written[0] == written[1] and len(written[0]) == 1
