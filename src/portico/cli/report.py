"""`portico report MODEL`: a model card with its history, as HTML with pictures and as Markdown.

Everything in it is read from the server: the registry, the evaluations, the steward and its episodes. What is not known
is said to be not known. The sections follow Mitchell et al., Model Cards for Model Reporting, 2019.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from portico.cli import audit, report_watched
from portico.client.api import Client
from portico.errors import InvalidArgument, NotFound

_ENTRIES = 200  # of the audit log


def write(client: Client, model: str, out: Path) -> list[Path]:
    """Writes `MODEL.html` and `MODEL.md` into `out`; returns their paths.

    Raises:
        NotFound: there is no such model. InvalidArgument: several have the display name.
    """
    facts = collect(client, model)
    pictures = draw(facts)
    parts = sections(facts)
    out.mkdir(parents=True, exist_ok=True)
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in facts["model"]["displayName"]) or "model"
    page, text = out / f"{name}.html", out / f"{name}.md"
    page.write_text(as_html(facts, parts, pictures))
    text.write_text(as_markdown(facts, parts))
    return [page, text]


def collect(client: Client, model: str) -> dict[str, Any]:
    """All that the report says: model, versions (newest first) with their evaluations, stewards and episodes."""
    found = _model(client, model)
    name = found["name"].partition("@")[0]
    versions = client.call("GET", f"/v1/{name}:listVersions", orderBy="version_create_time desc").get(
        "models", []
    )
    for version in versions:
        answer = client.call("GET", f"/v1/{name}@{version['versionId']}/evaluations")
        version["evaluations"] = answer.get("modelEvaluations", [])
        for evaluation in version["evaluations"]:
            slices = client.call("GET", f"/v1/{evaluation['name']}/slices")
            evaluation["slices"] = slices.get("modelEvaluationSlices", [])
    endpoints = {d["endpoint"] for version in versions for d in version.get("deployedModels", [])}
    kept = [steward for steward in client.stewards() if steward["endpoint"] in endpoints]
    for steward in kept:
        steward["episodes"] = client.episodes(steward["name"])
    pipeline = {}
    if found.get("trainingPipeline"):
        try:
            pipeline = client.call("GET", f"/v1/{found['trainingPipeline']}")
        except NotFound:
            pipeline = {}
    return {
        "model": found, "versions": versions, "stewards": kept, "pipeline": pipeline,
        "audit": list(_entries(client, name, sorted(endpoints))),
    }  # fmt: skip


def _entries(client: Client, model: str, endpoints: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Of the audit log: what was done to the model, with it to others, or to the endpoints that have it."""
    places = ("resourceName", "metadata.changed", "request.model", "request.deployedModel.model")
    parts = [f'protoPayload.{place}:"{model}"' for place in places]
    parts += [f'protoPayload.resourceName:"{endpoint}"' for endpoint in endpoints]
    return audit.entries(
        client, model.split("/")[1], f'logName:"cloudaudit" AND ({" OR ".join(parts)})', _ENTRIES
    )


def _model(client: Client, model: str) -> dict[str, Any]:
    if model.startswith("projects/"):
        return client.call("GET", f"/v1/{model}")
    found = client.call("GET", f"/v1/{client.parent}/models").get("models", [])
    named = [one for one in found if model in (one["displayName"], one["name"].rpartition("/")[2])]
    if not named:
        raise NotFound(
            f"There is no model {model!r}; there are {', '.join(m['displayName'] for m in found) or 'none'}."
        )
    if len(named) > 1:
        raise InvalidArgument(f"{len(named)} models are called {model!r}; give the resource name.")
    only: dict[str, Any] = named[0]
    return only


Table = tuple[list[str], list[list[str]]]
Section = tuple[str, list[str | Table]]


def sections(facts: dict[str, Any]) -> list[Section]:
    """Heading, and below it paragraphs and tables."""
    return [
        ("Intended use", _use(facts)),
        ("Data", _data(facts)),
        ("How good it is", _metrics(facts)),
        ("Beside a simple answer", _baseline(facts)),
        ("Slices", _slices(facts)),
        ("Fairness", report_watched.fairness(facts)),
        ("As it serves", report_watched.performance(facts)),
        ("Before labels come", report_watched.estimates(facts)),
        ("Drift", report_watched.drift(facts)),
        ("What it looks at", _explanations(facts)),
        ("Versions", _versions(facts)),
        ("Episodes", _episodes(facts)),
        ("Who did what", _audited(facts)),
    ]


def _use(facts: dict[str, Any]) -> list[str | Table]:
    model = facts["model"]
    said = model.get("description") or "Nobody has written down what it is for: set the model's description."
    metadata = model.get("metadata") or {}
    kind = str(metadata.get("predictionType") or "").replace("forecasting", "forecast")
    return [
        said,
        f"It is a {kind} of {metadata.get('targetColumn')}." if kind else "It does not say what it predicts.",
    ]


def _data(facts: dict[str, Any]) -> list[str | Table]:
    metadata = facts["pipeline"].get("trainingTaskMetadata") or {}
    rows = metadata.get("rows")
    if not rows:
        return [
            "What the first version learned from is not known: its training pipeline is gone, or it was uploaded."
        ]
    sources = ", ".join(f"{one['uri']} (generation {one['generation']})" for one in metadata.get("data", []))
    words = ", ".join(f"{count:,} {part}" for part, count in rows.items() if part != "withoutTarget")
    return [f"The first version learned from {sources}.", f"Rows: {words}.", f"Seed {metadata.get('seed')}."]


_SHOWN = ("meanAbsoluteError", "rootMeanSquaredError", "weightedAbsolutePercentageError", "rSquared", "auRoc", "auPrc",
          "logLoss", "accuracy")  # fmt: skip


def _metrics(facts: dict[str, Any]) -> list[str | Table]:
    rows = []
    for version in facts["versions"]:
        for evaluation in version["evaluations"]:
            metrics = evaluation.get("metrics") or {}
            intervals = (evaluation.get("metadata") or {}).get("intervals") or {}
            for name in _SHOWN:
                if name in metrics:
                    bounds = intervals.get(name)
                    between = f"{bounds[0]:.4g} to {bounds[1]:.4g}" if bounds else "not computed"
                    measured = evaluation.get("displayName", "")
                    rows.append([version["versionId"], name, f"{metrics[name]:.4g}", between, measured])
    if not rows:
        return ["No evaluation is registered."]
    return [(["version", "metric", "value", "95% interval", "measured on"], rows)]


def _baseline(facts: dict[str, Any]) -> list[str | Table]:
    said = [
        f"Version {version['versionId']}: {baseline['sentence']}"
        for version in facts["versions"]
        for evaluation in version["evaluations"]
        if (baseline := (evaluation.get("metadata") or {}).get("baseline"))
    ]
    return list(said) or ["It was not compared with a simple answer."]


def _slices(facts: dict[str, Any]) -> list[str | Table]:
    rows = []
    for version in facts["versions"]:
        for evaluation in version["evaluations"]:
            for piece in evaluation["slices"]:
                of = piece.get("slice") or {}
                metrics = piece.get("metrics") or {}
                shown = [f"{name} {metrics[name]:.4g}" for name in _SHOWN if name in metrics]
                rows.append(
                    [
                        version["versionId"],
                        f"{of.get('dimension', '')} {of.get('value', '')}",
                        ", ".join(shown),
                    ]
                )
    return [(["version", "slice", "metrics"], rows[:40])] if rows else ["No slice is registered."]


def _explanations(facts: dict[str, Any]) -> list[str | Table]:
    found = (facts["model"].get("metadata") or {}).get("featureImportance") or {}
    if not found:
        return ["The importance of its features is not known."]
    rows = [[name, f"{share:.1%}"] for name, share in sorted(found.items(), key=lambda item: -item[1])]
    return [(["feature", "share of its decisions"], rows)]


def _versions(facts: dict[str, Any]) -> list[str | Table]:
    rows = []
    for version in facts["versions"]:
        deployed = ", ".join(d["endpoint"].rpartition("/")[2] for d in version.get("deployedModels", []))
        aliases = ", ".join(version.get("versionAliases", []))
        made = version.get("versionCreateTime", "")[:19].replace("T", " ")
        rows.append([version["versionId"], aliases, made, deployed, version.get("versionDescription", "")])
    return [(["version", "aliases", "made", "deployed at", "why"], rows)]


def _episodes(facts: dict[str, Any]) -> list[str | Table]:
    rows = []
    for steward in facts["stewards"]:
        for episode in steward["episodes"]:
            states = " → ".join(t["state"].lower().replace("_", " ") for t in episode["transitions"])
            rows.append([f"{episode['startTime'][:10]} to {episode.get('endTime', 'now')[:10]}", states,
                         episode["reason"]])  # fmt: skip
    if not facts["stewards"]:
        return ["No steward looks after it."]
    return [(["when", "how it went", "why"], rows)] if rows else ["Nothing had to be done."]


def _audited(facts: dict[str, Any]) -> list[str | Table]:
    rows = []
    for entry in facts["audit"]:
        told = entry["protoPayload"]
        went = told["status"]["message"] if "status" in told else ""
        rows.append([entry["timestamp"][:19].replace("T", " "), told["authenticationInfo"]["principalEmail"],
                     audit.method(entry), told["resourceName"], entry["insertId"], went])  # fmt: skip
    if not rows:
        return [
            "The audit log has nothing of it: it was made before there was one, or more than 400 days ago."
        ]
    found: list[str | Table] = [(["when", "who", "what", "to what", "entry", "failed"], rows)]
    return found if len(rows) < _ENTRIES else [f"The newest {_ENTRIES} entries of the audit log.", *found]


def draw(facts: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Pictures, as (caption, PNG)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    made = []
    importance = (facts["model"].get("metadata") or {}).get("featureImportance") or {}
    if importance:
        order = sorted(importance.items(), key=lambda item: item[1])[-20:]
        figure, axes = pyplot.subplots(figsize=(7, 0.4 * len(order) + 1), layout="constrained")
        axes.barh([name for name, _ in order], [share for _, share in order], color="#1a73e8")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.spines[["top", "right"]].set_visible(False)
        made.append(("The features' shares in its decisions.", _png(figure)))
    for steward in facts["stewards"]:
        gates = [(e["startTime"][:10], d["numbers"]["gates"]) for e in reversed(steward["episodes"])
                 for d in e["decisions"] if d["question"] == "gates"]  # fmt: skip
        beside = [(at, g) for at, found in gates for g in found if g["gate"] == "better than the champion"]
        if beside:
            figure, axes = pyplot.subplots(figsize=(8, 3.5), layout="constrained")
            places = range(len(beside))
            axes.plot(places, [g["second"] for _, g in beside], "o", color="#c5221f", label="champion")
            axes.plot(places, [g["first"] for _, g in beside], "^", color="#188038", label="challenger")
            axes.set_xticks(list(places), [at for at, _ in beside], rotation=60, ha="right", fontsize=7)
            axes.set_ylabel(beside[0][1]["metric"])
            axes.legend(frameon=False)
            axes.spines[["top", "right"]].set_visible(False)
            made.append(("Champion and challenger on the gates' rows of each episode.", _png(figure)))
    return made


def _png(figure: Any) -> bytes:
    from matplotlib import pyplot

    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=110)
    pyplot.close(figure)
    return held.getvalue()


def _title(facts: dict[str, Any]) -> str:
    return f"{facts['model']['displayName']}: model card"


def as_markdown(facts: dict[str, Any], parts: list[Section]) -> str:
    lines = [f"# {_title(facts)}", "", facts["model"]["name"], ""]
    for heading, pieces in parts:
        lines += [f"## {heading}", ""]
        for piece in pieces:
            if isinstance(piece, str):
                lines += [piece, ""]
                continue
            head, rows = piece
            lines += [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
            lines += [
                f"| {' | '.join(cell.replace('|', '&#124;').replace(chr(10), ' ') for cell in row)} |"
                for row in rows
            ]
            lines.append("")
    return "\n".join(lines)


_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#202124}
h1{font-size:1.8rem}h2{font-size:1.2rem;margin-top:2rem;border-bottom:1px solid #dadce0}table{border-collapse:collapse;
font-size:.85rem;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .6rem}
tr{border-bottom:1px solid #eee}
img{max-width:100%}figcaption{color:#5f6368;font-size:.85rem}.name{color:#5f6368;font-family:monospace}"""


def as_html(facts: dict[str, Any], parts: list[Section], pictures: list[tuple[str, bytes]]) -> str:
    """One file: the pictures are in it."""
    escape = html.escape
    body = [f"<h1>{escape(_title(facts))}</h1><p class='name'>{escape(facts['model']['name'])}</p>"]
    for heading, pieces in parts:
        body.append(f"<h2>{escape(heading)}</h2>")
        for piece in pieces:
            if isinstance(piece, str):
                body.append(f"<p>{escape(piece)}</p>")
                continue
            head, rows = piece
            body.append("<table><tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>")
            body += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
            body.append("</table>")
    for caption, picture in pictures:
        source = base64.b64encode(picture).decode()
        body.append(f"<figure><img alt='{escape(caption, quote=True)}' src='data:image/png;base64,{source}'>"
                    f"<figcaption>{escape(caption)}</figcaption></figure>")  # fmt: skip
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(_title(facts))}</title>"
        f"<style>{_STYLE}</style><body>{''.join(body)}</body></html>\n"
    )
