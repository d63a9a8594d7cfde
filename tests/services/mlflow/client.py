"""What a user of MLflow writes, run by test_client.py in an environment that has its client: logs a run by autolog, a
model as skops and one as a pickle, reads all of it back, and prints what it found as JSON."""

from __future__ import annotations

import json
import logging
import sys

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Metric
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

logging.getLogger("mlflow").setLevel(logging.ERROR)
name = sys.argv[1]
rows = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 3)), columns=list("abc"))
labels = (rows.a > 0).astype(int)
client = mlflow.MlflowClient()
experiment = mlflow.set_experiment(name)

mlflow.sklearn.autolog(registered_model_name=f"{name}-auto")
with mlflow.start_run(run_name="fit") as run:
    model = LogisticRegression().fit(rows, labels)
mlflow.sklearn.autolog(log_models=False)
with mlflow.start_run(run_name="grid") as grid:
    GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(rows, labels)
mlflow.sklearn.autolog(disable=True)

with mlflow.start_run(run_name="saved") as saved:
    for step in range(3):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_input(mlflow.data.from_pandas(rows, name="rows"), context="training")
    mlflow.log_text("said", "notes/a.txt")
    as_skops = mlflow.sklearn.log_model(model, name="skops", registered_model_name=f"{name}-skops")
client.log_batch(saved.info.run_id, [Metric("big", step / 2, 1, step) for step in range(1000)])
client.set_registered_model_alias(f"{name}-skops", "champion", "1")

fit = client.get_run(run.info.run_id)
found = mlflow.search_runs(filter_string="tags.mlflow.parentRunId IS NULL", order_by=["start_time"])
print(json.dumps({
    "experiment": experiment.experiment_id,
    "mlflow": mlflow.__version__,
    "params": fit.data.params["C"],
    "score": fit.data.metrics["training_score"],
    "outputs": len(fit.outputs.model_outputs),
    "data sets": [one.dataset.name for one in fit.inputs.dataset_inputs],
    "runs": found["tags.mlflow.runName"].tolist(),
    "children": len(mlflow.search_runs(filter_string=f"tags.mlflow.parentRunId = '{grid.info.run_id}'")),
    "history": [one.value for one in client.get_metric_history(saved.info.run_id, "loss")],
    "big": len(client.get_metric_history(saved.info.run_id, "big")),
    "text": mlflow.artifacts.load_text(f"{saved.info.artifact_uri}/notes/a.txt"),
    "artifacts": [one.path for of in (None, "skops") for one in client.list_artifacts(saved.info.run_id, of)],
    "status": client.get_model_version(f"{name}-skops", "1").status,
    "loaded": type(mlflow.sklearn.load_model(f"models:/{name}-skops@champion")).__name__,
    "predicted": mlflow.pyfunc.load_model(f"models:/{name}-auto/1").predict(rows[:4]).tolist(),
    "by id": mlflow.pyfunc.load_model(as_skops.model_uri).predict(rows[:4]).tolist(),
    "logged models": len(mlflow.search_logged_models([experiment.experiment_id])),
    "rows": rows[:4].values.tolist(),
}))  # fmt: skip
