"""One side of the AutoML benchmark, run in that side's own environment: trains, predicts, times single rows.

    python automl_side.py SIDE FOLDER BUDGET SEED TARGET PREDICTION_TYPE OBJECTIVE TIME_COLUMN RESULT.npz

It imports nothing of Portico but for the side `portico`.
"""

import json
import os
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

SIDE, FOLDER, BUDGET, SEED, TARGET, TYPE, OBJECTIVE, TIME, RESULT = sys.argv[1:]
BUDGET, SEED, FOLDER = float(BUDGET), int(SEED), Path(FOLDER)


def frames():
    import pandas as pd

    return [pd.read_parquet(FOLDER / f"{part}.parquet") for part in ("train", "validation", "test")]


def portico():
    import pyarrow as pa
    import pyarrow.parquet as pq

    from portico.ml.learn.spec import TrainSpec
    from portico.ml.learn.split import SplitSpec
    from portico.ml.learn.train import train

    parts = [pq.read_table(FOLDER / f"{part}.parquet") for part in ("train", "validation", "test")]
    kind = "timestamp" if TIME else "fraction"
    split = SplitSpec(kind, TIME, training=8 / 9, validation=1 / 9, test=0, seed=SEED)
    spec = TrainSpec(
        TYPE,
        TARGET,
        optimization_objective=OBJECTIVE,
        split=split,
        budget_seconds=BUDGET,
        wall_seconds=None if os.environ.get("NODE_SECONDS") else BUDGET,
        seed=SEED,
        threads=2,
    )
    started = time.perf_counter()
    trained = train(pa.concat_tables(parts[:2]), spec)
    seconds = time.perf_counter() - started
    model = trained.model
    made = model.predict_table(parts[2])
    instances = parts[2].slice(0, 200).drop_columns([TARGET]).to_pylist()
    for row in instances:  # what JSON carries
        row.update({key: value.isoformat() for key, value in row.items() if hasattr(value, "isoformat")})
    output = made.values if made.scores is None else made.scores
    return seconds, output, model.labels, lambda i: model.predict_instances([instances[i % len(instances)]])


def flaml():
    import pandas as pd
    from flaml import AutoML

    train, validation, test = frames()
    automl = AutoML()
    options = {"split_type": "time"} if TIME else {}  # its own validation then is the youngest rows
    both = pd.concat([train, validation], ignore_index=True)
    metric = {"minimize-log-loss": "log_loss", "minimize-rmse": "rmse", "minimize-mae": "mae"}[OBJECTIVE]
    started = time.perf_counter()
    automl.fit(
        both.drop(columns=TARGET),
        both[TARGET],
        task=TYPE,
        metric=metric,
        time_budget=BUDGET,
        n_jobs=2,
        seed=SEED,
        verbose=0,
        **options,
    )
    seconds = time.perf_counter() - started
    rows = test.drop(columns=TARGET)
    predict = automl.predict_proba if TYPE == "classification" else automl.predict
    labels = [str(label) for label in automl.classes_] if TYPE == "classification" else []
    return seconds, np.asarray(predict(rows)), labels, lambda i: predict(rows.iloc[[i % len(rows)]])


def autogluon(preset):
    import tempfile

    import pandas as pd
    from autogluon.tabular import TabularPredictor

    train, validation, test = frames()
    metric = {
        "minimize-log-loss": "log_loss",
        "minimize-rmse": "root_mean_squared_error",
        "minimize-mae": "mean_absolute_error",
    }[OBJECTIVE]
    options = {"train_data": pd.concat([train, validation], ignore_index=True)}
    if TIME:
        options = {"train_data": train, "tuning_data": validation}
        if preset == "good_quality":
            options["use_bag_holdout"] = True
    problem = None if TYPE == "regression" else ("binary" if train[TARGET].nunique() == 2 else "multiclass")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor(
            TARGET, problem_type=problem or "regression", eval_metric=metric, path=folder, verbosity=0
        ).fit(presets=preset, time_limit=BUDGET, num_cpus=2, **options)
        seconds = time.perf_counter() - started
        predictor.persist()
        rows = test.drop(columns=TARGET)
        if TYPE == "classification":
            made = predictor.predict_proba(rows)
            labels = [str(label) for label in made.columns]
            predict = predictor.predict_proba
        else:
            made, labels, predict = predictor.predict(rows), [], predictor.predict
        return seconds, np.asarray(made), labels, lambda i: predict(rows.iloc[[i % len(rows)]])


def main():
    side = {
        "portico": portico,
        "flaml": flaml,
        "autogluon-medium": lambda: autogluon("medium_quality"),
        "autogluon-good": lambda: autogluon("good_quality"),
    }[SIDE]
    seconds, output, labels, one_row = side()
    times = []
    one_row(0)
    until = time.perf_counter() + 5
    while len(times) < 200 and time.perf_counter() < until:
        started = time.perf_counter()
        one_row(len(times))
        times.append(time.perf_counter() - started)
    np.savez(
        RESULT, output=output, about=json.dumps({"seconds": seconds, "row": median(times), "labels": labels})
    )


if __name__ == "__main__":
    main()
