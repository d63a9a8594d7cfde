"""datasets.searchDataItems: items together with their annotations, found by both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339
from portico.errors import Unimplemented
from portico.services.aiplatform.data_items.formats import SET
from portico.services.aiplatform.data_items.kept import ANNOTATIONS, DATA_ITEMS
from portico.services.call import Call, implements
from portico.services.registry.datasets import DATASETS
from portico.services.standard import masks, pages
from portico.services.standard.filters import Predicate, compile_filter
from portico.store import resources

_NOT_BUILT = ("orderBy", "orderByDataItem", "orderByAnnotation.savedQuery", "dataLabelingJob")
_MOST = 100  # of a page, as on Vertex AI
_MOST_ANNOTATIONS = 1000  # of an item
Shown = Mapping[str, Any]


@implements("aiplatform", DATASETS.method("searchDataItems"))
def search(call: Call) -> dict[str, Any]:
    """The newest first. In filters an item has `data_item_id` (or `data_item`), `labeled` and
    `has_annotation(SPEC)`, and an annotation `annotation_spec_id` and `saved_query_id`."""
    params, name = call.params, str(call.params["dataset"])
    for key in _NOT_BUILT:
        if params.get(key):
            raise Unimplemented(f"Searching items with {key} is not built in Portico yet; leave it out.")
    asked = [str(params.get(key) or "") for key in ("dataItemFilter", "annotationsFilter", "savedQuery")]
    either = [str(one) for one in params.get("annotationFilters") or []]
    size = pages.page_size(params.get("pageSize"), default=_MOST, maximum=_MOST)
    limit = min(int(params.get("annotationsLimit") or _MOST_ANNOTATIONS), _MOST_ANNOTATIONS)
    place = pages.read_token(str(params.get("pageToken") or ""), name, *asked, *either)
    keep, wanted = _item_filter(asked[0]), _annotation_filter(asked[1], either)
    found: list[dict[str, Any]] = []
    with call.rooms.database.read() as connection:
        DATASETS.require(connection, name)
        after = (float(place[0]), str(place[1])) if place else None
        for item, annotations in _items(connection, name, after, asked[2].rpartition("/")[2]):
            if keep({**item, "annotations": annotations}):
                chosen = [one for one in annotations if wanted(one)]
                view = {"dataItem": item, "annotations": [_shown(one) for one in chosen[:limit]]}
                found.append({**view, **({"hasTruncatedAnnotations": True} if len(chosen) > limit else {})})
                if len(found) > size:
                    break
    token = ""
    if len(found) > size:
        last = found[size - 1]["dataItem"]
        token = pages.write_token([parse_rfc3339(last["createTime"]), last["name"]], name, *asked, *either)
    mask = params.get("fieldMask")
    shown = [masks.apply_field_mask(one, mask, parameter="fieldMask") for one in found[:size]]
    return {"dataItemViews": shown, **({"nextPageToken": token} if token else {})}


def _items(
    connection: Connection, dataset: str, after: tuple[float, str] | None, chosen: str
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Items with their annotations; those of the saved query `chosen` alone, where one is."""
    for item in resources.listed(connection, DATA_ITEMS.kind, dataset, after=after):
        annotations = [
            {**ANNOTATIONS.render(one), "savedQueryId": (one.body.get("labels") or {}).get(SET, "")}
            for one in resources.listed(connection, ANNOTATIONS.kind, item.name)
        ]
        yield (
            DATA_ITEMS.render(item),
            [one for one in annotations if chosen in ("", one["savedQueryId"])],
        )


def _shown(annotation: Shown) -> dict[str, Any]:
    return {key: value for key, value in annotation.items() if key != "savedQueryId"}


def _spec_of(annotation: Shown) -> str:
    return str(annotation["payload"].get("annotationSpecId") or "")


def _item_filter(text: str) -> Predicate:
    def number(item: Shown) -> str:
        return str(item["name"]).rpartition("/")[2]

    known: dict[str, Callable[[Shown], Any]] = {
        "dataItem": number,
        "dataItemId": number,
        "labeled": lambda item: bool(item["annotations"]),
    }
    return compile_filter(text, virtual=known, functions={
        "has_annotation": lambda item, specs: any(_spec_of(one) in specs for one in item["annotations"])
    })  # fmt: skip


def _annotation_filter(text: str, either: list[str]) -> Predicate:
    known: dict[str, Callable[[Shown], Any]] = {
        "annotationSpecId": _spec_of,
        "savedQueryId": lambda one: one["savedQueryId"],
    }
    first = compile_filter(text, virtual=known)
    others = [compile_filter(one, virtual=known) for one in either]
    return lambda one: first(one) and (not others or any(keep(one) for keep in others))
