"""The control: who has a job in Massachusetts, 2015 to 2018. Nothing that matters drifts, so nothing is retrained.

Run it with `portico exec -- python employment.py`. A model learns 2015 and is deployed; three years of the
American Community Survey go by on the domain clock, every answer's truth four weeks late. A steward looks after the
model, and a monitoring job compares what is asked with what was learned. At last a model that did learn the years
between is trained, to see what was missed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from google.cloud import aiplatform
from google.cloud.aiplatform import model_monitoring

import portico
from portico.cli import report
from portico.client import declaration
from portico.demos import mitigation, pictures, telling
from portico.demos.telling import console, progress, say, step
from portico.ml.measure import performance
from portico.sandbox import samples

TARGET = "employed"
BUDGET = 7  # milli node hours: 25 seconds
YEARS = (2016, 2017, 2018)
START = "2016-01-01T00:00:00Z"
A_YEAR = 20_000  # people of each year after, drawn at random
WEEKS, LATE, REQUEST = 52, 4, 250  # of a year; weeks until the truth is known; people of one request
PERIOD = 13  # weeks of a monitoring window
MOVED = 0.03  # the distance from which the monitoring job calls a feature's distribution moved
MINIMUM = 200  # of a group that is judged
GAPS = {"SEX": "equalOpportunityDifference", "RAC1P": "equalOpportunityDifference"}
STEWARD = Path(__file__).with_name("employment.yaml")


def main(out: Path) -> None:
    client = telling.begin(START)
    people = pd.read_parquet(samples.path("employment"))
    features = [name for name in people.columns if name not in ("id", "year", TARGET)]
    console.print(
        f"{len(people):,} people of the American Community Survey in Massachusetts, 2015 to 2018:\n"
        f"who has a job? 2015 is learned; of each year after, {A_YEAR:,} people come.\n"
    )
    bucket = f"employment-{int(time.time())}"
    with step(f"uploaded 2015 to gs://{bucket}"):
        telling.upload(bucket, {"2015.csv": people.loc[people["year"] == 2015, [*features, TARGET]]})
    with step("made a dataset of it"):
        dataset = aiplatform.TabularDataset.create("employment", gcs_source=f"gs://{bucket}/2015.csv")
    model = train(dataset, "employment", "a model", features)
    evaluation = next(iter(model.list_model_evaluations()))
    metrics = evaluation.metrics
    say(
        f"\nOn {int(evaluation.to_dict()['metadata']['testRows']):,} people of 2015 that it never saw: "
        f"logLoss {metrics['logLoss']:.3f}, auRoc {metrics['auRoc']:.3f}.\n"
    )
    with step("deployed it to an endpoint, and a monitoring job beside it"):
        endpoint = aiplatform.Endpoint.create(display_name="employment")
        endpoint.deploy(model, machine_type="n1-standard-2")
        client.advance(to=START)
        monitoring = monitor(endpoint, f"gs://{bucket}/2015.csv", features)
    later = drawn(people)
    later["score"] = live(client, endpoint, later, features)
    years = [year_of(rows, int(year)) for year, rows in later.groupby("year")]
    show_years(years, metrics)
    drift = drift_of(monitoring, endpoint)
    show_drift(drift)
    steward, episodes = client.steward("employment"), client.episodes("employment")
    show_steward(steward, episodes)
    missed = what_was_missed(bucket, people, later, features)
    results = {
        "deployment": {name: metrics[name] for name in ("logLoss", "auRoc")},
        "years": years,
        "drift": drift,
        "acceptable": steward.get("status", {}).get("acceptable", []),
        "observations": steward.get("status", {}).get("observations", []),
        "episodes": [
            {"name": e["name"], "start": e["startTime"], "outcome": e["state"], "reason": e["reason"],
             "states": [t["state"] for t in e["transitions"]]}
            for e in episodes
        ],
        "retrainings": sum("RETRAINING" in [t["state"] for t in e["transitions"]] for e in episodes),
        "retrained": missed,
    }  # fmt: skip
    (out / "results.json").write_text(json.dumps(results, indent=2))
    limits = {
        item["attributes"][0] if "attributes" in item else item["metric"]:
        item.get("limit", metrics["logLoss"] * item.get("timesReference", 1))
        for item in steward["acceptable"]
    }  # fmt: skip
    picture = pictures.control(periods(later), drift, limits, MOVED, out / "control.png")
    with step("portico report employment: the model's card and its history"):
        card, _ = report.write(client, model.resource_name, out)
    console.print(f"The picture of it: {picture}\nThe report:        {card}")


# --- the model and its watch ---


def train(dataset: aiplatform.TabularDataset, name: str, what: str, features: list[str]) -> aiplatform.Model:
    columns = {column: "numeric" if column == "AGEP" else "categorical" for column in features}
    return telling.classifier(dataset, name, what, BUDGET, TARGET, columns)


def monitor(
    endpoint: aiplatform.Endpoint, source: str, features: list[str]
) -> aiplatform.ModelDeploymentMonitoringJob:
    """Every quarter: is what was asked another thing than what was learned?"""
    skew = model_monitoring.SkewDetectionConfig(
        data_source=source,
        data_format="csv",
        target_field=TARGET,
        skew_thresholds=dict.fromkeys(features, MOVED),
    )
    return aiplatform.ModelDeploymentMonitoringJob.create(
        endpoint=endpoint,
        display_name="employment",
        schedule_config=model_monitoring.ScheduleConfig(monitor_interval=PERIOD * 7 * 24),
        logging_sampling_strategy=model_monitoring.RandomSampleConfig(sample_rate=1.0),
        alert_config=model_monitoring.EmailAlertConfig(),
        objective_configs=model_monitoring.ObjectiveConfig(skew),
    )


# --- the years after ---


def drawn(people: pd.DataFrame) -> pd.DataFrame:
    """Whom the endpoint is asked about. The survey says the year and no more, and is sorted by household: within a year
    people come in random order."""
    return pd.concat(people[people["year"] == year].sample(A_YEAR, random_state=year) for year in YEARS)


def weeks_of(later: pd.DataFrame) -> list[tuple[pd.Timestamp, pd.DataFrame]]:
    """Every year in 52 parts: when each begins, and its people."""
    made = []
    for year, rows in later.groupby("year"):
        first = pd.Timestamp(f"{year}-01-01", tz="UTC")
        edges = np.linspace(0, len(rows), WEEKS + 1).astype(int)
        made += [
            (first + pd.Timedelta(days=7 * week), rows[edges[week] : edges[week + 1]])
            for week in range(WEEKS)
        ]
    return made


def live(
    client: portico.Client, endpoint: aiplatform.Endpoint, later: pd.DataFrame, features: list[str]
) -> list[float]:
    """Week by week through the endpoint, the truth four weeks late; returns how likely each was held to have a job."""
    outcome, _ = declaration.apply(client, declaration.load(STEWARD))
    console.print(f"[green]✓[/] portico apply -f {STEWARD.name}: the steward is {outcome}")
    started = time.monotonic()
    weeks = weeks_of(later)
    answers: list[float] = []
    with progress("{task.description} looked after") as bar:
        task = bar.add_task(str(YEARS[0]), total=len(later))
        for number, (start, rows) in enumerate(weeks):
            client.advance(to=start.isoformat())
            if number >= LATE:
                known = weeks[number - LATE][1]
                client.add_labels(endpoint.resource_name, [
                    {"key": {"id": int(one)}, "truth": int(truth)}
                    for one, truth in zip(known["id"], known[TARGET], strict=True)
                ])  # fmt: skip
            instances = telling.instances_of(rows, ["id", *features])
            for at in range(0, len(instances), REQUEST):
                found = endpoint.predict(instances[at : at + REQUEST])
                answers += [one["scores"][one["classes"].index("1")] for one in found.predictions]
            bar.update(task, description=f"{start:%B %Y}", advance=len(rows))
        client.advance(to=f"{YEARS[-1] + 1}-01-01T00:00:00Z")
    console.print(
        f"[green]✓[/] {len(answers):,} people predicted online, every truth {LATE} weeks late "
        f"[dim]({time.monotonic() - started:.1f} s)[/]\n"
    )
    return answers


def periods(later: pd.DataFrame) -> pd.DataFrame:
    """Per quarter: when, the logLoss with its interval, and the gaps."""
    made = []
    weeks = weeks_of(later)
    for at in range(0, len(weeks), PERIOD):
        rows = pd.concat([part for _, part in weeks[at : at + PERIOD]])
        loss = measured("logLoss", rows)
        gaps = {
            by: mitigation.fairness_of(rows, *_both(rows), [by], MINIMUM).gaps[name].value
            for by, name in GAPS.items()
        }
        made.append({"when": weeks[at][0], "logLoss": loss["value"], "interval": loss["interval"], **gaps})
    return pd.DataFrame(made)


def measured(metric: str, rows: pd.DataFrame) -> dict[str, Any]:
    truth, scores = _both(rows)
    output = np.stack([1 - scores, scores], axis=1)
    return performance.measure(metric, truth, output, np.arange(len(rows), dtype=float)).to_json()


def _both(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return rows[TARGET].to_numpy(float), rows["score"].to_numpy(float)


# --- what came of it ---


def year_of(rows: pd.DataFrame, year: int) -> dict[str, Any]:
    found = {by: mitigation.fairness_of(rows, *_both(rows), [by], MINIMUM) for by in GAPS}
    return {
        "year": year,
        "people": len(rows),
        **{metric: measured(metric, rows) for metric in ("logLoss", "auRoc")},
        "gaps": {by: found[by].gaps[name].to_json() for by, name in GAPS.items()},
        "groups": {by: of.groups for by, of in found.items()},
    }


def show_years(years: list[dict[str, Any]], metrics: dict[str, Any]) -> None:
    table = telling.table("The model of 2015 in the years after (± half of the 95% interval)")
    table.add_column("year")
    for words in ("logLoss", "auRoc", "TPR gap of sexes", "TPR gap of races"):
        table.add_column(words, justify="right")
    table.add_row("2015, test", f"{metrics['logLoss']:.3f}", f"{metrics['auRoc']:.3f}", "", "")
    for row in years:
        found = [row["logLoss"], row["auRoc"], *(row["gaps"][by] for by in GAPS)]
        table.add_row(str(row["year"]), *map(_value, found))
    console.print(table)
    worst = max(years, key=lambda row: row["logLoss"]["value"])
    more = worst["logLoss"]["value"] / metrics["logLoss"] - 1
    way = "above" if more > 0 else "below"
    say(f"At worst, in {worst['year']}, the logLoss is {abs(more):.1%} {way} that of the test rows of 2015.")


def _value(found: dict[str, Any]) -> str:
    return telling.with_half(found["value"], found["interval"])


def drift_of(
    monitoring: aiplatform.ModelDeploymentMonitoringJob, endpoint: aiplatform.Endpoint
) -> dict[str, dict[str, Any]]:
    """Feature -> its distances from 2015 by window, the oldest first; from the monitoring job's statistics."""
    found = monitoring.api_client.search_model_deployment_monitoring_stats_anomalies(
        request={
            "model_deployment_monitoring_job": monitoring.resource_name,
            "deployed_model_id": endpoint.list_models()[0].id,
            "objectives": [{"type_": "RAW_FEATURE_SKEW"}],
        }
    )
    made = {}
    for stats in found:
        for feature in stats.feature_stats:
            series = [
                (one.end_time.isoformat(), one.distribution_deviation) for one in feature.prediction_stats
            ]
            series.sort()
            beyond = [when for when, distance in series if distance > MOVED]
            made[feature.feature_display_name] = {
                "windows": len(series),
                "beyond": len(beyond),
                "first": beyond[0] if beyond else None,
                "largest": max(distance for _, distance in series),
                "series": series,
            }
    return made


def show_drift(drift: dict[str, dict[str, Any]]) -> None:
    moved = sorted((name for name in drift if drift[name]["beyond"]), key=lambda name: -drift[name]["beyond"])
    windows = max((one["windows"] for one in drift.values()), default=0)
    say(
        f"The monitoring job compared {windows} quarters with what was learned. "
        + (
            f"{len(moved)} of {len(drift)} features moved by more than {MOVED:g}:"
            if moved
            else "No feature moved."
        )
    )
    for name in moved:
        one = drift[name]
        console.print(
            f"    {name:<8} in {one['beyond']} of {one['windows']} quarters, by {one['largest']:.3f} at most, "
            f"first by {one['first'][:10]}"
        )


def show_steward(steward: dict[str, Any], episodes: list[dict[str, Any]]) -> None:
    status = steward.get("status", {})
    console.print("\n  What the steward saw last:")
    for one in status.get("acceptable", []):
        groups = "" if "high" not in one else f" between {'races' if 'RAC1P' in one['high'] else 'the sexes'}"
        holds = "[green]holds[/]" if one["holds"] else "[red]broken[/]"
        console.print(
            f"    {one['metric']}{groups} {one['value']:.3f}, acceptable {one['limit']:.3f}: {holds}"
        )
    noted = [one["message"] for one in status.get("observations", [])]
    for message in noted or [status.get("drift", {}).get("message", "")]:
        console.print(f"    beside its first weeks: {message}")
    for episode in episodes:
        console.print(f"    {episode['startTime'][:10]} {episode['state']}: {episode['reason']}")
    if episodes:
        console.print(
            "  [bold]Something broke what is acceptable: by this run, the control did not hold.[/]\n"
        )
    else:
        console.print("  [bold]No episode in three years: what moved did no harm, and was let be.[/]\n")


def what_was_missed(
    bucket: str, people: pd.DataFrame, later: pd.DataFrame, features: list[str]
) -> dict[str, Any]:
    """A model of 2015 to 2017 beside that of 2015, on 2018."""
    console.print("Was that right? A model that learned 2016 and 2017 too, beside it on 2018:")
    old, last = people[people["year"] < YEARS[-1]], later[later["year"] == YEARS[-1]]
    with step(f"uploaded all {len(old):,} people of 2015 to 2017"):
        telling.upload(
            f"{bucket}-all", {"learn.csv": old[[*features, TARGET]], "2018.csv": last[["id", *features]]}
        )
        dataset = aiplatform.TabularDataset.create(
            "employment-all", gcs_source=f"gs://{bucket}-all/learn.csv"
        )
    model = train(dataset, "employment-all", "a model of three years", features)
    with step("predicted 2018 in a batch job"):
        scores = telling.batch_scores(model, f"{bucket}-all", "2018.csv", "1")
    truth, one = _both(last)
    other = last["id"].map(scores).to_numpy(float)
    order = np.arange(len(last), dtype=float)
    outputs = [np.stack([1 - found, found], axis=1) for found in (other, one)]
    found = performance.compare("logLoss", truth, *outputs, order)
    low, high = found.interval
    say(
        f"logLoss {found.first:.4f}, that of the model of 2015 {found.second:.4f}: "
        f"{'better' if found.gain > 0 else 'worse'} by {abs(found.gain) / found.second:.1%} "
        f"({low / found.second:+.1%} to {high / found.second:+.1%}).\n"
    )
    return found.to_json()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path.cwd())
    main(parser.parse_args().out)
