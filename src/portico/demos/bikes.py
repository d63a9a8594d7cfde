"""A model's life, on rented bikes: Google's own clients, and Portico's for what Google has none.

Run it with `portico exec -- python bikes.py`. The data are the hours of Capital Bikeshare in Washington, 2010 to
2019. A model learns 2011 and is deployed. Then eight years go by on the domain clock: every fourth day the endpoint is
asked for the hours of four days, the truth of the four before arrives, and a steward looks after the model. Beside it
stand the same model left alone, and the simplest remedy, which rescales its answers by the last 30 days.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
from google.cloud import aiplatform
from rich.table import Table

import portico
from portico.cli import report
from portico.client import declaration
from portico.demos import pictures, telling
from portico.demos.telling import console, progress, step
from portico.sandbox import samples

FEATURES = ["ts", "tmin", "tmax", "pn"]
TARGET = "count"
BUDGET = 2  # milli node hours: 7 seconds
YEARS = range(2012, 2020)
STEWARD = Path(__file__).with_name("bikes.yaml")
DAYS, HOURS = 4, 24  # from look to look; of one request
START = "2012-01-01T00:00:00Z"


def main(out: Path) -> None:
    client = telling.begin(START)
    data = pd.read_csv(samples.path("bikes"))
    by_year = dict(iter(data.groupby(data["ts"].str[:4].astype(int))))
    console.print(
        f"{len(data):,} hours of rented bikes, {data['ts'].iloc[0][:4]} to {data['ts'].iloc[-1][:4]}.\n"
    )
    bucket = f"bikes-{int(time.time())}"
    with step(f"uploaded the years to gs://{bucket}"):
        folders = {year: "learn" if year == 2011 else "later" for year in (2011, *YEARS)}
        telling.upload(bucket, {f"{to}/{year}.csv": by_year[year] for year, to in folders.items()})
    with step("made a dataset of 2011: its schema and statistics are read from the file"):
        dataset = aiplatform.TabularDataset.create(
            display_name="bikes", gcs_source=f"gs://{bucket}/learn/2011.csv"
        )
    model = train(dataset)
    evaluation = next(iter(model.list_model_evaluations()))
    show_evaluation(evaluation)
    with step("deployed it to an endpoint"):
        endpoint = aiplatform.Endpoint.create(display_name="bikes")
        endpoint.deploy(model, machine_type="n1-standard-2")
    explain_busiest(endpoint, by_year[2012])
    hours = predict_years(model, bucket, by_year)
    hours["steward"] = live(client, endpoint, hours)
    hours["rescaled"] = rescaled(hours)
    hours["weekBefore"] = week_before(hours, by_year)
    episodes = client.episodes("bikes")[::-1]
    years = compare(hours)
    show_years(years)
    agrees = [client.replay(episode["name"]).get("agrees", False) for episode in episodes]
    show_episodes(episodes, agrees)
    results = {
        "years": years,
        "episodes": [
            {
                "name": e["name"], "start": e["startTime"], "end": e.get("endTime"), "outcome": e["state"],
                "states": [t["state"] for t in e["transitions"]], "reason": e["reason"], "replayAgrees": agreed,
            }
            for e, agreed in zip(episodes, agrees, strict=True)
        ],
        "evaluation": dict(evaluation.metrics),
        "baseline": evaluation.to_dict()["metadata"]["baseline"],
    }  # fmt: skip
    (out / "results.json").write_text(json.dumps(results, indent=2))
    picture = pictures.timeline(hours, results["episodes"], out / "timeline.png")
    with step("portico report bikes: the model's card and its history"):
        card, _ = report.write(client, model.resource_name, out)
    console.print(f"The picture of it: {picture}\nThe report:        {card}")


# --- the model ---


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
    return telling.train(
        job,
        "a model",
        BUDGET,
        dataset=dataset,
        target_column=TARGET,
        training_fraction_split=0.8,
        validation_fraction_split=0.1,
        test_fraction_split=0.1,
        timestamp_split_column_name="ts",
        model_display_name="bikes",
    )


def show_evaluation(evaluation: aiplatform.ModelEvaluation) -> None:
    metrics, metadata = evaluation.metrics, evaluation.to_dict()["metadata"]
    console.print(
        f"\n  On the youngest {int(metadata['testRows']):,} hours of 2011, which it never saw: "
        f"mean absolute error {metrics['meanAbsoluteError']:.1f} bikes, R² {metrics['rSquared']:.3f}."
    )
    console.print(f"  [bold]{metadata['baseline']['sentence']}[/]\n")


def explain_busiest(endpoint: aiplatform.Endpoint, year: pd.DataFrame) -> None:
    january = year[year["ts"] < "2012-02-01"]
    busiest = january.loc[[january[TARGET].idxmax()]]
    with step("asked it to explain the busiest hour of January 2012"):
        explained = endpoint.explain(telling.instances_of(busiest, FEATURES)).explanations[0].attributions[0]
    console.print(
        f"  {busiest['ts'].iloc[0]}: {explained.instance_output_value:.0f} bikes predicted, "
        f"{busiest[TARGET].iloc[0]} rented. From the usual {explained.baseline_output_value:.0f}:"
    )
    parts = sorted(explained.feature_attributions.items(), key=lambda item: -abs(item[1]))
    for name, share in parts:
        console.print(f"    {share:+8.1f}  {name} = {busiest[name].iloc[0]}")
    total = explained.baseline_output_value + sum(value for _, value in parts)
    console.print(f"    {total:8.1f}  in all\n")


# --- the years after ---


def predict_years(model: aiplatform.Model, bucket: str, by_year: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """One batch job over the years after with the model of 2011: every hour, its truth, and `static`."""
    rows = sum(len(by_year[year]) for year in YEARS)
    with step(f"left alone: predicted {rows:,} hours of {YEARS[0]} to {YEARS[-1]} in one batch job"):
        found = telling.batch_answers(model, bucket, "bikes-later", [f"later/{year}.csv" for year in YEARS])
        static = {row["ts"]: answer["value"] for row, answer in found}
    hours = pd.concat([by_year[year] for year in YEARS], ignore_index=True)
    hours["when"] = pd.to_datetime(hours["ts"])
    hours["static"] = hours["ts"].map(static)
    return hours


def live(client: portico.Client, endpoint: aiplatform.Endpoint, hours: pd.DataFrame) -> list[float]:
    """Four days by four days through the endpoint, with the truth as late; returns what it answered for each hour."""
    client.advance(to=START)
    declared = declaration.load(STEWARD)
    outcome, _ = declaration.apply(client, declared)
    console.print(f"[green]✓[/] portico apply -f {STEWARD.name}: the steward is {outcome}")
    started = time.monotonic()
    answers: list[float] = []
    late: list[dict[str, Any]] = []
    with progress("{task.description} looked after") as bar:
        task = bar.add_task(str(YEARS[0]), total=len(hours))
        for _, rows in hours.groupby((hours["when"] - hours["when"].min()).dt.days // DAYS):
            day = rows["ts"].iloc[0][:10]
            client.advance(to=f"{day}T00:00:00Z")
            if late:
                client.add_labels(endpoint.resource_name, late)
            instances = telling.instances_of(rows, FEATURES)
            for start in range(0, len(instances), HOURS):
                found = endpoint.predict(instances[start : start + HOURS])
                answers += [answer["value"] for answer in found.predictions]
            late = [
                {"key": {"ts": instance["ts"]}, "truth": truth}
                for instance, truth in zip(instances, rows[TARGET].tolist(), strict=True)
            ]
            bar.update(task, description=day[:4], advance=len(rows))
            show_lived(hours, answers, len(answers) - len(rows))
    console.print(
        f"[green]✓[/] looked after: {len(answers):,} hours predicted online, the truth four days late "
        f"[dim]({time.monotonic() - started:.1f} s)[/]\n"
    )
    return answers


def show_lived(hours: pd.DataFrame, answers: list[float], before: int) -> None:
    """A line where a year has ended since there were `before` answers."""
    done = hours.iloc[: len(answers)]
    year = hours["when"].iloc[before].year
    if len(done) < len(hours) and hours["when"].iloc[len(done)].year == year:
        return
    mine = done["when"].dt.year == year
    shown = done[mine].assign(steward=pd.Series(answers, index=done.index)[mine])
    alone, kept = (share_of_mean(shown, name) for name in ("static", "steward"))
    console.print(f"  {year}: mean absolute error {alone:.0%} left alone, {kept:.0%} with the steward")


def share_of_mean(rows: pd.DataFrame, name: str) -> float:
    """The mean absolute error of the column `name`, as a share of the mean of what was rented."""
    known = rows[rows[name].notna()]
    return float((known[name] - known[TARGET]).abs().mean() / known[TARGET].mean())


def rescaled(hours: pd.DataFrame) -> pd.Series:
    """The static model times what was rented over what it said, in the 30 days whose truth is known."""
    days = hours.groupby(hours["when"].dt.floor("D"))[[TARGET, "static"]].sum().asfreq("D").fillna(0)
    known = days.rolling(30, min_periods=7).sum().shift(DAYS // 2)  # it is one to DAYS days old
    factor = (known[TARGET] / known["static"]).fillna(1.0)
    return hours["static"] * hours["when"].dt.floor("D").map(factor)


def week_before(hours: pd.DataFrame, by_year: dict[int, pd.DataFrame]) -> Any:
    """The same hour a week before, the simplest rule of all."""
    every = pd.concat(by_year.values())
    known = pd.Series(every[TARGET].to_numpy(), index=pd.to_datetime(every["ts"]))
    known = known[~known.index.duplicated()]
    return known.reindex(hours["when"] - pd.Timedelta(days=7)).to_numpy()


# --- what came of it ---


def compare(hours: pd.DataFrame) -> list[dict[str, Any]]:
    """Per year the mean absolute error of each, as a share of the mean."""
    years: list[dict[str, Any]] = []
    for year, rows in hours.groupby(hours["when"].dt.year):
        mean = rows[TARGET].mean()
        made = {"year": int(year), "hours": len(rows), "mean": mean}
        for name in pictures.LINES:
            made[name] = share_of_mean(rows, name)
        years.append(made)
    return years


def show_years(years: list[dict[str, Any]]) -> None:
    table = Table(title="Mean absolute error, as a share of the mean", title_justify="left")
    table.add_column("year", justify="right")
    for label, _, _ in pictures.LINES.values():
        table.add_column(label, justify="right")
    for row in years:
        best = min(pictures.LINES, key=lambda name: row[name])
        cells = (
            f"[bold]{row[name]:.0%}[/]" if name == best else f"{row[name]:.0%}" for name in pictures.LINES
        )
        table.add_row(str(row["year"]), *cells)
    console.print(table)
    won = [str(row["year"]) for row in years if row["rescaled"] < row["steward"]]
    if won:
        console.print(f"  Honestly: in {', '.join(won)} rescaling alone would have done as well or better.\n")


def show_episodes(episodes: list[dict[str, Any]], agrees: list[bool]) -> None:
    console.print(
        f"  {len(episodes)} episodes; computed again from their evidence, {sum(agrees)} come out as recorded."
    )
    for episode in episodes:
        colour = {"PROMOTED": "green", "ROLLED_BACK": "yellow"}.get(episode["state"], "red")
        tried = "rescaled" if episode["action"] == "RESCALE" else "retrained"
        said = episode["reason"] if len(episode["reason"]) < 130 else episode["reason"][:127] + "…"
        console.print(
            f"  {episode['startTime'][:10]} to {episode['endTime'][:10] if 'endTime' in episode else '…':<10} "
            f"[{colour}]{episode['state'].lower().replace('_', ' '):<11}[/] {tried:<9} [dim]{said}[/]",
            no_wrap=True,
            overflow="ellipsis",
        )
    console.print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path.cwd())
    main(parser.parse_args().out)
