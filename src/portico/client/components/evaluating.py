"""Components that say how good a model is, for whom, and whether it may go on."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output

from portico.client.components import image


@dsl.component(base_image=image.PYTHON, packages_to_install=image.LEARNING)
def evaluate_model(
    data: Input[Dataset],
    model: Input[Model],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    classification: Output[ClassificationMetrics],
    report: Output[Markdown],
    positive: str = "",
    slices: list = [],  # noqa: B006
    threshold: float = 0.5,
    least_rows: int = 50,
    latency_rows: int = 100,
    seed: int = 0,
):
    """Measures a model of `train_model` on rows it has not seen: with intervals, beside the answer that looks at
    nothing (the most frequent class, the mean: of these very rows, which flatters it), and for every value of the
    columns `slices` that has at least `least_rows` rows.

    `evaluation` is JSON: {"rows", "metrics": {NAME: {"value", "low", "high"}}, "baseline": {NAME: value}, "slices":
    {COLUMN: {VALUE: {"rows", "metrics"}}}, "fairness": {COLUMN: {"demographicParityDifference",
    "equalOpportunityDifference"}}, "latencyMilliseconds": {"median", "p95"}}. Fairness is the largest difference
    between two values of a column in the share that is called positive, and in the share of the positive ones that is.
    The latency is that of one row's prediction alone, where this runs, over `latency_rows`.
    """
    import json
    import os
    import time

    import joblib
    import numpy as np
    import pandas as pd
    from sklearn import metrics as sk

    frame = pd.read_parquet(data.path) if data.path.endswith(".parquet") else pd.read_csv(data.path)
    told = model.metadata
    if lacking := [name for name in ("target", "features") if name not in told]:
        raise ValueError(f"The model's metadata lacks {' and '.join(lacking)}, as train_model writes them.")
    needed = [told["target"], *told["features"], *slices]
    if lacking := [name for name in needed if name not in frame]:
        raise ValueError(f"The data has no column {', '.join(lacking)}; it has {', '.join(frame.columns)}.")
    frame = frame.dropna(subset=[told["target"]]).reset_index(drop=True)
    if frame.empty:
        raise ValueError(f"The data has no row with a {told['target']}: there is nothing to measure by.")
    fitted = joblib.load(os.path.join(model.path, "model.joblib"))
    x = frame[told["features"]].to_numpy(dtype=object)
    classes = [str(one) for one in getattr(fitted, "classes_", [])]
    binary = len(classes) == 2
    if positive and positive not in classes:
        raise ValueError(f"The positive class {positive!r} is none of the model's: {', '.join(classes)}.")
    chosen = classes.index(positive) if positive else len(classes) - 1

    if classes:
        labels = frame[told["target"]]
        if pd.api.types.is_numeric_dtype(labels) and (labels == labels.round()).all():
            labels = labels.astype("int64")  # as train_model calls them
        y = labels.astype(str).to_numpy()
        if unknown := sorted(set(y) - set(classes)):
            raise ValueError(
                f"The model does not know {', '.join(unknown)}; its classes: {', '.join(classes)}."
            )
        scores = fitted.predict_proba(x)
        if binary:
            called = np.where(scores[:, chosen] >= threshold, classes[chosen], classes[1 - chosen])
        else:
            called = np.array(classes)[scores.argmax(1)]
    else:
        y = frame[told["target"]].to_numpy(dtype=float)
        scores = called = fitted.predict(x)

    def measured(rows, scores, called):
        truth = y[rows]
        if not classes:
            found = {
                "rootMeanSquaredError": sk.root_mean_squared_error(truth, scores),
                "meanAbsoluteError": sk.mean_absolute_error(truth, scores),
            }
            return found | ({"rSquared": sk.r2_score(truth, scores)} if len(truth) > 1 else {})
        found = {
            "accuracy": sk.accuracy_score(truth, called),
            "logLoss": sk.log_loss(truth, scores, labels=classes),
            "f1Score": sk.f1_score(truth, called, labels=classes, average="macro", zero_division=0),
        }
        if binary:
            is_positive = truth == classes[chosen]
            found["f1Score"] = sk.f1_score(is_positive, called == classes[chosen], zero_division=0)
            if 0 < is_positive.sum() < len(truth):
                found["auRoc"] = sk.roc_auc_score(is_positive, scores[:, chosen])
                found["auPrc"] = sk.average_precision_score(is_positive, scores[:, chosen])
        return found

    def at(rows):
        return measured(rows, scores[rows], called[rows])

    took = []
    ask = fitted.predict_proba if classes else fitted.predict
    for at_row in range(min(latency_rows, len(x))):
        begun = time.perf_counter()
        ask(x[at_row : at_row + 1])
        took.append((time.perf_counter() - begun) * 1000)

    draw = np.random.default_rng(seed)
    every = np.arange(len(frame))
    samples = [at(draw.choice(every, len(every))) for _ in range(200)]
    whole = {}
    for name, value in at(every).items():
        low, high = np.quantile([one[name] for one in samples if name in one], [0.025, 0.975])
        whole[name] = {"value": float(value), "low": float(low), "high": float(high)}

    if classes:
        shares = np.array([(y == one).mean() for one in classes])
        flat = measured(every, np.tile(shares, (len(y), 1)), np.full(len(y), classes[shares.argmax()]))
    else:
        flat = measured(every, np.full(len(y), y.mean()), None)

    parts, fairness = {}, {}
    for column in slices:
        rows_of = {str(value): rows.to_numpy() for value, rows in frame.groupby(column).groups.items()}
        large = {value: rows for value, rows in rows_of.items() if len(rows) >= least_rows}
        parts[column] = {
            value: {"rows": len(rows), "metrics": {k: float(v) for k, v in at(rows).items()}}
            for value, rows in large.items()
        }
        if binary and len(large) > 1:
            is_called = called == classes[chosen]
            is_positive = y == classes[chosen]
            rates = [is_called[rows].mean() for rows in large.values()]
            hits = [
                is_called[rows][is_positive[rows]].mean()
                for rows in large.values()
                if is_positive[rows].any()
            ]
            fairness[column] = {
                "demographicParityDifference": float(max(rates) - min(rates)),
                "equalOpportunityDifference": float(max(hits) - min(hits)) if hits else 0.0,
            }

    found = {
        "rows": len(frame), "metrics": whole, "baseline": {k: float(v) for k, v in flat.items()},
        "slices": parts, "fairness": fairness,
    }  # fmt: skip
    if took:
        median, p95 = np.quantile(took, [0.5, 0.95])
        found["latencyMilliseconds"] = {"median": float(median), "p95": float(p95)}
    with open(evaluation.path, "w") as file:
        json.dump(found, file, indent=1)
    for name, one in whole.items():
        metrics.log_metric(name, one["value"])
    if "auRoc" in whole:
        false, true, limits = sk.roc_curve(y == classes[chosen], scores[:, chosen])
        keep = np.unique(np.linspace(0, len(false) - 1, 100).astype(int))
        limits = np.minimum(limits, 1.0)  # the first is above every score
        classification.log_roc_curve(false[keep].tolist(), true[keep].tolist(), limits[keep].tolist())
    if classes:
        matrix = sk.confusion_matrix(y, called, labels=classes)
        classification.log_confusion_matrix(classes, matrix.tolist())

    lines = [
        f"{len(frame)} rows.",
        "",
        "| measure | value | 95% interval | the simple answer |",
        "|---|---|---|---|",
    ]
    for name, one in whole.items():
        lines.append(
            f"| {name} | {one['value']:.4f} | {one['low']:.4f} to {one['high']:.4f} | {flat[name]:.4f} |"
        )
    for column, values in parts.items():
        name = "auRoc" if binary else next(iter(whole))
        lines += ["", f"| {column} | rows | {name} |", "|---|---|---|"]
        for value, one in sorted(values.items(), key=lambda item: -item[1]["rows"]):
            shown = one["metrics"].get(name)
            lines.append(f"| {value} | {one['rows']} | {'' if shown is None else format(shown, '.4f')} |")
    with open(report.path, "w") as file:
        file.write("\n".join(lines) + "\n")


@dsl.component(base_image=image.PYTHON)
def gate_model(
    evaluation: Input[Artifact],
    report: Output[Markdown],
    champion: Input[Artifact] = None,
    metric: str = "auRoc",
    least: dict = {},  # noqa: B006
    most: dict = {},  # noqa: B006
    most_unfair: float = 1.0,
    weakest_slice: float = 0.0,
    must_beat_baseline: bool = True,
) -> NamedTuple("Gate", [("passed", bool), ("reasons", list)]):  # type: ignore[valid-type]
    """Whether a model may go on, by its `evaluation`.

    least, most: bounds of measures: {"auRoc": 0.7}, {"logLoss": 0.5}; compared with the nearer end of the interval, so
        that luck does not pass.
    champion: the evaluation, on the same rows, of the model that is deployed: `metric` must be at least as good.
    most_unfair: of the differences that the evaluation's fairness has.
    weakest_slice: `metric` of every slice must reach it, or stay below it where lower is better.
    must_beat_baseline: the interval of `metric` must lie on the better side of the simple answer's.
    """
    import json
    from collections import namedtuple

    with open(evaluation.path) as file:
        found = json.load(file)
    lower_is_better = metric in ("logLoss", "rootMeanSquaredError", "meanAbsoluteError")
    reasons = []
    for name in [*least, *most, metric]:
        if name not in found["metrics"]:
            raise ValueError(f"The evaluation has no {name}; it has {', '.join(found['metrics'])}.")
    for name, bound in least.items():
        if found["metrics"][name]["low"] < bound:
            reasons.append(f"{name} may be as low as {found['metrics'][name]['low']:.4f}, below {bound:g}")
    for name, bound in most.items():
        if found["metrics"][name]["high"] > bound:
            reasons.append(f"{name} may be as high as {found['metrics'][name]['high']:.4f}, above {bound:g}")
    own = found["metrics"][metric]
    if must_beat_baseline and metric in found["baseline"]:
        simple = found["baseline"][metric]
        if own["high"] >= simple if lower_is_better else own["low"] <= simple:
            reasons.append(f"{metric} is not better than the simple answer's {simple:.4f} for sure")
    if champion is not None:
        with open(champion.path) as file:
            theirs = json.load(file)["metrics"]
        if metric not in theirs:
            raise ValueError(f"The deployed model's evaluation has no {metric}; it has {', '.join(theirs)}.")
        before = theirs[metric]["value"]
        if own["value"] > before if lower_is_better else own["value"] < before:
            reasons.append(f"{metric} is {own['value']:.4f}; the deployed model's is {before:.4f}")
    for column, one in found["fairness"].items():
        for name, value in one.items():
            if value > most_unfair:
                reasons.append(f"{name} between values of {column} is {value:.3f}, above {most_unfair:g}")
    for column, values in found["slices"].items():
        for value, one in values.items():
            shown = one["metrics"].get(metric)
            if not weakest_slice or shown is None:
                continue
            if shown > weakest_slice if lower_is_better else shown < weakest_slice:
                side = "above" if lower_is_better else "below"
                reasons.append(f"{metric} where {column} is {value} is {shown:.4f}, {side} {weakest_slice:g}")
    with open(report.path, "w") as file:
        file.write("The model passes.\n" if not reasons else "\n".join(f"- {one}" for one in reasons) + "\n")
    return namedtuple("Gate", "passed reasons")(not reasons, reasons)
