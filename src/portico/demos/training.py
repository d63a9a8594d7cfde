"""One's own training code: run, tuned, compared, served, traced and repeated.

Run it with `portico exec -- python training.py`. The code is `census_model.py`, a script of scikit-learn's that knows
nothing of Portico; everything here but the lineage and the repetition is Google's own client.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
from google.cloud import aiplatform
from google.cloud.aiplatform import hyperparameter_tuning as tuning
from rich.markup import escape

import portico
from portico.cli.lineage import tree
from portico.client.lineage import around
from portico.demos import telling
from portico.demos.telling import console, say, step
from portico.sandbox import samples

SCRIPT = Path(__file__).with_name("census_model.py")
TRAINING = "us-docker.pkg.dev/vertex-ai/training/scikit-learn-cpu.1-6:latest"
SERVING = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"
MACHINE = "n1-standard-4"
TRIALS = 8
METRIC = "auc"
ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")


def main(out: Path) -> None:
    client = telling.begin()
    people = pd.read_csv(samples.path("census"))
    console.print(f"{len(people):,} people of the census of 1994: who earned more than $50,000?")
    console.print(f"  The code that learns it: [dim]{SCRIPT}[/]\n")
    bucket = f"census-training-{int(time.time())}"
    with step(f"uploaded them to gs://{bucket}"):
        telling.upload(bucket, {"census.csv": people})
    aiplatform.init(staging_bucket=f"gs://{bucket}", experiment=f"census-{int(time.time())}")
    data: list[Any] = ["--data", f"/gcs/{bucket}/census.csv"]

    make_ready()
    model = train(bucket, data)
    job = tune(bucket, data)
    runs = compare(job)
    best, place = best_of(job)
    registered = serve(best, place, people)
    drawn = trace(client, registered)
    again = repeat(client, best)
    found = {
        "model": model.resource_name,
        "trials": runs.to_dict("records"),
        "best": {"trial": best.id, METRIC: metric_of(best), "model": registered.resource_name},
        "lineage": drawn,
        "rerun": again,
    }
    (out / "results.json").write_text(json.dumps(found, indent=2))


def make_ready() -> None:
    """Where the image's environment is there already, this takes a second."""
    nothing = {"image_uri": TRAINING, "command": ["python", "-c", "import sklearn"]}
    pools = [{"machine_spec": {"machine_type": MACHINE}, "container_spec": nothing}]
    with step("set up: the Python of Google's scikit-learn image, which is made once"):
        job = aiplatform.CustomJob("set up", pools)
        job.submit()
        while job.state.name not in ENDED:
            time.sleep(0.3)


def train(bucket: str, data: list[Any]) -> aiplatform.Model:
    job = aiplatform.CustomTrainingJob(
        display_name="census",
        script_path=str(SCRIPT),
        container_uri=TRAINING,
        model_serving_container_image_uri=SERVING,
    )
    with step("ran it as a CustomTrainingJob, and registered its model"):
        model = job.run(
            args=data,
            base_output_dir=f"gs://{bucket}/first",
            model_display_name="census",
            machine_type=MACHINE,
        )
    assert model is not None
    say(f"The model's files: [dim]gs://{bucket}/first/model[/]\n")
    return model


def tune(bucket: str, data: list[Any]) -> aiplatform.HyperparameterTuningJob:
    """The same script with other parameters, which come as its arguments."""
    each = aiplatform.CustomJob.from_local_script(
        display_name="census-trial",
        script_path=str(SCRIPT),
        container_uri=TRAINING,
        args=data,
        machine_type=MACHINE,
        base_output_dir=f"gs://{bucket}/tuned",
    )
    space: dict[str, Any] = {
        "learning-rate": tuning.DoubleParameterSpec(min=0.02, max=0.5, scale="log"),
        "leaves": tuning.IntegerParameterSpec(min=7, max=127, scale="log"),
        "rounds": tuning.IntegerParameterSpec(min=20, max=100, scale="linear"),
    }
    job = aiplatform.HyperparameterTuningJob(
        display_name="census",
        custom_job=each,
        metric_spec={METRIC: "maximize"},
        parameter_spec=space,
        max_trial_count=TRIALS,
        parallel_trial_count=TRIALS,
    )
    with step(f"tuned it: {TRIALS} trials in parallel, as many at once as there are cores"):
        job.run()
    return job


def metric_of(trial: Any) -> float:
    return float(trial.final_measurement.metrics[0].value)


def compare(job: aiplatform.HyperparameterTuningJob) -> pd.DataFrame:
    """Each trial as a run of an experiment, and these as a table."""
    with step("logged the trials as runs of an experiment"):
        for trial in job.trials:
            with aiplatform.start_run(f"trial-{trial.id}"):
                aiplatform.log_params({one.parameter_id: one.value for one in trial.parameters})
                aiplatform.log_metrics({METRIC: metric_of(trial)})
        runs: pd.DataFrame = aiplatform.get_experiment_df()
    runs = runs.sort_values(f"metric.{METRIC}", ascending=False)
    shown = [name for name in runs.columns if name.startswith(("param.", "metric."))]
    console.print("  The runs, the best first, as aiplatform.get_experiment_df() has them:")
    table = telling.table("")
    table.add_column("run")
    for name in shown:
        table.add_column(name.partition(".")[2], justify="right")
    for _, run in runs.iterrows():
        table.add_row(run["run_name"], *(f"{run[name]:.4g}" for name in shown))
    console.print(table)
    return runs[["run_name", *shown]]


def best_of(job: aiplatform.HyperparameterTuningJob) -> tuple[Any, str]:
    """The best trial, and where its model is."""
    best = max(job.trials, key=metric_of)
    spec = job.to_dict()["trialJobSpec"]["baseOutputDirectory"]["outputUriPrefix"]
    return best, f"{spec.rstrip('/')}/{best.id}/model"


def serve(best: Any, place: str, people: pd.DataFrame) -> aiplatform.Model:
    with step(f"registered trial {best.id}'s model, the best, and deployed it to an endpoint"):
        model: aiplatform.Model = aiplatform.Model.upload(
            display_name="census-tuned", artifact_uri=place, serving_container_image_uri=SERVING
        )
        endpoint = model.deploy(machine_type=MACHINE)
    asked = people.groupby("income").head(2)
    names = ["age", "education_num", "capital_gain", "capital_loss", "hours_per_week", "workclass", "education",
             "marital_status", "occupation", "relationship", "race", "sex"]  # fmt: skip
    answers = endpoint.predict(telling.instances_of(asked, names)).predictions
    for person, answer, (_, row) in zip(asked["income"], answers, asked.iterrows(), strict=True):
        who = f"{row['age']} years, {row['occupation']}, {row['hours_per_week']} h a week"
        say(f"{who}: earned {person}; the model says {'>50K' if answer else '<=50K'}")
    console.print()
    return model


def trace(client: portico.Client, model: aiplatform.Model) -> list[str]:
    """`portico lineage` of the model that serves."""
    graph = around(client, model.resource_name)
    lines = list(tree(graph))
    console.print("Where it came from, and where it went (portico lineage):\n")
    for line in lines:
        console.print(f"  {escape(line)}", soft_wrap=True)
    console.print()
    return lines


def repeat(client: portico.Client, best: Any) -> dict[str, Any]:
    """`portico rerun` of the best trial's job."""
    name = best.custom_job
    with step(f"repeated trial {best.id}'s job from its pins (portico rerun)"):
        found = client.rerun(name)
        while found["state"] not in ("SUCCEEDED", "FAILED", "CANCELLED"):
            time.sleep(0.3)
            found = client.rerun_of(found["name"])
    say("The same generations of data and code, the same versions, parameters and seeds. By sha256:")
    for one in found.get("files", []):
        same = "the same" if one["first"] == one["again"] else "differs"
        say(f"{one['name']}  first {one['first'][:12]}  again {one['again'][:12]}  {same}")
    verdict = (
        "identical: the model's files are the same, byte for byte"
        if found.get("identical")
        else "not identical"
    )
    say(f"[bold]{verdict}[/]")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path.cwd())
    main(parser.parse_args().out)
