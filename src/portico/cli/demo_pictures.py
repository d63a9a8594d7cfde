"""The demo's picture: errors over the years, and below them every episode, gate and canary."""

from __future__ import annotations

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
    """`hours` has `when`, `count` and the columns of `LINES`; `episodes` start, end, outcome, states."""
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
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="#e8eaed")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path
