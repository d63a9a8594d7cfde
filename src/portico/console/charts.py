"""Figures for Plotly, as the plain JSON that its script draws. A colour "--NAME" is the sheet's, light or dark."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from portico.console.words import metric, number, plural


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure, what it says in a sentence, and its numbers as a table."""

    title: str
    figure: dict[str, Any]
    says: str
    head: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    height: int = 300


def axes(x: str = "", y: str = "", **more: Any) -> dict[str, Any]:
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}, "showlegend": False, **more}


def bars(title: str, shares: Mapping[str, float], says: str, what: str = "share", most: int = 20) -> Chart:
    """Horizontal bars, the largest on top."""
    order = sorted(shares.items(), key=lambda item: -abs(item[1]))[:most]
    names, values = [name for name, _ in order][::-1], [value for _, value in order][::-1]
    figure = {
        "data": [{"type": "bar", "orientation": "h", "y": names, "x": values, "marker": {"color": "--one"}}],
        "layout": axes(what, yaxis={"type": "category", "automargin": True}),
    }
    rows = [[name, number(value)] for name, value in order]
    return Chart(title, figure, says, ["feature", what], rows, 90 + 24 * len(names))


def roc(entries: Sequence[Mapping[str, Any]], area: Any) -> Chart:
    """The receiver operating characteristic of an evaluation's confidence metrics."""
    points = sorted(
        {(float(e.get("falsePositiveRate", 0)), float(e.get("recall", 0))) for e in entries}
        | {(0.0, 0.0), (1.0, 1.0)}
    )
    x, y = [p[0] for p in points], [p[1] for p in points]
    figure = {
        "data": [
            {"x": x, "y": y, "mode": "lines", "name": "the model", "line": {"color": "--one", "width": 2.5}},
            {
                "x": [0, 1],
                "y": [0, 1],
                "mode": "lines",
                "name": "chance",
                "line": {"color": "--field", "dash": "dot"},
            },
        ],
        "layout": axes("false alarms among the negatives", "found among the positives", showlegend=True),
    }
    says = (
        f"The area under the curve is {number(area)}; 0.5 is chance, 1 is never wrong."
        if area is not None
        else ""
    )
    return Chart(
        "How well it ranks (ROC)",
        figure,
        says,
        ["false positive rate", "recall"],
        [[number(a), number(b)] for a, b in points[:: max(1, len(points) // 40)]],
    )


def precision_recall(entries: Sequence[Mapping[str, Any]], area: Any) -> Chart:
    points = sorted(
        {(float(e["recall"]), float(e["precision"])) for e in entries if "recall" in e and "precision" in e}
    )
    figure = {
        "data": [
            {
                "x": [p[0] for p in points],
                "y": [p[1] for p in points],
                "mode": "lines",
                "line": {"color": "--one", "width": 2.5},
            }
        ],
        "layout": axes("recall", "precision", yaxis={"range": [0, 1.03], "title": {"text": "precision"}}),
    }
    says = f"The area under the curve is {number(area)}." if area is not None else ""
    return Chart(
        "Precision and recall",
        figure,
        says,
        ["recall", "precision"],
        [[number(a), number(b)] for a, b in points[:: max(1, len(points) // 40)]],
    )


def confusion(matrix: Mapping[str, Any]) -> Chart:
    names = [one.get("displayName", "") for one in matrix.get("annotationSpecs") or []]
    rows = matrix.get("rows") or []
    rows = [row.get("dataItemCounts", []) if isinstance(row, dict) else row for row in rows]
    right = sum(int(row[at]) for at, row in enumerate(rows) if at < len(row))
    total = sum(int(cell) for row in rows for cell in row) or 1
    figure = {
        "data": [
            {
                "type": "heatmap",
                "x": names,
                "y": names,
                "z": rows,
                "colorscale": [[0, "--paper"], [1, "--one"]],
                "showscale": False,
                "text": [[str(cell) for cell in row] for row in rows],
                "texttemplate": "%{text}" if len(names) <= 12 else "",
            }
        ],
        "layout": axes(
            "predicted",
            "",
            yaxis={"title": {"text": "true"}, "autorange": "reversed", "type": "category"},
            xaxis={"title": {"text": "predicted"}, "type": "category"},
        ),
    }
    says = f"{right:,} of {plural(total, 'row')} are on the diagonal: predicted as they were ({right / total:.1%})."
    table = [[name, *row] for name, row in zip(names, rows, strict=False)]
    return Chart("What was taken for what", figure, says, ["true, predicted →", *names], table, 320)


def intervals(title: str, found: Sequence[tuple[str, float, Sequence[float] | None]], what: str) -> Chart:
    """Values with their 95% intervals, one below the other."""
    names = [name for name, _, _ in found]
    trace: dict[str, Any] = {
        "y": names,
        "x": [value for _, value, _ in found],
        "mode": "markers",
        "marker": {"size": 10, "color": "--one"},
        "type": "scatter",
    }
    if any(bounds for _, _, bounds in found):
        trace["error_x"] = {
            "type": "data",
            "symmetric": False,
            "color": "--one",
            "array": [bounds[1] - value if bounds else 0 for _, value, bounds in found],
            "arrayminus": [value - bounds[0] if bounds else 0 for _, value, bounds in found],
        }
    figure = {
        "data": [trace],
        "layout": axes(what, yaxis={"type": "category", "automargin": True, "autorange": "reversed"}),
    }
    rows = [
        [name, number(value), f"{number(b[0])} to {number(b[1])}" if b else ""] for name, value, b in found
    ]
    return Chart(title, figure, "", ["", what, "95% interval"], rows, 100 + 30 * len(names))


def waterfall(base: float, parts: Sequence[tuple[str, float]], total: float, what: str) -> Chart:
    """From the usual answer to this one, a feature a step."""
    order = sorted(parts, key=lambda part: -abs(part[1]))
    shown, rest = order[:14], order[14:]
    steps = [*shown, *([(f"{len(rest)} others", sum(v for _, v in rest))] if rest else [])]
    names = ["usual answer", *(name for name, _ in steps), "this answer"]
    figure = {
        "data": [
            {
                "type": "waterfall",
                "orientation": "h",
                "y": names,
                "x": [base, *(v for _, v in steps), total],
                "measure": ["absolute", *(["relative"] * len(steps)), "total"],
                "text": [number(base), *(f"{v:+.4g}" for _, v in steps), number(total)],
                "textposition": "outside",
                "increasing": {"marker": {"color": "--one"}},
                "decreasing": {"marker": {"color": "--two"}},
                "totals": {"marker": {"color": "--field"}},
                "connector": {"line": {"color": "--line"}},
                "cliponaxis": False,
            }
        ],
        "layout": axes(what, yaxis={"type": "category", "autorange": "reversed", "automargin": True}),
    }
    up = ", ".join(f"{name} ({value:+.4g})" for name, value in order[:3])
    says = f"The usual answer is {number(base)}, this one {number(total)}. Most of it comes from {up}."
    rows = [[name, number(value)] for name, value in [("usual answer", base), *order, ("this answer", total)]]
    return Chart("Why it answers so", figure, says, ["", "part"], rows, 120 + 26 * len(names))


@dataclass(slots=True)
class Lines:
    """Series over time, each with a name; `limit` is a level drawn across."""

    title: str
    y: str
    series: dict[str, tuple[Sequence[str], Sequence[Any]]] = field(default_factory=dict)
    limit: float | None = None
    says: str = ""
    mode: str = "lines+markers"
    x: str = ""

    def chart(self) -> Chart:
        names = ("--one", "--two", "--three", "--four")
        data: list[dict[str, Any]] = [
            {
                "x": list(x),
                "y": list(y),
                "name": name,
                "mode": self.mode,
                "type": "scatter",
                "line": {"color": names[at % 4]},
                "marker": {"size": 5},
            }
            for at, (name, (x, y)) in enumerate(self.series.items())
        ]
        layout = axes(self.x, self.y, showlegend=len(data) > 1)
        layout["yaxis"]["rangemode"] = "tozero"
        if self.limit is not None:
            layout["shapes"] = [
                {
                    "type": "line",
                    "xref": "paper",
                    "x0": 0,
                    "x1": 1,
                    "y0": self.limit,
                    "y1": self.limit,
                    "line": {"color": "--bad", "dash": "dash", "width": 1.5},
                }
            ]
        rows = [
            [name, at, number(v)] for name, (x, y) in self.series.items() for at, v in zip(x, y, strict=True)
        ]
        return Chart(
            self.title,
            {"data": data, "layout": layout},
            self.says,
            ["", self.x or "time", self.y],
            rows[:400],
            260,
        )


def distributions(
    feature: str, names: Sequence[str], before: Sequence[float], now: Sequence[float], says: str
) -> Chart:
    """Two distributions of one feature beside each other, as shares of their rows."""
    data = [
        {"type": "bar", "x": list(names), "y": list(before), "name": "then", "marker": {"color": "--field"}},
        {"type": "bar", "x": list(names), "y": list(now), "name": "now", "marker": {"color": "--one"}},
    ]
    layout = axes(
        "",
        "share of rows",
        showlegend=True,
        barmode="group",
        xaxis={"type": "category", "automargin": True, "tickangle": -35},
    )
    rows = [[n, f"{a:.1%}", f"{b:.1%}"] for n, a, b in zip(names, before, now, strict=True)]
    return Chart(feature, {"data": data, "layout": layout}, says, ["value", "then", "now"], rows, 280)


def quantile_bins(column: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """Between which values which share of the rows lies, as far as the statistics of a dataset's column tell it. Many
    rows of one value belong to the bin that ends there, those of the least one to the first."""
    known = sorted((float(q), float(v)) for q, v in column["quantiles"].items())
    known = [(0.0, float(column["min"])), *known, (1.0, float(column["max"]))]
    bins: list[tuple[float, float, float]] = []
    least = 0.0
    for (q1, v1), (q2, v2) in itertools.pairwise(known):
        if v2 > v1:
            bins.append((v1, v2, q2 - q1))
        elif bins:
            bins[-1] = (bins[-1][0], bins[-1][1], bins[-1][2] + q2 - q1)
        else:
            least += q2 - q1
    if bins:
        bins[0] = (bins[0][0], bins[0][1], bins[0][2] + least)
    return bins


def parallel(
    title: str, trials: Sequence[Mapping[str, Any]], names: Sequence[str], objective: str
) -> Chart | None:
    """Trials as parallel coordinates: a line a trial, from parameter to parameter to what was measured."""
    columns = [*names, objective]
    places: dict[str, dict[Any, float]] = {}
    for name in columns:
        known = [t[name] for t in trials if t.get(name) is not None]
        if not known:
            return None
        if all(isinstance(v, int | float) for v in known):
            low, high = min(known), max(known)
            places[name] = {v: (v - low) / (high - low) if high > low else 0.5 for v in known}
        else:
            kinds = sorted({str(v) for v in known})
            places[name] = {k: at / max(1, len(kinds) - 1) for at, k in enumerate(kinds)}

    def at(name: str, value: Any) -> float | None:
        return places[name].get(value, places[name].get(str(value)))

    measured = [t for t in trials if t.get(objective) is not None]
    order = sorted(measured, key=lambda t: t[objective])
    data = [
        {
            "x": columns,
            "y": [at(name, t.get(name)) for name in columns],
            "mode": "lines+markers",
            "name": f"trial {t['id']}",
            "line": {"color": "--good" if t.get("best") else "--one", "width": 3.5 if t.get("best") else 1},
            "opacity": 1 if t.get("best") else 0.55,
            "marker": {"size": 6},
            "text": [f"{name} {number(t.get(name)) or t.get(name)}" for name in columns],
            "hoverinfo": "name+text",
        }
        for t in order
    ]
    layout = axes(
        "",
        "",
        yaxis={"range": [-0.05, 1.05], "tickvals": [0, 1], "ticktext": ["low", "high"]},
        xaxis={"type": "category"},
    )
    best = next((t for t in trials if t.get("best")), None)
    says = (
        ""
        if best is None
        else (
            f"The best of {plural(len(measured), 'trial')} is number {best['id']}: "
            f"{metric(objective)} {number(best[objective])}."
        )
    )
    return Chart(title, {"data": data, "layout": layout}, says, height=360)
