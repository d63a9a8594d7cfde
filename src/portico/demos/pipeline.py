"""A model's whole life as a pipeline: compiled by kfp, submitted by Google's client, killed in the middle, run again.

Run it with `portico exec -- python pipeline.py --home HOME`. The pipeline is `flights_pipeline.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from google.api_core import exceptions
from google.cloud import aiplatform, storage  # type: ignore[attr-defined]
from rich.markup import escape

from portico.cli.lineage import tree
from portico.client import portico_alone
from portico.client.lineage import around
from portico.demos import telling
from portico.demos.telling import console, say, step
from portico.host import address
from portico.sandbox import environments, samples

SOURCE = Path(__file__).with_name("flights_pipeline.py")
CANDIDATES = [
    {"max_leaf_nodes": leaves, "learning_rate": rate, "max_iter": 60}
    for leaves in (8, 31)
    for rate in (0.1, 0.3)
]
ENDED = ("PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED")


def main(out: Path, home: Path) -> None:
    client = telling.begin()
    flights = late(pd.read_csv(samples.path("flights")))
    console.print(f"{len(flights):,} flights of 2013 from New York: which arrive more than 15 minutes late?")
    console.print(f"  The pipeline: [dim]{SOURCE}[/]\n")
    compiled = compile_(out, home)
    bucket = f"late-flights-{int(time.time())}"
    with step(f"uploaded them to gs://{bucket}"):
        telling.upload(bucket, {"flights.csv": flights})
    name = f"late-flights-{int(time.time())}"  # of the model and of its endpoint
    given = {
        "name": name,
        "data": f"gs://{bucket}/flights.csv", "project": "portico", "location": "us-central1",
        "candidates": CANDIDATES,
    }  # fmt: skip
    make_ready(out, bucket)

    console.print("The first run. In the middle its server is killed, and started again:")
    first = submit(compiled, bucket, given)
    told = follow(first, home, kill=True)
    measured = show(bucket, first)
    console.print("The second run has a stricter gate (most_unfair 0.9). Only what depends on it runs again:")
    second = submit(compiled, bucket, given | {"most_unfair": 0.9})
    again = follow(second)
    endpoint = aiplatform.Endpoint.list(filter=f'display_name="{name}"')[0]
    served = endpoint.list_models()[0].model
    console.print("What the model that is deployed came from (portico lineage):\n")
    drawn = list(tree(around(client, served)))
    for line in drawn:
        console.print(f"  {escape(line)}", soft_wrap=True)
    found = {"first": told, "evaluation": measured, "second": again, "deployed": served, "lineage": drawn}
    (out / "results.json").write_text(json.dumps(found, indent=2))


def late(flights: pd.DataFrame) -> pd.DataFrame:
    """What is known when a flight is booked, and whether it came late; every third flight that arrived."""
    flights = flights[flights["arr_delay"].notna()].iloc[::3]
    day = pd.to_datetime(flights[["year", "month", "day"]])
    return pd.DataFrame(
        {
            "day": day.dt.strftime("%Y-%m-%d"), "carrier": flights["carrier"], "origin": flights["origin"],
            "dest": flights["dest"], "weekday": day.dt.dayofweek,
            "hour": flights["sched_dep_time"] // 100, "distance": flights["distance"],
            "late": (flights["arr_delay"] > 15).map({True: "yes", False: "no"}),
        }
    )  # fmt: skip


def compile_(out: Path, home: Path) -> Path:
    """The pipeline as kfp compiles it, in an environment of its own."""
    with step("set up: an environment with kfp, which is made once"):
        python = environments.environment(["kfp==2.17.3"], "3.11", home / "envs")
    with step("compiled the pipeline with kfp"), portico_alone() as path:
        subprocess.run([python, SOURCE, out], check=True, env=os.environ | {"PYTHONPATH": path})
    return out / "late_flights.yaml"


def make_ready(out: Path, bucket: str) -> None:
    with step("set up: the environments of the components, which are made once"):
        job = submit(out / "set_up.yaml", bucket, {})
        while looked(job).state.name not in ENDED:
            time.sleep(0.3)
    console.print()


def submit(compiled: Path, bucket: str, given: dict[str, Any]) -> aiplatform.PipelineJob:
    job = aiplatform.PipelineJob(
        display_name="late-flights",
        template_path=str(compiled),
        pipeline_root=f"gs://{bucket}/pipelines",
        parameter_values=given,
    )
    job.submit()
    return job


def looked(job: aiplatform.PipelineJob) -> Any:
    return job.api_client.get_pipeline_job(name=job.resource_name)


def follow(job: aiplatform.PipelineJob, home: Path | None = None, kill: bool = False) -> dict[str, Any]:
    """Tells each task's end as it comes, and kills the server once, when a model is being trained."""
    begun, told = time.monotonic(), dict[str, str]()
    while True:
        seen = looked(job)
        holding = {
            task.parent_task_id for task in seen.job_detail.task_details
        }  # the pipeline, loops, conditions
        for task in seen.job_detail.task_details:
            key, state = f"{task.task_id}", task.state.name
            if told.get(key) == state or task.task_id in holding:
                continue
            if state not in ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELLED"):
                continue
            told[key] = state
            took = (task.end_time - task.start_time).total_seconds() if task.start_time else 0.0
            words = {"SUCCEEDED": f"{took:.1f} s", "SKIPPED": "as it was before"}.get(state, state.lower())
            say(f"{task.task_name:<24} [dim]{words}[/]")
        running = [one.task_name for one in seen.job_detail.task_details if one.state.name == "RUNNING"]
        if kill and home and "train" in running:
            kill = False
            restart(home)
        if seen.state.name in ENDED:
            break
        time.sleep(0.25)
    took = time.monotonic() - begun
    if seen.state.name != "PIPELINE_STATE_SUCCEEDED":
        sys.exit(f"The pipeline ended as {seen.state.name}: {seen.error.message}")
    ran = sum(state == "SUCCEEDED" for state in told.values())
    say(f"[bold]{ran} tasks ran, {len(told) - ran} were taken as they were; {took:.0f} s[/]\n")
    return {"name": job.resource_name, "seconds": took, "tasks": told}


def restart(home: Path) -> None:
    """Kills every process of the server at once, and starts it again at its port."""
    there = address.running(home)
    assert there is not None
    for process in [*psutil.Process(there.pid).children(recursive=True), psutil.Process(there.pid)]:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    while address.running(home) is not None:
        time.sleep(0.05)
    say("[yellow]killed the server with all its processes (SIGKILL)[/]")
    with (home / "server.log").open("a") as log:
        subprocess.Popen(
            [sys.executable, "-m", "portico.cli.main", "up", "--home", str(home), "--port", str(there.port)],
            stdout=subprocess.DEVNULL, stderr=log, start_new_session=True,
        )  # fmt: skip
    while True:
        try:
            aiplatform.PipelineJob.list(order_by="create_time desc")
            break
        except (exceptions.GoogleAPICallError, OSError):
            time.sleep(0.1)
    say("[yellow]started it again[/]")


def show(bucket: str, job: aiplatform.PipelineJob) -> dict[str, Any]:
    """The evaluation, by carrier."""
    task = next(one for one in looked(job).job_detail.task_details if one.task_name == "evaluate-model")
    uri = task.outputs["evaluation"].artifacts[0].uri
    name = uri.removeprefix(f"gs://{bucket}/")
    found: dict[str, Any] = json.loads(storage.Client().bucket(bucket).blob(name).download_as_bytes())
    one, flat = found["metrics"]["auRoc"], found["baseline"]["logLoss"]
    say(
        f"On the {found['rows']:,} flights of the last fifth of the year: area under the ROC curve "
        f"{one['value']:.3f} (95%: {one['low']:.3f} to {one['high']:.3f}); log loss "
        f"{found['metrics']['logLoss']['value']:.4f}, the same answer for all {flat:.4f}."
    )
    if found["metrics"]["logLoss"]["value"] >= flat:
        say("[yellow]Its probabilities are no better than the same answer for all: it ranks, and no more.[/]")
    parts = sorted(found["slices"]["carrier"].items(), key=lambda item: -item[1]["rows"])[:6]
    shown = ", ".join(f"{carrier} {part['metrics']['auRoc']:.3f}" for carrier, part in parts)
    say(f"By carrier, the largest first: {shown}\n")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path.cwd())
    parser.add_argument("--home", type=Path, required=True)
    arguments = parser.parse_args()
    main(arguments.out, arguments.home)
