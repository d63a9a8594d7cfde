"""The demos' pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

# Column -> (its name for people, colour, line).
LINES = {
    "static": ("left alone", "#c5221f", "-"),
    "rescaled": ("rescaled by 30 days", "#f29900", "-"),
    "steward": ("with the steward", "#188038", "-"),
    "weekBefore": ("same hour a week before", "#80868b", "--"),
}
_OUTCOMES = {
    "PROMOTED": ("promoted", "#188038", "^"),
    "ROLLED_BACK": ("rolled back", "#f29900", "v"),
    "REJECTED": ("rejected by a gate", "#c5221f", "x"),
    "ABANDONED": ("abandoned", "#80868b", "s"),
}


def timeline(hours: pd.DataFrame, episodes: list[dict[str, Any]], path: Path) -> Path:
    """Errors over the years, and below them every episode, gate and canary.

    `hours` has `when`, `count` and the columns of `LINES`; `episodes` start, end, outcome, states.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import dates, pyplot

    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(11, 6), height_ratios=[4, 1.2], sharex=True, layout="constrained"
    )
    weeks = hours.set_index("when")
    whole = weeks["count"].resample("28D").count() > 28 * 12  # the data end within a piece
    for name, (label, colour, style) in LINES.items():
        error = (weeks[name] - weeks["count"]).abs().resample("28D").sum()
        share = error / weeks["count"].where(weeks[name].notna()).resample("28D").sum()
        share = share[whole]
        width = 2.2 if name == "steward" else 1.3
        above.plot(share.index, share, style, color=colour, label=label, linewidth=width)
    above.set_title("The same model, left alone and looked after", loc="left", fontweight="bold")
    above.set_ylabel("mean absolute error / mean\nof 28 days")
    above.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    above.set_ylim(0, min(1.2, above.get_ylim()[1]))
    above.legend(frameon=False, ncols=4, loc="upper center")
    shown = set()
    for episode in episodes:
        label, colour, marker = _OUTCOMES.get(episode["outcome"], ("open", "#1a73e8", "o"))
        start = pd.Timestamp(episode["start"]).tz_localize(None)
        end = pd.Timestamp(episode["end"] or episode["start"]).tz_localize(None)
        retrained = "RETRAINING" in episode["states"]
        height = 1 if retrained else 0
        below.plot([start, end], [height, height], color=colour, linewidth=5, solid_capstyle="butt")
        below.plot(end, height, marker, color=colour, label=None if label in shown else label, markersize=8)
        shown.add(label)
        if episode["outcome"] == "PROMOTED":
            above.axvline(end, color=colour, linewidth=0.6, alpha=0.5)
    below.set_yticks([0, 1], ["rescaled", "retrained"])
    below.set_ylim(-0.6, 1.6)
    below.set_title("What the steward did", loc="left", fontsize=10)
    below.legend(frameon=False, ncols=4, fontsize=8, loc="lower center", bbox_to_anchor=(0.6, 1.0))
    below.xaxis.set_major_locator(dates.YearLocator())  # type: ignore[no-untyped-call]
    below.xaxis.set_major_formatter(dates.DateFormatter("%Y"))  # type: ignore[no-untyped-call]
    return _saved(figure, (above, below), path, axis="x", color="#e8eaed")


_METHODS = {
    "ExponentiatedGradient": ("ExponentiatedGradient", "#1a73e8", "o"),
    "ThresholdOptimizer": ("ThresholdOptimizer", "#9334e6", "D"),
    "LightGBM": ("LightGBM, no constraint", "#80868b", "s"),
    "AutoML": ("AutoML, no constraint", "#f29900", "s"),
    "AutoML, reweighed": ("AutoML on reweighed rows", "#188038", "^"),
}


def fairness(
    prices: list[dict[str, Any]], gates: list[dict[str, Any]], remedy: dict[str, Any] | None, path: Path
) -> Path:
    """What mitigation costs, for two kinds of gap, and beside them what the gates let through."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(14, 5), layout="constrained")
    for axes, constraint, words in (
        (panels[0], "demographicParityDifference", "demographic parity"),
        (panels[1], "equalizedOddsDifference", "equalized odds"),
    ):
        _prices(axes, prices, constraint)
        axes.set_title(f"What {words} costs", loc="left", fontweight="bold")
        axes.set_xlabel(f"{words} difference between the sexes")
    panels[1].sharey(panels[0])
    panels[0].set_ylabel("accuracy")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=5, loc="outside lower left")
    _allowed(panels[2], gates, remedy)
    return _saved(figure, panels, path, color="#f1f3f4")


def _prices(axes: Any, prices: list[dict[str, Any]], constraint: str) -> None:
    shown = [row for row in prices if row["constraint"] in ("", constraint) or row["served"]]
    for method, (label, colour, marker) in _METHODS.items():
        rows = [row for row in shown if row["method"] == method and constraint in row["gaps"]]
        gaps = [row["gaps"][constraint]["value"] for row in rows]
        accuracy = [row["accuracy"] for row in rows]
        for row, gap in zip(rows, gaps, strict=True):
            edges = row["gaps"][constraint]["interval"] or (gap, gap)
            axes.plot(edges, [row["accuracy"]] * 2, color=colour, linewidth=1, alpha=0.35)
        axes.plot(gaps, accuracy, "-" if len(rows) > 1 else "", color=colour, linewidth=1, alpha=0.5)
        axes.plot(gaps, accuracy, marker, color=colour, label=label, markersize=8)
        for row, gap in zip(rows, gaps, strict=True):
            if row["bound"] is not None:
                axes.annotate(
                    f"≤ {row['bound']:g}", (gap, row["accuracy"]), (6, -10), textcoords="offset points",
                    fontsize=8, color=colour,
                )  # fmt: skip
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.1%}")


def _allowed(axes: Any, gates: list[dict[str, Any]], remedy: dict[str, Any] | None) -> None:
    """Each model by its gap between the sexes and its logLoss, on the gates' rows."""
    axes.set_title("What the gates let through", loc="left", fontweight="bold")
    axes.set_xlabel("demographic parity difference between the sexes\n(95% interval)")
    axes.set_ylabel("logLoss, lower is better")
    better = next((gate for gate in gates if gate["gate"] == "better than the champion"), None)
    fair = next((gate for gate in gates if "most" in gate), None)
    if better is None or fair is None:
        axes.text(0.5, 0.5, "no challenger came to the gates", transform=axes.transAxes, ha="center")
        return
    models = [
        ("champion", fair["champion"], better["second"], "#188038", "^"),
        ("challenger", fair["challenger"], better["first"], "#c5221f", "x"),
    ]
    if remedy is not None:
        models.append(
            ("everyone reweighed", remedy["gaps"]["sex"], remedy["better"]["first"], "#1a73e8", "o")
        )
    for label, gap, loss, colour, marker in models:
        low, high = gap["interval"] or (gap["value"], gap["value"])
        axes.plot([low, high], [loss, loss], color=colour, linewidth=1, alpha=0.6)
        axes.plot(gap["value"], loss, marker, color=colour, markersize=9, markeredgewidth=2)
        axes.annotate(label, (gap["value"], loss), (0, 9), textcoords="offset points", ha="center",
                      fontsize=9, color=colour)  # fmt: skip
    losses = [loss for _, _, loss, _, _ in models]
    room = max(max(losses) - min(losses), 1e-3)
    axes.set_ylim(min(losses) - 0.6 * room, max(losses) + 0.4 * room)
    axes.set_xlim(left=0)
    axes.fill_between([0, fair["most"]], axes.get_ylim()[0], better["second"], color="#e6f4ea", zorder=0)
    axes.text(0.02, 0.03, "better than the\nchampion, and as fair", transform=axes.transAxes, fontsize=9,
              color="#188038")  # fmt: skip
    axes.axvline(fair["most"], color="#188038", linewidth=0.8, linestyle="--")


def control(
    periods: Any,
    drift: dict[str, dict[str, Any]],
    limits: dict[str, float],
    moved: float,
    path: Path,
) -> Path:
    """`periods` has `when`, `logLoss`, `interval` and the gaps `SEX` and `RAC1P`; `limits` what is acceptable of each,
    by the same names; `drift` each feature's `largest` distance and its `series` of (end, distance)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import dates, pyplot

    figure, (loss, gaps, features) = pyplot.subplots(3, 1, figsize=(11, 7), sharex=True, layout="constrained")
    loss.plot(periods["when"], periods["logLoss"], color="#188038", label="the model of 2015")
    low, high = zip(*periods["interval"], strict=True)
    loss.fill_between(periods["when"], low, high, color="#188038", alpha=0.15, linewidth=0)
    loss.axhline(limits["logLoss"], color="#c5221f", linewidth=1, linestyle="--", label="acceptable")
    loss.set_ylim(bottom=0)
    loss.set_title("How wrong it is: logLoss of a quarter (95% interval)", loc="left", fontweight="bold")
    for name, label, colour in (
        ("SEX", "between the sexes", "#1a73e8"),
        ("RAC1P", "between races", "#9334e6"),
    ):
        gaps.plot(periods["when"], periods[name], color=colour, label=label)
        gaps.axhline(limits[name], color=colour, linewidth=1, linestyle="--", label="acceptable")
    gaps.set_ylim(0, 1.3 * gaps.get_ylim()[1])
    gaps.set_title("How unequal: difference of the true positive rate", loc="left", fontweight="bold")
    order = sorted(drift, key=lambda name: -drift[name]["largest"])
    for position, name in enumerate(order):
        when = [pd.Timestamp(end) for end, _ in drift[name]["series"]]
        distances = [distance for _, distance in drift[name]["series"]]
        if position < 3:
            features.plot(when, distances, label=name, linewidth=1.5)
        else:
            features.plot(when, distances, color="#dadce0", linewidth=0.8, zorder=0)
    features.axhline(moved, color="#80868b", linewidth=1, linestyle="--", label="called moved")
    features.set_ylim(0, 1.3 * features.get_ylim()[1])
    features.set_title("What moved: each feature's distance from 2015", loc="left", fontweight="bold")
    features.xaxis.set_major_locator(dates.YearLocator())  # type: ignore[no-untyped-call]
    features.xaxis.set_major_formatter(dates.DateFormatter("%Y"))  # type: ignore[no-untyped-call]
    for axes in (loss, gaps, features):
        axes.legend(frameon=False, ncols=4, fontsize=8, loc="lower right" if axes is loss else "upper right")
    return _saved(figure, (loss, gaps, features), path, axis="x", color="#e8eaed")


def forecast(past: pd.DataFrame, days: pd.DataFrame, path: Path) -> Path:
    """Forecasts of bikes per day, each from its start, and below them the error of each.

    `past` has `day` and `bikes`; `days` also `origin`, `forecast`, `low`, `high` (a 90% interval), `naive`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import dates, pyplot

    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(11, 6), height_ratios=[3, 1.2], sharex=True, layout="constrained"
    )
    past = past.sort_values("day")
    above.plot(pd.to_datetime(past["day"]), past["bikes"], color="#3c4043", linewidth=0.9, label="rented")
    for number, (_, one) in enumerate(days.groupby("origin")):
        when = pd.to_datetime(one["day"])
        names = ("ARIMA_PLUS", "90% interval", "same weekday of the last week")
        first, second, third = names if number == 0 else (None, None, None)
        above.plot(when, one["forecast"], color="#188038", linewidth=2, label=first)
        above.fill_between(
            when, one["low"], one["high"], color="#188038", alpha=0.13, linewidth=0, label=second
        )
        above.plot(when, one["naive"], color="#f29900", linewidth=1, linestyle="--", label=third)
        for error, colour, side in (("forecast", "#188038", -4), ("naive", "#f29900", 4)):
            share = (one[error] - one["bikes"]).abs().sum() / one["bikes"].sum()
            middle = when.iloc[len(when) // 2] + pd.Timedelta(days=side)
            below.bar(middle, share, width=8, color=colour)
    above.set_title(
        "Bikes rented each day in Washington, foretold 28 days ahead", loc="left", fontweight="bold"
    )
    above.set_ylabel("bikes a day")
    above.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    above.set_ylim(0, 1.15 * above.get_ylim()[1])
    above.legend(frameon=False, ncols=4, fontsize=9, loc="upper left")
    below.set_title("Mean absolute error of each 28 days, as a share of their mean", loc="left", fontsize=10)
    below.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    below.xaxis.set_major_locator(dates.MonthLocator())  # type: ignore[no-untyped-call]
    below.xaxis.set_major_formatter(dates.DateFormatter("%b %Y"))  # type: ignore[no-untyped-call]
    below.tick_params(axis="x", labelsize=8)
    return _saved(figure, (above, below), path, axis="y", color="#f1f3f4")


def _saved(figure: Any, panels: Iterable[Any], path: Path, **grid: Any) -> Path:
    from matplotlib import pyplot

    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(**grid)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path
