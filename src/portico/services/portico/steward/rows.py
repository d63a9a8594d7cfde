"""From joined predictions to the rows of evidence: outputs as numbers, of one model or of two on the same instances."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from portico.ml.arrays import Floats
from portico.ml.measure.fairness import groups_of
from portico.ml.measure.performance import HALF, Measured, intervals
from portico.services.call import Rooms
from portico.services.portico.joining import Outcome
from portico.services.portico.steward.evidence import Rows, moment_of, number_of, output_of, truth_of
from portico.services.registry import model_store
from portico.store import resources

_HELD = 4  # models in memory
_ASKED = 16  # versions whose answers stay in memory
_SHOWN = 200  # characters of an answer that is told


class Unasked(Exception):
    """What the `version` of a model answers to the instances `texts` (JSON, a line each) must first be asked
    (`Models.take`)."""

    def __init__(self, version: str, texts: list[str]) -> None:
        super().__init__(version)
        self.version, self.texts = version, texts


class Models:
    """The models of stewards, by version name ("…/models/M@2"). Those that Portico trained are loaded here, and the
    newest used stay loaded; of others only what they answered where they were asked is known."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._loaded: OrderedDict[str, Any] = OrderedDict()
        self._answers: OrderedDict[str, dict[int, Mapping[str, Any]]] = (
            OrderedDict()
        )  # by version and instance
        self._told: dict[str, dict[str, Any]] = {}

    def load(self, version: str) -> Any:
        """The `ml.model.Model` of a version.

        Raises:
            KeyError: the version is gone, or Portico did not train it.
        """
        found = self._loaded.pop(version, None)
        if found is None:
            from portico.ml.learn.model import Model

            artifact = self._artifact(version)
            if artifact is None:
                raise KeyError(f"{version} has no model that can be loaded here")
            found = Model.load(model_store.folder(self._rooms.home, artifact))
        self._loaded[version] = found
        while len(self._loaded) > _HELD:
            self._loaded.popitem(last=False)
        return found

    def _artifact(self, version: str) -> str | None:
        """What Portico has trained of a version; None where it is gone, or Portico did not train it."""
        with self._rooms.database.read() as connection:
            row = resources.get(connection, version)
        private = model_store.VersionPrivate.of(row) if row else None
        return private.artifact if private and private.format == "portico" else None

    def is_own(self, version: str) -> bool:
        """Whether Portico trained it."""
        return version in self._loaded or self._artifact(version) is not None

    def manifest(self, version: str) -> Any:
        return self.load(version).manifest

    def objective(self, version: str) -> str:
        """What a regression was optimised for."""
        return str(self.manifest(version).objective) if self.is_own(version) else "minimize-rmse"

    def take(
        self, version: str, texts: Sequence[str], answers: Sequence[Mapping[str, Any]], told: dict[str, Any]
    ) -> None:
        """What a version answered to the instances `texts`, {"prediction"} or {"error"} each; and what else is `told`
        of its service (`service`)."""
        held = self._answers.setdefault(version, {})
        self._answers.move_to_end(version)
        held |= {number_of(text): answer for text, answer in zip(texts, answers, strict=True)}
        self._told[version] = {**self._told.get(version, {}), **told}
        while len(self._answers) > _ASKED:
            gone, _ = self._answers.popitem(last=False)
            self._told.pop(gone, None)

    def service(self, version: str) -> dict[str, Any]:
        """`latencySeconds` and `bytes` of a version that was asked."""
        return self._told.get(version, {})

    def kinds(self, deployed: dict[str, Any]) -> dict[str, str]:
        """The features of a deployed model and their kinds; none where Portico did not train it."""
        version = f"{deployed['model']}@{deployed['modelVersionId']}"
        if version not in self._loaded and self._artifact(version) is None:
            return {}
        return dict(self.manifest(version).kinds)

    def classes(self, deployed: dict[str, Any]) -> list[str]:
        """The classes of a deployed model, also where its steward says them; none for a regression."""
        with self._rooms.database.read() as connection:
            row = resources.get(connection, f"{deployed['model']}@{deployed['modelVersionId']}")
        metadata = (row.body.get("metadata") or {}) if row else {}
        said = metadata.get("classes") or []
        return list(said if metadata.get("predictionType") else deployed.get("classes") or said)

    def labels(self, version: str, classes: Sequence[str]) -> list[str]:
        """The classes of a version; those that are expected, `classes`, where it does not say."""
        return list(self.load(version).labels) if self.is_own(version) else list(classes)

    def threshold(self, deployed: dict[str, Any]) -> float:
        """The score from which on a deployed model decides for the second of two classes."""
        return self.threshold_of(f"{deployed['model']}@{deployed['modelVersionId']}")

    def threshold_of(self, version: str) -> float:
        with self._rooms.database.read() as connection:
            row = resources.get(connection, version)
        found = (row.body.get("metadata") or {}).get("decisionThreshold") if row else None
        return HALF if found is None else float(found)

    def outputs(self, version: str, outcomes: Sequence[Outcome], classes: Sequence[str]) -> Floats:
        """Values (N,) or scores (N, K) of the outcomes' instances; NaN for what the model can't read, or does not
        answer so.

        Raises:
            Unasked: of a model that is not opened here.
        """
        if self.is_own(version):
            return self._computed(version, [row.instance for row in outcomes])
        made = np.full((len(outcomes), len(classes)) if classes else len(outcomes), np.nan)
        for position, answer in enumerate(self._asked(version, outcomes)):
            found = output_of(answer.get("prediction"), classes)
            if found is not None:
                made[position] = found
        return made

    def _asked(self, version: str, outcomes: Sequence[Outcome]) -> list[Mapping[str, Any]]:
        held = self._answers.get(version, {})
        texts = [orjson.dumps(row.instance).decode() for row in outcomes]
        numbers = [number_of(text) for text in texts]
        if missing := {n: text for n, text in zip(numbers, texts, strict=True) if n not in held}:
            raise Unasked(version, list(missing.values()))
        return [held[number] for number in numbers]

    def _computed(self, version: str, instances: Sequence[Any]) -> Floats:
        from portico.ml.errors import DataError

        model = self.load(version)
        good = list(range(len(instances)))
        answers: list[dict[str, Any]] = []
        while good:
            try:
                answers = model.predict_instances([instances[position] for position in good])
                break
            except DataError as error:
                del good[error.row or 0]
        width = len(model.labels)
        made = np.full((len(instances), width) if width else len(instances), np.nan)
        for position, answer in zip(good, answers, strict=True):
            made[position] = answer["scores"] if width else answer["value"]
        return made

    def misfit(
        self, champion: str, challenger: str, outcomes: Sequence[Outcome], classes: Sequence[str]
    ) -> str:
        """Why callers of the champion, who got the `outcomes`, could not call the challenger; empty where they can."""
        if not self.is_own(challenger):
            return self._otherwise(challenger, outcomes, classes)
        new = self.load(challenger)
        kind = "classification" if classes else "regression"
        if new.manifest.prediction_type != kind:
            return f"It is a {new.manifest.prediction_type}, the champion a {kind}."
        if list(new.labels) != list(classes):
            return f"Its classes are {', '.join(new.labels)}, the champion's {', '.join(classes)}."
        if not self.is_own(champion):
            output = self.outputs(challenger, outcomes, classes).reshape(len(outcomes), -1)
            bad = int(np.isnan(output).any(axis=1).sum())
            return f"It can't read {bad} of {len(outcomes)} instances." if bad else ""
        more = sorted(set(new.features) - set(self.load(champion).features))
        return f"It asks for features that the champion does not: {', '.join(more)}." if more else ""

    def _otherwise(self, challenger: str, outcomes: Sequence[Outcome], classes: Sequence[str]) -> str:
        """How a model that Portico did not train answers what was asked of the champion otherwise than with a number
        or the scores of the classes."""
        bad = [
            answer
            for answer in self._asked(challenger, outcomes)
            if output_of(answer.get("prediction"), classes) is None
        ]
        if not bad:
            return ""
        wanted = f"scores of the classes {', '.join(classes)}" if classes else "a number"
        said = bad[0].get("error") or json.dumps(bad[0].get("prediction"))
        return (
            f"To {len(bad)} of {len(outcomes)} instances that the champion has answered it does not answer with "
            f"{wanted}; the first answer is: {said[:_SHOWN]}"
        )


def rows_of(
    outcomes: Sequence[Outcome], classes: Sequence[str], grouped: Sequence[str] = (), threshold: float = HALF
) -> Rows:
    """What was answered, as the output of "champion"; rows without a readable answer or label are left out.

    `grouped` are the attributes ("sex,race") by which the rows get groups, `threshold` is what the model decides by.
    """
    rows = _made(
        outcomes,
        [truth_of(row.label.truth, classes) if row.label else np.nan for row in outcomes],
        {"champion": answered(outcomes, classes)},
        grouped,
    )
    rows.thresholds = {"champion": threshold}
    return rows


def beside(
    models: Models,
    outcomes: Sequence[Outcome],
    champion: str,
    challenger: str,
    served: str = "champion",
    grouped: Sequence[str] = (),
    *,
    classes: Sequence[str],
) -> Rows:
    """Both models' outputs: what was answered for `served`, what the other says of the same instances.

    Raises:
        Unasked: of a model that is not opened here.
    """
    other = "challenger" if served == "champion" else "champion"
    rows = _made(
        outcomes,
        [truth_of(row.label.truth, classes) if row.label else np.nan for row in outcomes],
        {
            served: answered(outcomes, classes),
            other: models.outputs(challenger if served == "champion" else champion, outcomes, classes),
        },
        grouped,
    )
    rows.thresholds = {
        "champion": models.threshold_of(champion),
        "challenger": models.threshold_of(challenger),
    }
    return rows


def those_of(outcomes: list[Outcome], rows: Rows) -> list[Outcome]:
    """The outcomes, of a label each, that have a row."""
    if rows.labels is None or len(rows) == len(outcomes):
        return outcomes
    kept = set(rows.labels.tolist())
    return [row for row in outcomes if row.label and number_of(row.label.name) in kept]


def answered(outcomes: Sequence[Outcome], classes: Sequence[str]) -> Floats:
    """What was answered: values (N,) or scores (N, K), NaN where it can't be read."""
    made = np.full((len(outcomes), len(classes)) if classes else len(outcomes), np.nan)
    for position, row in enumerate(outcomes):
        answer = output_of(row.output, classes)
        if answer is not None:
            made[position] = answer
    return made


def _made(
    outcomes: Sequence[Outcome], truth: Sequence[float], outputs: dict[str, Floats], grouped: Sequence[str]
) -> Rows:
    times, true = np.array([row.time for row in outcomes], float), np.array(truth, float)
    good = np.isfinite(true)
    for output in outputs.values():
        good &= np.isfinite(output).all(axis=1) if output.ndim == 2 else np.isfinite(output)
    kept = [row for row, keep in zip(outcomes, good, strict=True) if keep]
    instances = [row.instance for row in kept] if grouped else []
    groups = {
        names: groups_of({name: [_attribute(i, name) for i in instances] for name in names.split(",")})
        for names in grouped
    }
    rows = Rows(times[good], true[good], {name: output[good] for name, output in outputs.items()}, groups)
    rows.labels = np.array([number_of(row.label.name) for row in kept if row.label], np.int64)
    rows.instances = np.array([number_of(row.request) for row in kept], np.int64)
    return rows


def _attribute(instance: Any, name: str) -> Any:
    cell = instance.get(name) if isinstance(instance, dict) else None
    return cell if cell is None or isinstance(cell, str | int | float | bool) else str(cell)


def moment(row: Outcome, time_column: str) -> float | None:
    """When the instance was, by its time column, in seconds since the epoch; None where it does not say."""
    return moment_of(row.instance, time_column) if time_column else None


def simple_answers(
    classes: Sequence[str],
    objective: str,
    before: Sequence[Outcome],
    rows: Sequence[Outcome],
    time_column: str,
) -> dict[str, Floats]:
    """The trivial answers for `rows` from the labels `before` them, as outputs "baseline:NAME".

    The last value is that known as long before a row as labels usually take to arrive.
    """
    from portico.ml.measure.baseline_answers import classification_baselines, regression_baselines

    kept = [row for row in (*before, *rows) if row.label and np.isfinite(truth_of(row.label.truth, classes))]
    truth = np.array([truth_of(row.label.truth, classes) for row in kept if row.label])
    moments = [moment(row, time_column) for row in kept]
    times = None if any(m is None for m in moments) else np.array(moments, float)
    cut = len(kept) - len(rows)
    if cut < 2 or len(kept) < len(before) + len(rows):
        return {}
    old, new = (None, None) if times is None else (times[:cut], times[cut:])
    if classes:
        found = classification_baselines(
            truth[:cut].astype(np.int64),
            truth[cut:].astype(np.int64),
            len(classes),
            train_times=old,
            test_times=new,
        )
    else:
        delays = [row.label.arrived - row.time for row in kept if row.label]
        found = regression_baselines(
            truth[:cut], truth[cut:], objective=objective, train_times=old, test_times=new,
            horizon=max(float(np.median(delays)), 0.0),
        )  # fmt: skip
    return {f"baseline:{name}": output for name, output in found.items()}


def evaluation(rows: Rows, classes: Sequence[str], own: Measured) -> dict[str, Any]:
    """The challenger's evaluation on the gates' rows, in the shape of Google's schemas; `own` is the gates' metric."""
    from portico.ml.measure.evaluate import (
        CLASSIFICATION_SCHEMA,
        REGRESSION_SCHEMA,
        evaluate_classification,
        evaluate_regression,
    )

    output = rows.outputs["challenger"]
    if classes:
        schema = CLASSIFICATION_SCHEMA
        found = evaluate_classification(rows.truth.astype(np.int64), output, list(classes))
    else:
        schema = REGRESSION_SCHEMA
        found = evaluate_regression(rows.truth, output)
    return {
        "displayName": f"The gates' {len(rows):,} newest labelled predictions",
        "metricsSchemaUri": schema,
        "metrics": {**found, own.metric: own.value},
        "metadata": {
            "testRows": len(rows),
            "interval": own.to_json(),
            "intervals": intervals(rows.truth, output, rows.times),
        },
    }
