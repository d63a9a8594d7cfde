"""The plain script that batch prediction is measured against: pandas reads, LightGBM predicts, pandas writes.

Takes a model, and then one JSON line a run on standard input (format, input, output); answers with the seconds.
It stays running, so that its imports are not counted.
"""

from __future__ import annotations

import json
import sys
import time

import lightgbm
import pandas as pd


def run(booster: lightgbm.Booster, format: str, source: str, target: str) -> None:
    if format == "csv":
        frame = pd.read_csv(source)
    elif format == "jsonl":
        frame = pd.read_json(source, lines=True)
    else:
        frame = pd.read_parquet(source)
    features = frame[booster.feature_name()]
    categories = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    features = features.astype(dict.fromkeys(categories, "category"))
    frame["prediction"] = booster.predict(features)
    if format == "csv":
        frame.to_csv(target, index=False)
    elif format == "jsonl":
        frame.to_json(target, orient="records", lines=True)
    else:
        frame.to_parquet(target)


def main() -> None:
    booster = lightgbm.Booster(model_file=sys.argv[1])
    for line in sys.stdin:
        asked = json.loads(line)
        started = time.perf_counter()
        run(booster, asked["format"], asked["input"], asked["output"])
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
