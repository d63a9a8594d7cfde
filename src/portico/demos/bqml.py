"""BigQuery ML: which flights come late, and how many bikes tomorrow, by SQL.

Run it with `portico exec -- python bqml.py`. Everything here is Google's own clients: google-cloud-bigquery, and for
the endpoint google-cloud-aiplatform. The SQL stands in `bqml_sql.py`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from google.cloud import aiplatform, bigquery
from rich.padding import Padding

from portico.demos import bqml_sql as sql
from portico.demos import pictures, telling
from portico.demos.telling import console, say, step
from portico.sandbox import samples
from portico.sandbox.sample_table import SAMPLES

MODELS = {"late_trees": "boosted trees", "late_logistic": "logistic regression"}
PARTS = {
    "train": "to learn from", "tune": "to stop the trees by", "choose": "to choose a model by",
    "test": "kept aside, until the choice is made",
}  # fmt: skip


def main(out: Path) -> None:
    telling.begin()
    client = bigquery.Client(project="portico")
    dataset = f"demo_{int(time.time())}"
    client.create_dataset(dataset)
    client = bigquery.Client(
        project="portico",
        default_query_job_config=bigquery.QueryJobConfig(default_dataset=f"portico.{dataset}"),
    )
    load(client, dataset)
    joined = join(client)
    trained = train(client)
    compared = measure(client, "choose", "On flights of the days by which is chosen")
    chosen = choose(compared)
    say(f"So {MODELS[chosen]} it is; only now the days are opened that nothing was decided by.\n")
    measured = measure(client, "test", "On flights of days that no model and no choice has seen")
    reasons = explain(client, chosen)
    served = serve(client, chosen)
    forecast = foretell(client, out)
    found = {
        "rows": joined,
        "trainingSeconds": trained,
        "comparison": compared,
        "chosen": chosen,
        "evaluation": measured,
        "explained": reasons,
        "served": served,
        "forecast": forecast,
    }
    (out / "results.json").write_text(json.dumps(found, indent=2))


def load(client: bigquery.Client, dataset: str) -> None:
    for name in ("flights", "weather", "bikes"):
        with step(f"loaded {name} by a load job: {SAMPLES[name].sentence}"):
            config = bigquery.LoadJobConfig(
                source_format="CSV", skip_leading_rows=1, autodetect=True, write_disposition="WRITE_TRUNCATE"
            )
            with samples.path(name).open("rb") as file:
                job = client.load_table_from_file(file, f"portico.{dataset}.{name}", job_config=config)
            job.result()
    console.print()


def join(client: bigquery.Client) -> dict[str, int]:
    """The table `late`; returns the number of rows of each part."""
    with step("joined flights with weather, and split by day with FARM_FINGERPRINT, in SQL"):
        client.query(sql.JOIN).result()
        parts = {row.part: dict(row.items()) for row in client.query(sql.PARTS).result()}
    say(
        "Will a flight arrive more than 15 minutes late? It is asked at the start of the hour in which the flight is "
        "to leave, so only the timetable and the weather of the hour before count. Its departure's delay would tell "
        "nearly all, but is not known then, and is left out. Flights that were cancelled or diverted have no arrival "
        "and are not learned from."
    )
    for name, words in PARTS.items():
        part = parts[name]
        say(f"{words}: {part['rows_']:,} flights of {part['days']} days, {part['share']:.1%} of them late")
    say("Whole days are kept aside: flights of one day share its weather and its jams.\n")
    return {name: part["rows_"] for name, part in parts.items()}


def train(client: bigquery.Client) -> dict[str, float]:
    seconds = {}
    for model, statement in sql.MODELS.items():
        started = time.monotonic()
        with step(f"CREATE MODEL {model}: {MODELS[model]}, with a TRANSFORM clause"):
            client.query(statement).result()
        seconds[model] = time.monotonic() - started
    console.print()
    return seconds


def measure(client: bigquery.Client, part: str, title: str) -> dict[str, Any]:
    """ML.EVALUATE of both models on the days of a part, and the difference of their log losses with its interval."""
    found: dict[str, Any] = {}
    with step(f"ML.EVALUATE on the days {PARTS[part].split(',')[0]}, and the two models' losses day by day"):
        for model in MODELS:
            [row] = client.query(sql.evaluate(model, part)).result()
            found[model] = dict(row.items())
        [row] = client.query(sql.compare(part)).result()
        found["difference"] = dict(row.items())
    table = telling.table(title)
    for column in ("", "log loss", "ROC AUC", "accuracy", "precision", "recall"):
        table.add_column(column, justify="left" if not column else "right")
    for model, words in MODELS.items():
        row = found[model]
        measures = (row[name] for name in ("log_loss", "roc_auc", "accuracy", "precision", "recall"))
        table.add_row(words, *(f"{value:.3f}" for value in measures))
    always = found["difference"]
    table.add_row("always the share of late flights", f"{always['share_loss']:.3f}", "0.500",
                  f"{always['on_time']:.3f}", "", "0.000")  # fmt: skip
    console.print(Padding(table, (0, 0, 0, 2)))
    say(verdict(always))
    return found


def verdict(difference: Mapping[str, float]) -> str:
    """What the comparison says; `difference` is logistic's log loss minus the trees', with a 95% interval over days."""
    mean, low, high = difference["difference"], difference["low"], difference["high"]
    numbers = f"{abs(mean):.4f} of log loss, 95% interval {low:+.4f} to {high:+.4f} over {difference['days']:.0f} days"
    if low > 0:
        words = f"The trees are better than the baseline: by {numbers}."
    elif high < 0:
        words = f"The baseline is better than the trees: by {numbers}."
    else:
        words = f"The baseline is as good: what lies between them ({numbers}) may be chance."
    gain = difference["share_loss"] - min(difference["trees_loss"], difference["logistic_loss"])
    return (
        f"{words} Neither knows much: the better one takes {gain / difference['share_loss']:.0%} off the loss of "
        "always answering the share of late flights.\n"
    )


def choose(measured: Mapping[str, Any]) -> str:
    """The better model; the simpler one where the difference may be chance."""
    return "late_trees" if measured["difference"]["low"] > 0 else "late_logistic"


def explain(client: bigquery.Client, chosen: str) -> dict[str, Any]:
    with step(f"ML.GLOBAL_EXPLAIN and ML.EXPLAIN_PREDICT of {chosen}"):
        everywhere = [dict(row.items()) for row in client.query(sql.overall(chosen)).result()]
        client.query(sql.feared(chosen)).result()
        [flight] = (dict(row.items()) for row in client.query(sql.explained(chosen)).result())
    say("What counts most over all flights: " + ", ".join(row["feature"] for row in everywhere[:5]) + ".")
    late = flight["probability"] if flight["predicted_late"] else 1 - flight["probability"]
    say(
        f"The flight of the days kept aside that it fears for most: {flight['carrier']} from {flight['origin']} to "
        f"{flight['dest']}, {flight['hour']}:00 on {flight['day']}: late with probability {late:.2f}; it came "
        f"{flight['arr_delay']:.0f} minutes after its time."
    )
    for one in flight["top_feature_attributions"]:
        say(f"  {one['attribution']:+.2f}  {one['feature']}")
    console.print()
    kept = ("carrier", "origin", "dest", "hour", "arr_delay", "top_feature_attributions")
    return {"global": everywhere, "flight": {name: flight[name] for name in kept} | {"late": late}}


def serve(client: bigquery.Client, chosen: str) -> dict[str, Any]:
    """Registers `chosen`, deploys it, and compares the endpoint's answer with ML.PREDICT's."""
    identifier = f"{chosen}_{int(time.time())}"
    with step(f"{MODELS[chosen]}: again with MODEL_REGISTRY = 'VERTEX_AI', as model {identifier}"):
        client.query(sql.registered(chosen, identifier)).result()
    with step("deployed it to an endpoint by google-cloud-aiplatform"):
        model = aiplatform.Model(identifier)
        endpoint = model.deploy(machine_type="n1-standard-2")
    with step("called the endpoint, and asked the same of ML.PREDICT"):
        row = next(iter(client.query(sql.predicted(chosen)).result()))
        instance = {name: row[name] for name in sql.FEATURES}
        [answer] = endpoint.predict([instance]).predictions
    told = dict(zip(answer["late_values"], answer["late_probs"], strict=True))
    served = next(value for label, value in told.items() if str(label).lower() == "true")
    inside = next(one["prob"] for one in row["predicted_late_probs"] if one["label"])
    say(json.dumps(instance))
    say(f"late with probability {served:.6f} by the endpoint, {inside:.6f} by SQL\n")
    return {"model": model.resource_name, "endpoint": served, "sql": inside, "instance": instance}


def foretell(client: bigquery.Client, out: Path) -> dict[str, Any]:
    """ARIMA_PLUS of bikes per day from the ends of the last twelve whole months, beside the week before, repeated."""
    with step("ARIMA_PLUS of bikes per day, from each of twelve days on which it ends: one CREATE MODEL"):
        client.query(sql.DAYS).result()
        client.query(sql.BIKES).result()
    with step(f"ML.FORECAST of {sql.HORIZON} days from each, beside the same weekday of the last week"):
        days = client.query(sql.FORECAST).to_dataframe(create_bqstorage_client=False)
        past = client.query(sql.PAST).to_dataframe(create_bqstorage_client=False)
    days["error"] = (days["forecast"] - days["bikes"]).abs()
    days["naive_error"] = (days["naive"] - days["bikes"]).abs()
    days["within"] = days["bikes"].between(days["low"], days["high"])
    mean = days["bikes"].mean()
    by = days.groupby("origin")[["error", "naive_error", "bikes"]].mean().reset_index()
    shares = days["error"].mean() / mean, days["naive_error"].mean() / mean
    won = int((by["error"] < by["naive_error"]).sum())
    words = "better" if shares[0] < shares[1] else "no better"
    say(
        f"Mean absolute error over {len(by)} starts of {sql.HORIZON} days: {shares[0]:.1%} of the mean by ARIMA_PLUS, "
        f"{shares[1]:.1%} by the same weekday of the last week. ARIMA_PLUS is {words}, and is ahead from {won} of "
        f"{len(by)} starts. Of the days {days['within'].mean():.0%} lie in its 90% intervals. It knows no weather."
    )
    path = pictures.forecast(past, days, out / "forecast.png")
    say(f"The picture: [dim]{path}[/]")
    return {
        "starts": [
            {"start": str(pd.Timestamp(row.origin).date()), "arimaPlus": row.error / row.bikes,
             "seasonalNaive": row.naive_error / row.bikes}
            for row in by.itertuples()
        ],
        "arimaPlus": shares[0],
        "seasonalNaive": shares[1],
        "within": float(days["within"].mean()),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path.cwd())
    main(parser.parse_args().out)
