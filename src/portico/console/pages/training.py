"""Training and tuning: what ran and runs, its log as it comes, trials beside each other; and what a batch job did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from portico.console import charts, words
from portico.console.charts import Chart
from portico.console.looking import PAGE, Looking, address, page
from portico.console.pages.models import containing
from portico.errors import InvalidArgument

_PLACE = "/projects/{project}/locations/{location}"
KINDS = {
    "trainingPipelines": "Trainings",
    "customJobs": "Custom jobs",
    "hyperparameterTuningJobs": "Tuning",
    "batchPredictionJobs": "Batch predictions",
}
_MASK = "name,displayName,state,createTime,startTime,endTime,error,labels"
_LAST = 400  # lines of a log
_MOST_LOG = 16  # pieces of a log that are read to find its end


@page(f"{_PLACE}/training")
def training(looking: Looking) -> Response:
    kind = looking.query.get("kind") if looking.query.get("kind") in KINDS else "trainingPipelines"
    found, more = looking.page_of(
        f"/v1/{looking.parent}/{kind}", str(kind), filter=containing(looking), readMask=_MASK
    )
    busy = any(words.plain_state(one.get("state", "")) not in words.ENDED for one in found)
    return looking.show(
        "training.html",
        "Training and tuning",
        runs=found,
        more=more,
        kind=kind,
        kinds=KINDS,
        busy=busy,
        per_page=PAGE,
    )


def read_log(looking: Looking, resource: str) -> tuple[dict[str, Any], str]:
    """The newest durable job that worked on a resource, and the last lines of its log."""
    jobs = looking.api.listed("jobs", "jobs", resource=resource)
    jobs = [one for one in jobs if one.get("resource") == resource]
    if not jobs:
        return {}, ""
    return log_of(looking, jobs[0])


def log_of(looking: Looking, job: dict[str, Any]) -> tuple[dict[str, Any], str]:
    offset, text = "0", ""
    for _ in range(_MOST_LOG):
        found = looking.api.call("GET", f"{job['name']}:readLog", offset=offset)
        text, offset, job = text + found.get("text", ""), found["nextOffset"], found["job"]
        if found.get("atEnd") or not found.get("text"):
            break
    lines = text.splitlines()
    if len(lines) > _LAST:
        lines = [f"… {len(lines) - _LAST:,} lines before", *lines[-_LAST:]]
    return job, "\n".join(lines)


def _run(looking: Looking, collection: str, template: str, **facts: Any) -> Response:
    name, shown = looking.read(collection)
    job, text = read_log(looking, name)
    state = words.plain_state(shown.get("state", ""))
    return looking.show(
        template,
        words.title(shown),
        run=shown,
        name=name,
        job=job,
        log=text,
        state=state,
        live=state not in words.ENDED,
        kind=collection,
        kinds=KINDS,
        section="training",
        **{key: make(shown) for key, make in facts.items()},
    )


@page(f"{_PLACE}/trainingPipelines/{{id}}")
def training_pipeline(looking: Looking) -> Response:
    def dataset(shown: Mapping[str, Any]) -> dict[str, Any]:
        number = (shown.get("inputDataConfig") or {}).get("datasetId")
        return looking.api.maybe(f"/v1/{looking.parent}/datasets/{number}") if number else {}

    return _run(looking, "trainingPipelines", "run.html", dataset=dataset, told=_told)


def _told(shown: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What a training says of itself, in words."""
    metadata, inputs = shown.get("trainingTaskMetadata") or {}, shown.get("trainingTaskInputs") or {}
    rows = metadata.get("rows") or {}
    return [
        ("Target", inputs.get("targetColumn")),
        ("Predicts", inputs.get("predictionType")),
        ("Aims to", inputs.get("optimizationObjective")),
        ("Rows", ", ".join(f"{count:,} {part}" for part, count in rows.items() if part != "withoutTarget")),
        (
            "Budget",
            f"{inputs['trainBudgetMilliNodeHours']} milli node hours"
            if inputs.get("trainBudgetMilliNodeHours")
            else "",
        ),
        ("Seed", metadata.get("seed")),
    ]


@page(f"{_PLACE}/customJobs/{{id}}")
def custom_job(looking: Looking) -> Response:
    def told(shown: Mapping[str, Any]) -> list[tuple[str, Any]]:
        pools = [p for p in (shown.get("jobSpec") or {}).get("workerPoolSpecs") or [] if p]
        program = next((p.get("pythonPackageSpec") or p.get("containerSpec") or {} for p in pools), {})
        return [
            ("Image", program.get("imageUri") or program.get("executorImageUri")),
            ("Module", program.get("pythonModule")),
            ("Arguments", " ".join(program.get("args") or [])),
            ("Replicas", sum(int(p.get("replicaCount", 1)) for p in pools)),
            (
                "Writes to",
                ((shown.get("jobSpec") or {}).get("baseOutputDirectory") or {}).get("outputUriPrefix"),
            ),
        ]

    return _run(looking, "customJobs", "run.html", told=told)


@page(f"{_PLACE}/batchPredictionJobs/{{id}}")
def batch_job(looking: Looking) -> Response:
    def told(shown: Mapping[str, Any]) -> list[tuple[str, Any]]:
        stats = shown.get("completionStats") or {}
        where = (shown.get("outputInfo") or {}).get("gcsOutputDirectory") or (
            shown.get("outputInfo") or {}
        ).get("bigqueryOutputTable")
        return [
            ("Predicted", f"{int(stats['successfulCount']):,} rows" if stats.get("successfulCount") else ""),
            ("Could not", f"{int(stats['failedCount']):,} rows" if stats.get("failedCount") else ""),
            ("Wrote to", where),
        ]

    return _run(looking, "batchPredictionJobs", "run.html", told=told)


@page(f"{_PLACE}/hyperparameterTuningJobs/{{id}}")
def tuning_job(looking: Looking) -> Response:
    return _run(looking, "hyperparameterTuningJobs", "tuning.html", trials=_trials, told=_study)


def _study(shown: Mapping[str, Any]) -> list[tuple[str, Any]]:
    spec = shown.get("studySpec") or {}
    aims = ", ".join(f"{m.get('goal', '').lower()} {m['metricId']}" for m in spec.get("metrics") or [])
    trials = shown.get("trials") or []
    done = sum(t.get("state") in ("SUCCEEDED", "INFEASIBLE") for t in trials)
    algorithm = (
        spec.get("algorithm", "")
        .removesuffix("_UNSPECIFIED")
        .replace("ALGORITHM", "")
        .replace("_", " ")
        .lower()
    )
    return [
        ("Aims to", aims),
        ("Trials", f"{done} of {shown.get('maxTrialCount', len(trials))} done"),
        ("At a time", shown.get("parallelTrialCount")),
        ("Searches by", algorithm or "Bayesian optimisation"),
    ]


def _trials(shown: Mapping[str, Any]) -> dict[str, Any]:
    """The trials as rows, and drawn: as parallel coordinates, and what was measured trial after trial."""
    spec = shown.get("studySpec") or {}
    metrics = spec.get("metrics") or [{}]
    goal, objective = metrics[0].get("goal", "MAXIMIZE"), metrics[0].get("metricId", "metric")
    names = [p["parameterId"] for p in spec.get("parameters") or []]
    rows: list[dict[str, Any]] = []
    for trial in shown.get("trials") or []:
        measured = {
            m["metricId"]: m.get("value") for m in (trial.get("finalMeasurement") or {}).get("metrics") or []
        }
        row = {p["parameterId"]: p.get("value") for p in trial.get("parameters") or []}
        rows.append({"id": trial["id"], "trial": trial, **row, objective: measured.get(objective)})
    known = [r for r in rows if isinstance(r[objective], int | float)]
    best = (max if goal == "MAXIMIZE" else min)(known, key=lambda r: r[objective], default=None)
    for row in rows:
        row["best"] = row is best
    drawn: list[Chart | None] = []
    if known:
        drawn.append(charts.parallel("Trials", known, names, objective))
        so_far, values = [], []
        for row in sorted(known, key=lambda r: int(r["id"])):
            values.append(row[objective])
            so_far.append((max if goal == "MAXIMIZE" else min)(values))
        at = [str(r["id"]) for r in sorted(known, key=lambda r: int(r["id"]))]
        drawn.append(
            charts.Lines(
                "What was measured, trial after trial",
                words.metric(objective),
                {"trial": (at, values), "best so far": (at, so_far)},
                x="trial",
            ).chart()
        )
    return {
        "rows": rows,
        "names": names,
        "objective": objective,
        "charts": [one for one in drawn if one],
        "best": best,
    }


@page(f"{_PLACE}/{{kind}}/{{id}}/cancel", "POST")
def cancel(looking: Looking) -> Response:
    kind = looking.part("kind")
    if kind not in (*KINDS, "pipelineJobs"):
        raise InvalidArgument(f"Nothing of the kind {kind} can be cancelled here.")
    name = looking.name(kind)
    looking.api.call("POST", f"/v1/{name}:cancel", {})
    return looking.go(address(name))


@page(f"{_PLACE}/{{kind}}/{{id}}/repeat", "POST")
def repeat(looking: Looking) -> Response:
    """Repeats a training from its pins."""
    kind = looking.part("kind")
    if kind not in ("trainingPipelines", "customJobs"):
        raise InvalidArgument(f"Nothing of the kind {kind} can be repeated here.")
    made = looking.api.call("POST", f"{looking.name(kind)}:rerun", {})
    return looking.go(address(made["name"]))
