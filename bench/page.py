"""Writes docs/benchmarks.md from the results that the benchmarks left: `python -m bench.page`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.common import RESULTS

PAGE = Path("docs/benchmarks.md")
TITLES = {
    "start": "Starting and idling",
    "serving": "One online row",
    "batch": "Batch prediction",
    "monitoring": "Watching a model",
    "training": "Training of one's own code",
    "automl": "AutoML",
    "bigquery": "BigQuery",
    "pipelines": "Pipelines",
    "console": "The console",
}
_HEAD = """\
# Benchmarks

Every number is a ratio against a named peer or limit, measured in one run on one machine, in interleaved rounds, as
the median of their ratios. `ok` and `MISS` say whether the limit that Portico sets itself holds; lines without either
are shown beside. `make bench` measures again; this page is written by `python -m bench.page` from its results.
"""


def main() -> None:
    before = sections(PAGE.read_text()) if PAGE.exists() else {}
    pieces = [_HEAD]
    for name, title in TITLES.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            pieces.append(section(title, json.loads(path.read_text())))
        elif title in before:  # measured elsewhere or earlier: its facts say when and on what
            pieces.append(before[title])
    PAGE.write_text("\n".join(pieces))
    print(f"written to {PAGE}")


def sections(page: str) -> dict[str, str]:
    """The page's sections by title, each from its heading to the next."""
    parts = page.split("\n## ")[1:]
    return {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in parts}


def _is_raw(value: Any) -> bool:
    """Whether it is what was measured, each time, and not a fact about the run."""
    return isinstance(value, list) or (isinstance(value, dict) and any(map(_is_raw, value.values())))


def section(title: str, result: dict[str, Any]) -> str:
    skipped = {"lines", "results", "values", "medians", "table"}
    kept = {k: v for k, v in result.items() if k not in skipped and not _is_raw(v)}
    facts = [f"- {key}: {shown(value)}" for key, value in kept.items()]
    blocks = [result["table"]] if "table" in result else []
    blocks.append("\n".join(result["lines"]))
    fenced = "\n\n".join(f"```\n{block}\n```" for block in blocks)
    return f"## {title}\n\n" + "\n".join(facts) + f"\n\n{fenced}\n"


def shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
