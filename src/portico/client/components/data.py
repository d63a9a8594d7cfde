"""Components that look at data before anything learns from it."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Markdown, Output

from portico.client.components import image


@dsl.component(base_image=image.PYTHON, packages_to_install=image.LEARNING)
def validate_data(
    data: Input[Dataset],
    statistics: Output[Artifact],
    report: Output[Markdown],
    schema: dict = {},  # noqa: B006 (kfp takes a default as a value)
    reference: Input[Artifact] = None,
    most_drift: float = 0.1,
    must_be_valid: bool = True,
) -> NamedTuple("Validation", [("valid", bool), ("anomalies", list)]):  # type: ignore[valid-type]
    """Compares a table with a schema and with the statistics of an earlier one.

    schema: {"rows": {"least": 100}, "columns": {NAME: {"type": "number" or "text", "least": 0, "most": 10, "values":
        ["a", "b"], "missing": 0.1}}}; every part may be left out. A column that it names has to be there.
    reference: the `statistics` of an earlier run. A column has drifted where its distance is above `most_drift`: of
        numbers the Jensen-Shannon divergence (base 2) over the reference's ten bins of equal counts, each bound of
        which is a bin of its own for the values that many rows share; of texts the largest difference of one value's
        share, as TensorFlow Data Validation measures them. A column that it has must be there still, of the same type.

    Fails where something is wrong, unless `must_be_valid` is False.
    """
    import json
    from collections import namedtuple

    import numpy as np
    import pandas as pd

    frame = pd.read_parquet(data.path) if data.path.endswith(".parquet") else pd.read_csv(data.path)
    anomalies = []
    least = (schema.get("rows") or {}).get("least", 1)
    if len(frame) < least:
        anomalies.append(f"the table has {len(frame)} rows, at least {least} are needed")

    earlier = {}
    if reference is not None:
        with open(reference.path) as file:
            earlier = json.load(file)["columns"]

    found = {}
    for name in frame.columns:
        column = frame[name]
        there = column.dropna()
        kind = "number" if pd.api.types.is_numeric_dtype(column) else "text"
        one = {"type": kind, "missing": float(column.isna().mean()) if len(column) else 0.0}
        if kind == "number" and len(there):
            numbers = there.to_numpy(dtype=float)
            edges = np.unique(np.quantile(numbers, np.linspace(0, 1, 11)))
            before = earlier.get(name, {})
            if before.get("edges"):
                edges = np.array(before["edges"])
            inner = np.unique(np.concatenate([edges, np.nextafter(edges, np.inf)]))
            shares = np.bincount(
                np.searchsorted(inner, numbers, side="right"), minlength=len(inner) + 1
            ) / len(numbers)
            one |= {
                "least": float(numbers.min()), "most": float(numbers.max()), "mean": float(numbers.mean()),
                "deviation": float(numbers.std()), "edges": edges.tolist(), "shares": shares.tolist(),
            }  # fmt: skip
            if before.get("shares"):
                p, q = np.array(before["shares"]), shares
                middle = (p + q) / 2

                def against(a, b):
                    where = a > 0
                    return float(np.sum(a[where] * np.log2(a[where] / b[where])))

                one["drift"] = (against(p, middle) + against(q, middle)) / 2
        elif len(there):
            shares = there.astype(str).value_counts(normalize=True)
            one |= {
                "distinct": len(shares),
                "values": {str(k): float(v) for k, v in shares.head(1000).items()},
            }
            before = earlier.get(name, {}).get("values")
            if before:
                every = set(before) | set(one["values"])
                one["drift"] = max(abs(before.get(v, 0.0) - one["values"].get(v, 0.0)) for v in every)
        found[name] = one
        if one.get("drift", 0.0) > most_drift:
            anomalies.append(f"{name} has drifted by {one['drift']:.3f}, at most {most_drift:g} are allowed")

    for name, before in earlier.items():
        if name not in found:
            anomalies.append(f"there is no column {name} any more")
        elif before["type"] != found[name]["type"] and before["missing"] < 1 and found[name]["missing"] < 1:
            anomalies.append(f"{name} held {before['type']}s, and holds {found[name]['type']}s now")

    for name, asked in (schema.get("columns") or {}).items():
        one = found.get(name)
        if one is None:
            anomalies.append(f"there is no column {name}")
            continue
        if asked.get("type") and asked["type"] != one["type"]:
            anomalies.append(f"{name} holds {one['type']}s, not {asked['type']}s")
            continue
        if one["missing"] > asked.get("missing", 1.0):
            anomalies.append(
                f"{name} is missing in {one['missing']:.1%}, at most {asked['missing']:.1%} are allowed"
            )
        if "least" in asked and one.get("least", asked["least"]) < asked["least"]:
            anomalies.append(f"{name} goes down to {one['least']:g}, not below {asked['least']:g} is allowed")
        if "most" in asked and one.get("most", asked["most"]) > asked["most"]:
            anomalies.append(f"{name} goes up to {one['most']:g}, not above {asked['most']:g} is allowed")
        if asked.get("values"):
            others = sorted(set(frame[name].dropna().astype(str)) - {str(v) for v in asked["values"]})
            if others:
                anomalies.append(f"{name} has values that the schema does not: {', '.join(others[:5])}")

    with open(statistics.path, "w") as file:
        json.dump({"rows": len(frame), "columns": found}, file)
    lines = [f"{len(frame)} rows, {len(found)} columns.", ""]
    lines += [f"- {one}" for one in anomalies] or ["Nothing is wrong."]
    with open(report.path, "w") as file:
        file.write("\n".join(lines) + "\n")
    if anomalies and must_be_valid:
        raise ValueError("The data is not valid: " + "; ".join(anomalies))
    return namedtuple("Validation", "valid anomalies")(not anomalies, anomalies)


@dsl.component(base_image=image.PYTHON, packages_to_install=image.LEARNING)
def split_data(
    data: Input[Dataset],
    train: Output[Dataset],
    test: Output[Dataset],
    test_fraction: float = 0.2,
    order: str = "",
    key: str = "",
):
    """Splits a table in two, the same way each time.

    order: the rows with the highest values in this column are the test: what is to be predicted lies in the future.
    key: without `order`, rows of one value in this column stay together, and which part they are in depends on the
        value alone. Without either the whole row decides.
    """
    import hashlib

    import pandas as pd

    frame = pd.read_parquet(data.path) if data.path.endswith(".parquet") else pd.read_csv(data.path)
    if (order or key) and (order or key) not in frame:
        raise ValueError(f"The data has no column {order or key}; it has {', '.join(frame.columns)}.")
    if order:
        frame = frame.sort_values(order, kind="stable").reset_index(drop=True)
        tested = frame.index >= round(len(frame) * (1 - test_fraction))
    else:
        texts = frame[key].astype(str) if key else frame.astype(str).agg("|".join, axis=1)

        def share(text):
            return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64

        tested = texts.map(share) < test_fraction
    for part, rows in ((train, frame[~tested]), (test, frame[tested])):
        if rows.empty:
            raise ValueError(
                f"With a test fraction of {test_fraction:g} a part of the {len(frame)} rows is empty."
            )
        rows.to_csv(part.path, index=False)
        part.metadata["rows"] = len(rows)
