"""What a model monitor and its jobs are told to do: the checks, and how a job's spec is made of the monitor's.

Objectives go by Google's words: raw-feature-drift, prediction-output-drift, feature-attribution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.errors import FailedPrecondition, InvalidArgument, Unimplemented
from portico.services.aiplatform.monitoring.inputs import check_input
from portico.services.aiplatform.thresholds import check_threshold
from portico.services.registry import model_store
from portico.store.resources import Resource

FEATURES: Final = "raw-feature-drift"
OUTPUTS: Final = "prediction-output-drift"
ATTRIBUTIONS: Final = "feature-attribution"
OBJECTIVES: Final = {
    FEATURES: "featureDriftSpec",
    OUTPUTS: "predictionOutputDriftSpec",
    ATTRIBUTIONS: "featureAttributionSpec",
}
JENSEN_SHANNON: Final = "jensen_shannon_divergence"
L_INFINITY: Final = "l_infinity"
DEFAULT_THRESHOLD: Final = 0.3  # Vertex AI's
ABSOLUTE_DIFFERENCE: Final = "absolute_difference"  # ours: how far a feature's share of all attribution moved

_NUMERIC = ("float", "integer")
_TYPES = (*_NUMERIC, "boolean", "string", "categorical")


@dataclass(frozen=True, slots=True)
class Field:
    """A feature or an output: how its values are counted, and whether a cell holds a list of them."""

    name: str
    kind: str  # "numeric" or "categorical"
    repeated: bool = False


def fields_of(schema: Mapping[str, Any], part: str) -> list[Field]:
    """The fields of `part` ("featureFields", "predictionFields", "groundTruthFields") of a monitoring schema."""
    return [
        Field(
            field["name"],
            "numeric" if field["dataType"] in _NUMERIC else "categorical",
            bool(field.get("repeated")),
        )
        for field in schema.get(part) or []
    ]


def schema_of(version: Resource) -> dict[str, Any]:
    """The monitoring schema of a model that Portico trained; empty for others. Times always move: they are left out."""
    metadata = version.body.get("metadata") or {}
    if model_store.VersionPrivate.of(version).format != "portico":
        return {}
    target, kinds = metadata["targetColumn"], metadata["columns"]
    types = {"numeric": "float"} | dict.fromkeys(("categorical", "high_cardinality", "text"), "categorical")
    answer = "float" if metadata["predictionType"] == "regression" else "categorical"
    return {
        "featureFields": [
            {"name": name, "dataType": types[kind]}
            for name, kind in kinds.items()
            if name != target and kind in types
        ],
        "predictionFields": [{"name": f"predicted_{target}", "dataType": answer}],
        "groundTruthFields": [{"name": target, "dataType": answer}],
    }


def check_schema(schema: Mapping[str, Any], field: str = "modelMonitoringSchema") -> None:
    """
    Raises:
        InvalidArgument: naming the field.
    """
    if not schema.get("featureFields"):
        raise InvalidArgument(
            f"{field}.featureFields is missing: the names and types of the model's features. It can only be left out "
            "for models that Portico trained.",
            field=f"{field}.featureFields",
        )
    seen: set[str] = set()
    for part in ("featureFields", "predictionFields", "groundTruthFields"):
        for position, one in enumerate(schema.get(part) or []):
            where = f"{field}.{part}[{position}]"
            name, kind = one.get("name", ""), one.get("dataType", "")
            if not name or name in seen:
                raise InvalidArgument(
                    f"The name {name!r} is given twice." if name else "A field has no name.",
                    field=f"{where}.name",
                )
            seen.add(name)
            if kind not in _TYPES:
                raise InvalidArgument(
                    f"The dataType of {name!r} is {kind!r}; it is one of {', '.join(_TYPES)}.",
                    field=f"{where}.dataType",
                )


# --- objectives ---


def explanation_of(told: Mapping[str, Any], version: Resource) -> Mapping[str, Any]:
    """How rows are explained: by the `explanationSpec` of a monitor or an objective, else by the model's own."""
    found: Mapping[str, Any] = told.get("explanationSpec") or version.body.get("explanationSpec") or {}
    return found


def check_objectives(
    told: Mapping[str, Any],
    schema: Mapping[str, Any],
    version: Resource,
    explanation: Mapping[str, Any],
    field: str = "tabularObjective",
) -> None:
    """`explanation` is an ExplanationSpec.

    Raises:
        InvalidArgument: naming the field. FailedPrecondition: attributions without an explanation spec.
        Unimplemented: attributions of a model that is served in the front.
    """
    features = [one.name for one in fields_of(schema, "featureFields")]
    outputs = [one.name for one in fields_of(schema, "predictionFields")]
    for objective, key in OBJECTIVES.items():
        spec = told.get(key)
        if spec is None:
            continue
        where = f"{field}.{key}"
        names = outputs if objective == OUTPUTS else features
        if not names:
            raise InvalidArgument(
                "The monitoring schema has no predictionFields, whose drift could be found; add them.",
                field=where,
            )
        _check_names(spec.get("features") or [], names, f"{where}.features")
        _check_names(
            spec.get("featureAlertConditions") or {}, features + outputs, f"{where}.featureAlertConditions"
        )
        _check_thresholds(spec, where)
        format = model_store.VersionPrivate.of(version).format
        if objective == ATTRIBUTIONS and format not in ("portico", "replica"):
            raise Unimplemented(
                f"Monitoring attributions of {version.name} is not built in Portico for models of the format "
                f"{format or 'unknown'}. Leave {where} out."
            )
        if objective == ATTRIBUTIONS and format == "replica":
            _check_explanation(explanation, version)
        for metric, allowed in (("categoricalMetricType", (L_INFINITY, JENSEN_SHANNON)),
                                ("numericMetricType", (JENSEN_SHANNON,))):  # fmt: skip
            if spec.get(metric) and spec[metric] not in allowed:
                raise InvalidArgument(
                    f"{metric} is {spec[metric]!r}; it is {' or '.join(allowed)}.", field=f"{where}.{metric}"
                )


def _check_explanation(explanation: Mapping[str, Any], version: Resource) -> None:
    from portico.prediction.replicas.shapley import Sampling

    if not explanation:
        raise FailedPrecondition(
            f"The attributions of {version.name} need an explanation spec: give an explanationSpec with metadata and "
            "parameters."
        )
    Sampling.from_spec(explanation)


def _check_names(given: Any, known: list[str], field: str) -> None:
    for name in given:
        if name not in known:
            raise InvalidArgument(
                f"{name!r} is not in the monitoring schema, which has {', '.join(known[:30])}.", field=field
            )


def _check_thresholds(spec: Mapping[str, Any], field: str) -> None:
    conditions = {key: spec[key] for key in spec if key.startswith("default")}
    conditions |= {
        f"featureAlertConditions.{k}": v for k, v in (spec.get("featureAlertConditions") or {}).items()
    }
    for key, condition in conditions.items():
        check_threshold(condition, "threshold", f"{field}.{key}")


def watched(told: Mapping[str, Any], schema: Mapping[str, Any], objective: str) -> list[Field]:
    """The fields that an objective watches: those it names, else all of the schema."""
    part = "predictionFields" if objective == OUTPUTS else "featureFields"
    names = told[OBJECTIVES[objective]].get("features")
    return [field for field in fields_of(schema, part) if not names or field.name in names]


def threshold_of(spec: Mapping[str, Any], field: Field) -> float:
    """The distance above which a field of an objective is an anomaly: its own, the kind's default, else Vertex AI's."""
    default = f"default{field.kind.capitalize()}AlertCondition"
    own = (spec.get("featureAlertConditions") or {}).get(field.name)
    condition = own or spec.get(default) or spec.get("defaultAlertCondition")
    return DEFAULT_THRESHOLD if condition is None else float(condition.get("threshold", 0.0))


def algorithm_of(spec: Mapping[str, Any], field: Field) -> str:
    """By which distance a field of a drift objective is compared."""
    if field.kind == "numeric":
        return JENSEN_SHANNON
    return str(spec.get("categoricalMetricType") or L_INFINITY)


# --- the rest ---


def check_output(told: Mapping[str, Any], field: str = "outputSpec") -> None:
    prefix = (told.get("gcsBaseDirectory") or {}).get("outputUriPrefix", "")
    if told.get("gcsBaseDirectory") and not prefix.startswith("gs://"):
        raise InvalidArgument(
            "outputUriPrefix must be a gs:// name.", field=f"{field}.gcsBaseDirectory.outputUriPrefix"
        )


def check_notification(told: Mapping[str, Any], field: str = "notificationSpec") -> None:
    for address in (told.get("emailConfig") or {}).get("userEmails") or []:
        name, at, host = address.rpartition("@")
        if not (name and at and host) or any(c.isspace() for c in address):
            raise InvalidArgument(f"{address!r} is no mail address.", field=f"{field}.emailConfig.userEmails")


def target_version(connection: Connection, monitor: Mapping[str, Any]) -> Resource:
    """The model version that a monitor watches.

    Raises:
        NotFound: it is gone.
    """
    target = monitor["modelMonitoringTarget"]["vertexModel"]
    wanted = target.get("modelVersionId")
    return model_store.version_row(connection, target["model"] + (f"@{wanted}" if wanted else ""))


def spec_of(connection: Connection, monitor: Resource, told: Mapping[str, Any], field: str) -> dict[str, Any]:
    """The spec of a job, checked: what `told` (a ModelMonitoringSpec) leaves open is taken from its monitor.

    Raises:
        InvalidArgument: naming the field. NotFound, Unimplemented
    """
    own, default = told.get("objectiveSpec") or {}, monitor.body
    where, parent = f"{field}.objectiveSpec", monitor.parent
    objective: dict[str, Any] = {
        "tabularObjective": own.get("tabularObjective") or default.get("tabularObjective"),
        "explanationSpec": own.get("explanationSpec") or default.get("explanationSpec"),
        "baselineDataset": own.get("baselineDataset") or default.get("trainingDataset"),
        "targetDataset": own.get("targetDataset"),
    }
    if not objective["targetDataset"]:
        raise InvalidArgument(
            "targetDataset is missing: the data to look at.", field=f"{where}.targetDataset"
        )
    if not objective["baselineDataset"]:
        raise InvalidArgument(
            f"There is nothing to compare with: give a baselineDataset, or {monitor.name} a trainingDataset.",
            field=f"{where}.baselineDataset",
        )
    if not objective["tabularObjective"]:
        raise InvalidArgument(
            f"There is no objective: give a tabularObjective here, or one to {monitor.name}.",
            field=f"{where}.tabularObjective",
        )
    version = target_version(connection, monitor.body)
    check_objectives(
        objective["tabularObjective"],
        default["modelMonitoringSchema"],
        version,
        explanation_of(objective, version),
        f"{where}.tabularObjective",
    )
    for key in ("baselineDataset", "targetDataset"):
        check_input(connection, objective[key], parent, f"{where}.{key}")
    made = {
        "objectiveSpec": {key: value for key, value in objective.items() if value},
        "notificationSpec": told.get("notificationSpec") or default.get("notificationSpec") or {},
        "outputSpec": told.get("outputSpec") or default.get("outputSpec") or {},
    }
    check_output(made["outputSpec"], f"{field}.outputSpec")
    if directory := made["outputSpec"].get("gcsBaseDirectory"):  # clients go on with "/…" from here
        made["outputSpec"] = {
            "gcsBaseDirectory": {"outputUriPrefix": directory["outputUriPrefix"].rstrip("/")}
        }
    check_notification(made["notificationSpec"], f"{field}.notificationSpec")
    return {key: value for key, value in made.items() if value}
