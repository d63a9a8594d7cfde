"""The first day of a model's life, on rented bikes: nothing here but Google's own clients.

Run it with `portico exec -- python demo_bikes.py`. The data are the hours of Capital Bikeshare in Washington,
2010 to 2019. A model learns 2011, answers January 2012 online with its reasons, and the years after in batch.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from google.cloud import aiplatform, storage
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from portico.cli import samples

FEATURES = ["ts", "tmin", "tmax", "pn"]
TARGET = "count"
BUDGET = 11  # milli node hours: 40 seconds
YEARS = range(2012, 2020)

console = Console(highlight=False)


@contextmanager
def step(words: str) -> Iterator[None]:
    started = time.monotonic()
    with console.status(words):
        yield
    console.print(f"[green]✓[/] {words} [dim]({time.monotonic() - started:.1f} s)[/]")


def main(out: Path) -> None:
    logging.disable(logging.INFO)  # the client narrates what the steps below say shorter
    aiplatform.init(project="portico", location="us-central1")
    data = pd.read_csv(samples.path("bikes"))
    by_year = dict(iter(data.groupby(data["ts"].str[:4].astype(int))))
    console.print(
        f"{len(data):,} hours of rented bikes, {data['ts'].iloc[0][:4]} to {data['ts'].iloc[-1][:4]}.\n"
    )

    bucket = f"bikes-{int(time.time())}"
    with step(f"uploaded the years to gs://{bucket}"):
        upload(bucket, by_year)
    with step("made a dataset of 2011: its schema and statistics are read from the file"):
        dataset = aiplatform.TabularDataset.create(
            display_name="bikes-2011", gcs_source=f"gs://{bucket}/learn/2011.csv"
        )
    model = train(dataset)
    evaluation = next(iter(model.list_model_evaluations()))
    show_evaluation(evaluation)
    with step("deployed it to an endpoint"):
        endpoint = model.deploy(machine_type="n1-standard-2")
    predict_january(endpoint, by_year[2012])
    errors = predict_years(model, bucket, by_year)
    table, results = compare(errors, by_year)
    console.print(table)
    results["evaluation"] = dict(evaluation.metrics)
    results["baseline"] = evaluation.to_dict()["metadata"]["baseline"]
    (out / "results.json").write_text(json.dumps(results, indent=2))
    picture = draw(results, out / "errors.png")
    console.print(f"The picture of it: {picture}")


def upload(bucket: str, by_year: dict[int, pd.DataFrame]) -> None:
    made = storage.Client(project="portico").create_bucket(bucket)
    for year in (2011, *YEARS):
        folder = "learn" if year == 2011 else "later"
        text = by_year[year].to_csv(index=False)
        made.blob(f"{folder}/{year}.csv").upload_from_string(text, content_type="text/csv")


def train(dataset: aiplatform.TabularDataset) -> aiplatform.Model:
    """AutoML on 2011: the oldest 80% train, the next 10% choose, the youngest 10% measure."""
    job = aiplatform.AutoMLTabularTrainingJob(
        display_name="bikes",
        optimization_prediction_type="regression",
        optimization_objective="minimize-mae",
        column_transformations=[
            {"timestamp" if name == "ts" else "numeric": {"column_name": name}} for name in FEATURES
        ],
    )
    model = job.run(
        dataset=dataset,
        target_column=TARGET,
        training_fraction_split=0.8,
        validation_fraction_split=0.1,
        test_fraction_split=0.1,
        timestamp_split_column_name="ts",
        budget_milli_node_hours=BUDGET,
        model_display_name="bikes",
        sync=False,
    )
    budget = BUDGET * 3.6
    started = time.monotonic()
    with Progress(
        TextColumn("training, at most {task.total:.0f} s"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=budget)
        job.wait_for_resource_creation()
        while job.end_time is None:
            bar.update(task, completed=min(budget, time.monotonic() - started))
            time.sleep(0.5)
    model.wait()
    console.print(f"[green]✓[/] trained and registered a model [dim]({time.monotonic() - started:.1f} s)[/]")
    return model


def show_evaluation(evaluation: aiplatform.ModelEvaluation) -> None:
    metrics, metadata = evaluation.metrics, evaluation.to_dict()["metadata"]
    console.print(
        f"\n  On the youngest {int(metadata['testRows']):,} hours of 2011, which it never saw: "
        f"mean absolute error {metrics['meanAbsoluteError']:.1f} bikes, R² {metrics['rSquared']:.3f}."
    )
    console.print(f"  [bold]{metadata['baseline']['sentence']}[/]\n")


def predict_january(endpoint: aiplatform.Endpoint, year: pd.DataFrame) -> None:
    january = year[year["ts"] < "2012-02-01"]
    with step(f"predicted the {len(january)} hours of January 2012 online"):
        answers = []
        for start in range(0, len(january), 100):
            part = january.iloc[start : start + 100]
            answers += endpoint.predict(instances_of(part)).predictions
    error = sum(abs(a["value"] - t) for a, t in zip(answers, january[TARGET], strict=True)) / len(january)
    inside = sum(
        a["lower_bound"] <= t <= a["upper_bound"] for a, t in zip(answers, january[TARGET], strict=True)
    )
    console.print(
        f"  Mean absolute error {error:.1f} bikes; {inside / len(january):.0%} of the hours lay within the bounds."
    )
    busiest = january.loc[[january[TARGET].idxmax()]]
    with step("asked it to explain the busiest of them"):
        explained = endpoint.explain(instances_of(busiest)).explanations[0].attributions[0]
    console.print(
        f"  {busiest['ts'].iloc[0]}: {explained.instance_output_value:.0f} bikes predicted, "
        f"{busiest[TARGET].iloc[0]} rented. From the usual {explained.baseline_output_value:.0f}:"
    )
    parts = sorted(explained.feature_attributions.items(), key=lambda item: -abs(item[1]))
    for name, share in parts:
        console.print(f"    {share:+8.1f}  {name} = {busiest[name].iloc[0]}")
    total = explained.baseline_output_value + sum(value for _, value in parts)
    console.print(f"    {total:8.1f}  in all\n")


def instances_of(rows: pd.DataFrame) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = rows[FEATURES].to_dict("records")
    # JSON has no NaN: what is missing is left out.
    return [{k: v for k, v in r.items() if not (isinstance(v, float) and math.isnan(v))} for r in records]


def predict_years(model: aiplatform.Model, bucket: str, by_year: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """One batch job over the years after; returns hour, truth, and prediction."""
    rows = sum(len(by_year[year]) for year in YEARS)
    with step(f"predicted {rows:,} hours of {YEARS[0]} to {YEARS[-1]} in one batch job"):
        job = model.batch_predict(
            job_display_name="bikes-later",
            gcs_source=[f"gs://{bucket}/later/{year}.csv" for year in YEARS],
            gcs_destination_prefix=f"gs://{bucket}/predicted",
            instances_format="csv",
            predictions_format="jsonl",
            machine_type="n1-standard-2",
        )
        found = []
        for blob in job.iter_outputs():
            if "prediction.results" in blob.name:
                found += [json.loads(line) for line in blob.download_as_text().splitlines()]
    stats = job.completion_stats
    console.print(
        f"  {stats.successful_count:,} rows predicted, {stats.failed_count} failed; "
        f"the answers lie in {job.output_info.gcs_output_directory}\n"
    )
    return pd.DataFrame(
        {
            "ts": [row["instance"]["ts"] for row in found],
            "true": [float(row["instance"][TARGET]) for row in found],
            "predicted": [row["prediction"]["value"] for row in found],
        }
    )


def compare(errors: pd.DataFrame, by_year: dict[int, pd.DataFrame]) -> tuple[Table, dict[str, Any]]:
    """The error of each year beside the simplest rule: the same hour a week before."""
    week = pd.concat(by_year.values())
    known = pd.Series(week[TARGET].to_numpy(), index=pd.to_datetime(week["ts"]))
    known = known[~known.index.duplicated()]
    errors["when"] = pd.to_datetime(errors["ts"])
    errors["week_before"] = known.reindex(errors["when"] - pd.Timedelta(days=7)).to_numpy()
    table = Table(title="The model of 2011 in the years after")
    for heading in ("year", "hours", "rented an hour", "error", "of the mean", "same hour a week before"):
        table.add_column(heading, justify="right")
    years: list[dict[str, Any]] = []
    for year, rows in errors.groupby(errors["when"].dt.year):
        mean = rows["true"].mean()
        error = (rows["predicted"] - rows["true"]).abs().mean()
        simple = (rows["week_before"] - rows["true"]).abs().mean()
        years.append({"year": int(year), "hours": len(rows), "mean": mean, "mae": error,
                      "relative": error / mean, "weekBefore": simple / mean})  # fmt: skip
        table.add_row(
            str(year),
            f"{len(rows):,}",
            f"{mean:.0f}",
            f"{error:.0f}",
            f"{error / mean:.0%}",
            f"{simple / mean:.0%}",
        )
    return table, {"years": years}


def draw(results: dict[str, Any], path: Path) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    years = [row["year"] for row in results["years"]]
    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    axes.plot(
        years, [row["relative"] for row in results["years"]], "o-", color="#c5221f", label="the model of 2011"
    )
    axes.plot(years, [row["weekBefore"] for row in results["years"]], "o--", color="#80868b",
              label="same hour a week before")  # fmt: skip
    axes.set_title("A model that nobody looks after: its error grows", loc="left")
    axes.set_ylabel("mean absolute error / mean")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path.cwd())
    main(parser.parse_args().out)
