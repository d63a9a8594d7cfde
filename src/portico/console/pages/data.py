"""Data: data sets with their schema and statistics, and buckets with what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from portico.console import charts, words
from portico.console.charts import Chart
from portico.console.looking import Looking, address, page
from portico.console.pages import lineage
from portico.console.pages.models import containing
from portico.errors import InvalidArgument, NotFound

_PLACE = "/projects/{project}/locations/{location}"
_PIECE = 1 << 18  # bytes of a download
_OBJECTS = 50  # on a page


@page(f"{_PLACE}/datasets")
def datasets(looking: Looking) -> Response:
    found, more = looking.page_of(f"/v1/{looking.parent}/datasets", "datasets", filter=containing(looking))
    return looking.show(
        "datasets.html", "Data", datasets=found, more=more, tab="datasets", section="datasets"
    )


@page(f"{_PLACE}/datasets/{{id}}")
def dataset(looking: Looking) -> Response:
    name = looking.name("datasets")
    shown, versions = looking.api.each(
        lambda: looking.api.call("GET", f"/v1/{name}"),
        lambda: looking.api.listed(f"/v1/{name}/datasetVersions", "datasetVersions"),
    )

    metadata = shown.get("metadata") or {}
    columns = (metadata.get("statistics") or {}).get("columns") or []
    drawn = next((one["name"] for one in columns if one.get("quantiles") or one.get("top")), "")
    wanted = looking.query.get("column") or drawn
    chosen = next((one for one in columns if one["name"] == wanted), None)
    config = metadata.get("inputConfig") or {}
    source = (config.get("gcsSource") or {}).get("uri") or [(config.get("bigquerySource") or {}).get("uri")]
    return looking.show(
        "dataset.html",
        words.title(shown),
        dataset=shown,
        name=name,
        columns=columns,
        chosen=wanted,
        chart=_column(chosen) if chosen else None,
        versions=versions,
        section="datasets",
        source=[one for one in ([source] if isinstance(source, str) else source) if one],
        notes=(metadata.get("statistics") or {}).get("notes") or [],
        lineage=lineage.drawn(looking, name),
    )


def _column(column: Mapping[str, Any]) -> Chart | None:
    """A column's values: between its quantiles how many rows there are for each unit, or its most frequent values."""
    title = f"Values of {column['name']}"
    if quantiles := column.get("quantiles"):
        bins = charts.quantile_bins(column)
        if not bins:
            return None
        figure = {
            "data": [
                {
                    "type": "bar",
                    "x": [(a + b) / 2 for a, b, _ in bins],
                    "width": [b - a for a, b, _ in bins],
                    "y": [share / (b - a) for a, b, share in bins],
                    "marker": {"color": "--one"},
                    "text": [f"{share:.0%} of the rows" for _, _, share in bins],
                    "hoverinfo": "text+x",
                }
            ],
            "layout": charts.axes(column["name"], "share of rows for each unit", bargap=0),
        }
        low, high = (words.number(quantiles.get(q)) for q in ("0.25", "0.75"))
        says = f"Half of the rows lie between {low} and {high}."
        rows = [[f"{words.number(a)} to {words.number(b)}", f"{share:.1%}"] for a, b, share in bins]
        return Chart(title, figure, says, ["between", "share of rows"], rows, 260)
    if top := column.get("top"):
        return charts.bars(
            title, {str(value): int(count) for value, count in top}, "The most frequent values.", "rows"
        )
    return None


# --- buckets ---


@page(f"{_PLACE}/buckets")
def buckets(looking: Looking) -> Response:
    query = {"project": looking.project, "maxResults": _OBJECTS, "pageToken": looking.query.get("page", "")}
    found = looking.api.call("GET", "/storage/v1/b", **{k: v for k, v in query.items() if v})
    more = found.get("nextPageToken")
    return looking.show(
        "buckets.html",
        "Data",
        buckets=found.get("items") or [],
        tab="buckets",
        section="datasets",
        more=looking.with_query(page=more) if more else "",
    )


@page(f"{_PLACE}/buckets", "POST")
def make_bucket(looking: Looking) -> Response:
    name = looking.form.get("name", "").strip()
    looking.api.call("POST", f"/storage/v1/b?{urlencode({'project': looking.project})}", {"name": name})
    return looking.go(address(f"{looking.parent}/buckets/{name}"))


@page(f"{_PLACE}/buckets/{{bucket}}")
def bucket(looking: Looking) -> Response:
    name, prefix = looking.part("bucket"), looking.query.get("prefix", "")
    query = {
        "prefix": prefix,
        "delimiter": "/",
        "maxResults": _OBJECTS,
        "pageToken": looking.query.get("page", ""),
    }
    found = looking.api.call("GET", f"/storage/v1/b/{quote(name)}/o", **{k: v for k, v in query.items() if v})
    more = found.get("nextPageToken")
    steps = list(_steps(prefix))
    return looking.show(
        "bucket.html",
        f"gs://{name}/{prefix}",
        bucket=name,
        prefix=prefix,
        folders=found.get("prefixes") or [],
        objects=[one for one in found.get("items") or [] if one["name"] != prefix],
        steps=steps,
        section="datasets",
        more=looking.with_query(page=more) if more else "",
        at=address(f"{looking.parent}/buckets/{name}"),
    )


def _steps(prefix: str) -> Iterator[tuple[str, str]]:
    """The folders above a prefix, each with its own."""
    parts = prefix.split("/")[:-1]
    for at, part in enumerate(parts):
        yield part, "/".join(parts[: at + 1]) + "/"


@page(f"{_PLACE}/buckets/{{bucket}}/object")
def download(looking: Looking) -> Response:
    """An object's bytes, as a file to be saved."""
    bucket, name = looking.part("bucket"), looking.query.get("name", "")
    path = f"/storage/v1/b/{quote(bucket)}/o/{quote(name, safe='')}"
    about = looking.api.call("GET", path)

    def pieces() -> Iterator[bytes]:
        with looking.api.stream(f"{path}?alt=media&generation={about['generation']}") as answer:
            if answer.status != 200:
                raise NotFound(f"gs://{bucket}/{name} can't be read.")
            while piece := answer.read(_PIECE):
                yield piece

    saved = quote(name.rpartition("/")[2] or "object")
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{saved}",
        "content-length": str(about["size"]),
    }
    return StreamingResponse(pieces(), media_type="application/octet-stream", headers=headers)


@page(f"{_PLACE}/buckets/{{bucket}}/upload", "POST")
def upload(looking: Looking) -> Response:
    """A file, sent by the page's script; a short text answers it."""
    bucket, name = looking.part("bucket"), looking.query.get("name", "")
    if looking.body is None or not name:
        raise InvalidArgument("Send a file, with its name.")
    query = urlencode({"uploadType": "media", "name": name})
    headers = {"content-type": "application/octet-stream", "content-length": str(looking.size)}
    status, _, content = looking.api.sent(
        "POST", f"/upload/storage/v1/b/{quote(bucket)}/o?{query}", looking.body, headers
    )
    if status != 200:
        return PlainTextResponse(content.decode("utf-8", "replace")[:500], status)
    return PlainTextResponse("It is there.")


@page(f"{_PLACE}/buckets/{{bucket}}/delete", "POST")
def delete(looking: Looking) -> Response:
    bucket, name = looking.part("bucket"), looking.form.get("name", "")
    looking.api.call("DELETE", f"/storage/v1/b/{quote(bucket)}/o/{quote(name, safe='')}")
    return looking.go(address(f"{looking.parent}/buckets/{bucket}", prefix=looking.form.get("prefix", "")))
