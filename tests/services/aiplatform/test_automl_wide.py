"""AutoML of a table with thousands of columns, from its CSV to an explained prediction, by the official client."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

COLUMNS = 3_000


@pytest.fixture(scope="module")
def portico(new_portico):
    """An iteration takes long here: a node second has a few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTICO_ITERATIONS_A_NODE_SECOND", "10")
        server = new_portico().start()
        patch.setenv("STORAGE_EMULATOR_HOST", server.url)
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(server.home / "credentials.json"))
        yield server
    server.stop()


@pytest.mark.slow
def test_thousands_of_columns_are_trained_deployed_and_explained(portico, aiplatform, bucket, tmp_path):
    dice = np.random.default_rng(0)
    columns = {f"x{n}": dice.normal(size=200).round(4) for n in range(COLUMNS)}
    columns["x10"] = dice.choice(["red", "green", "blue"], 200)
    columns["y"] = (2 * columns["x3"] + (columns["x10"] == "red")).round(4)
    csv.write_csv(pa.table(columns), tmp_path / "wide.csv")
    bucket.blob("wide.csv").upload_from_filename(tmp_path / "wide.csv")
    dataset = aiplatform.TabularDataset.create(display_name="wide", gcs_source=f"gs://{bucket.name}/wide.csv")
    assert len(dataset.to_dict()["metadata"]["statistics"]["columns"]) == COLUMNS + 1
    job = aiplatform.AutoMLTabularTrainingJob(
        display_name="wide", optimization_prediction_type="regression",
        column_specs={name: "auto" for name in columns if name != "y"},
    )  # fmt: skip
    model = job.run(dataset=dataset, target_column="y", budget_milli_node_hours=1)
    [evaluation] = model.list_model_evaluations()
    assert evaluation.metrics["rootMeanSquaredError"] < 1.5
    endpoint = model.deploy()
    instance = {
        name: cells[0] if name == "x10" else float(cells[0]) for name, cells in columns.items() if name != "y"
    }
    [answer] = endpoint.predict([instance]).predictions
    [explanation] = endpoint.explain([instance]).explanations
    attribution = explanation.attributions[0]
    total = attribution.baseline_output_value + sum(attribution.feature_attributions.values())
    assert total == pytest.approx(answer["value"], abs=1e-6)
    endpoint.undeploy_all()
