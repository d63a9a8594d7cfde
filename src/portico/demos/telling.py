"""What the demos' scripts share: steps on the console, uploads, a training with its bar, a simulated clock."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.status import Status
from rich.table import Table

import portico
from portico.cli.progress import telling

if TYPE_CHECKING:
    import pandas as pd
    from google.cloud import aiplatform

console = Console(highlight=False)

_SECONDS = 3.6  # of a milli node hour


def begin(start: str = "") -> portico.Client:
    """Points Google's client here; ends the program where the domain clock is past `start` and can't go back."""
    from google.cloud import aiplatform

    logging.disable(logging.INFO)  # the client narrates what the steps say shorter
    aiplatform.init(project="portico", location="us-central1")
    client = portico.Client()
    clock = client.call("GET", "clock")
    if start and clock.get("simulated") and clock["time"] > start:
        sys.exit(
            f"The clock of this home is simulated and shows {clock['time'][:10]}; it does not go back to {start[:10]}. "
            "Run the demo on a fresh home."
        )
    return client


@contextmanager
def step(words: str) -> Iterator[Status]:
    """Says what goes on, and when it is done how long it took."""
    started = time.monotonic()
    with console.status(words) as status, _in_a_pipe(words):
        yield status
    console.print(f"[green]✓[/] {words} [dim]({time.monotonic() - started:.1f} s)[/]")


@contextmanager
def _in_a_pipe(words: str) -> Iterator[None]:
    """Where no terminal draws what goes on, a line on stderr now and then."""
    if console.is_terminal:
        yield
        return
    with telling() as tell:
        tell(words)
        yield


def say(words: str) -> None:
    """A paragraph, set in."""
    console.print(Padding(words, (0, 0, 0, 2), expand=False))


def progress(words: str) -> Progress:
    columns = TextColumn(words), BarColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def table(title: str) -> Table:
    """A table without columns yet, narrow enough for 80 characters."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def upload(bucket: str, files: Mapping[str, pd.DataFrame]) -> None:
    """Makes a bucket of CSV files, by name."""
    from google.cloud import storage  # type: ignore[attr-defined]

    made = storage.Client(project="portico").create_bucket(bucket)
    for name, rows in files.items():
        made.blob(name).upload_from_string(rows.to_csv(index=False), content_type="text/csv")


def train(job: Any, what: str, budget: int, **options: Any) -> aiplatform.Model:
    """Runs an AutoML job of `budget` milli node hours, with a bar; `what` names what it trains."""
    model: aiplatform.Model = job.run(budget_milli_node_hours=budget, sync=False, **options)
    seconds = budget * _SECONDS
    started = time.monotonic()
    words = f"training {what}, at most"
    with progress(f"{words} {{task.total:.0f}} s") as bar, _in_a_pipe(f"{words} {seconds:.0f} s"):
        task = bar.add_task("", total=seconds)
        job.wait_for_resource_creation()
        while job.end_time is None:
            bar.update(task, completed=min(seconds, time.monotonic() - started))
            time.sleep(0.5)
    model.wait()  # type: ignore[no-untyped-call]
    console.print(f"[green]✓[/] trained and registered {what} [dim]({time.monotonic() - started:.1f} s)[/]")
    return model


def classifier(
    dataset: aiplatform.TabularDataset, name: str, what: str, budget: int, target: str, columns: Mapping[str, str],
    **options: Any,
) -> aiplatform.Model:  # fmt: skip
    """Trains a classifier of `target` called `name` by AutoML; `columns` says how each feature is transformed."""
    from google.cloud import aiplatform

    job = aiplatform.AutoMLTabularTrainingJob(
        display_name=name,
        optimization_prediction_type="classification",
        optimization_objective="minimize-log-loss",
        column_transformations=[{how: {"column_name": column}} for column, how in columns.items()],
    )
    return train(
        job,
        what,
        budget,
        dataset=dataset,
        target_column=target,
        training_fraction_split=0.8,
        validation_fraction_split=0.1,
        test_fraction_split=0.1,
        model_display_name=name,
        **options,
    )


def instances_of(rows: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows as JSON instances. JSON has no NaN: what is missing is left out."""
    records: list[dict[str, Any]] = rows[list(columns)].to_dict("records")
    return [{k: v for k, v in r.items() if not (isinstance(v, float) and math.isnan(v))} for r in records]


def with_half(value: float, interval: Sequence[float] | None) -> str:
    """A number and half of its interval: "0.380 ±0.005"."""
    half = "" if interval is None else f" [dim]±{(interval[1] - interval[0]) / 2:.3f}[/]"
    return f"{value:.3f}{half}"


def batch_answers(
    model: aiplatform.Model, bucket: str, name: str, files: Sequence[str]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """One batch job over CSV files of the bucket: instances and their predictions."""
    job = model.batch_predict(
        job_display_name=name,
        gcs_source=[f"gs://{bucket}/{file}" for file in files],
        gcs_destination_prefix=f"gs://{bucket}/predicted",
        instances_format="csv",
        predictions_format="jsonl",
        machine_type="n1-standard-2",
    )
    for blob in job.iter_outputs():
        if "prediction.results" in blob.name:
            for line in blob.download_as_text().splitlines():
                row = json.loads(line)
                yield row["instance"], row["prediction"]


def batch_scores(model: aiplatform.Model, bucket: str, name: str, positive: str) -> dict[int, float]:
    """One batch job over a CSV file of the bucket: the column `id` -> the score of the class `positive`."""
    return {
        int(row["id"]): answer["scores"][answer["classes"].index(positive)]
        for row, answer in batch_answers(model, bucket, name, [name])
    }


def gates_of(episode: dict[str, Any]) -> list[dict[str, Any]]:
    """The gates of an episode's last gating; none where it came to none."""
    found = [one for one in episode.get("decisions", []) if one["question"] == "gates"]
    gates: list[dict[str, Any]] = found[-1]["numbers"]["gates"] if found else []
    return gates


def verdict(episode: dict[str, Any]) -> str:
    """What happened, in a sentence; nothing in it is taken for granted."""
    gates = gates_of(episode)
    if not gates:
        return str(episode["reason"])
    failed = [gate["gate"] for gate in gates if not gate["passed"]]
    better = all(gate["passed"] for gate in gates if gate["gate"] == "better than the champion")
    if not failed:
        return (
            "The challenger was better, and as fair as the tolerance asks: no gate had a reason to stop it."
        )
    if set(failed) == {"fairness"} and better:
        return "The challenger is better, and only the fairness gate stopped it. The endpoint never answered with it."
    return f"It was stopped by: {', '.join(dict.fromkeys(failed))}."
