"""Field masks: `updateMask` (AIP-134), `readMask` (AIP-157) and Google's `fields` parameter."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from copy import deepcopy
from functools import reduce
from typing import Any, NoReturn

from portico.errors import InvalidArgument
from portico.services.standard.fields import FieldTypes, Kind, Resource, camel

_SEGMENT = re.compile(r"`([^`]*)`|([^`.,/()\s]+)")
_MAX_DEPTH = 50

# A selection: a key, or `*` for every key, and what to keep below it ({} keeps all of it).
Selection = dict[str, Any]


def apply_update_mask(
    current: Resource,
    patch: Resource,
    mask: str | None,
    *,
    output_only: Collection[str] = (),
    immutable: Collection[str] = (),
    fields: FieldTypes | None = None,
) -> dict[str, Any]:
    """`current` with what `mask` names taken from `patch`; neither argument is changed.

    Without a mask the populated fields of `patch` are taken; `*` replaces everything that can be written. A
    named field that `patch` lacks is cleared. Paths reach into messages and maps (`labels.key`, a key with
    dots in backticks), not into repeated fields. Fields in `output_only` are passed over; one in `immutable`
    may be named as long as it stays what it is. Both hold top-level camelCase names.

    Raises:
        InvalidArgument: on `updateMask`, or on the immutable field.
    """
    result = deepcopy(dict(current))
    for path in _update_paths(current, patch, mask, immutable, fields):
        top = path[0]
        if top in output_only:
            continue
        if top in immutable:
            if top in patch and patch[top] != current.get(top):
                raise InvalidArgument(f"{top} cannot be changed after creation.", field=top)
            continue
        _replace(result, patch, path)
    return result


def apply_field_mask(resource: Resource, mask: str | None, *, parameter: str = "readMask") -> dict[str, Any]:
    """What `mask` selects of `resource`; all of it for an empty mask or `*`.

    Takes both written forms: field mask paths (`displayName,labels.env`), and the partial responses of the
    `fields` parameter (`items(name,size),nextPageToken`, `items/name`, `*/name`). Repeated fields are
    selected element by element. `parameter` is what an error names.

    Raises:
        InvalidArgument: on `parameter`.
    """
    if mask is None or not mask.strip():
        return dict(resource)
    kept: dict[str, Any] = _select(dict(resource), _Selector(mask, parameter).parse())
    return kept


def check_field_mask(mask: str, fields: FieldTypes, *, parameter: str = "readMask") -> None:
    """That `mask`, which `apply_field_mask` takes, selects only fields that there are.

    Raises:
        InvalidArgument: on `parameter`.
    """
    _check_selection(_Selector(mask, parameter).parse(), fields, parameter)


def _check_selection(selection: Selection, fields: FieldTypes, parameter: str) -> None:
    for key, inner in selection.items():
        field = fields.get(key)
        if field is None and key != "*":
            raise InvalidArgument(
                f"Invalid field selection {key}", reason="invalidParameter", field=parameter
            )
        if field is not None and field.message is not None:
            _check_selection(inner, field.message, parameter)


def _update_paths(
    current: Resource,
    patch: Resource,
    mask: str | None,
    immutable: Collection[str],
    fields: FieldTypes | None,
) -> list[list[str]]:
    if mask is None or not mask.strip():
        return [[name] for name, value in patch.items() if value not in (None, "", [], {})]
    if mask.strip() == "*":
        # What the patch leaves out is cleared, except what could not be set again.
        return [[name] for name in {**current, **patch} if name in patch or name not in immutable]
    return [_update_path(text.strip(), fields) for text in _split(mask)]


def _split(mask: str) -> list[str]:
    return re.findall(r"(?:`[^`]*`|[^,`])+", mask) if "`" in mask else mask.split(",")


def _update_path(text: str, fields: FieldTypes | None) -> list[str]:
    segments = [quoted or plain for quoted, plain in _SEGMENT.findall(text)]
    written = ".".join(f"`{quoted}`" if quoted else plain for quoted, plain in _SEGMENT.findall(text))
    if not segments or written != text:
        raise InvalidArgument(f"updateMask has {text!r}, which is no field path.", field="updateMask")
    if "*" in segments:
        raise InvalidArgument("updateMask takes * only alone.", field="updateMask")
    segments[0] = camel(segments[0])
    message = fields
    for position, segment in enumerate(segments):
        if message is None:
            break
        field = message.get(segment)
        if field is None:
            raise InvalidArgument(f"updateMask names {text!r}, which is no field.", field="updateMask")
        last = position == len(segments) - 1
        if not last and (field.repeated or field.kind not in (Kind.MESSAGE, Kind.MAP, Kind.ANY)):
            raise InvalidArgument(
                f"updateMask reaches into {field.name!r}; name the whole field.", field="updateMask"
            )
        message = field.message
    return segments


def _replace(target: dict[str, Any], source: Resource, path: list[str]) -> None:
    """Makes `target` at `path` what `source` is there."""
    segment, *rest = path
    key = segment if segment in target or segment in source else camel(segment)
    taken = source.get(key)
    if not rest:
        if taken is None:
            target.pop(key, None)
        else:
            target[key] = deepcopy(taken)
        return
    inner = target.get(key)
    if not isinstance(taken, Mapping | None) or not isinstance(inner, dict | None):
        raise InvalidArgument(f"updateMask reaches into {key!r}; name the whole field.", field="updateMask")
    if inner is None:
        if not taken:
            return
        inner = target[key] = {}
    _replace(inner, taken or {}, rest)


class _Selector:
    """Reads `list: item ("," item)*`, `item: KEY [("." | "/") item | "(" list ")"]`."""

    def __init__(self, text: str, parameter: str) -> None:
        self.text, self.parameter, self.at = text, parameter, 0

    def parse(self) -> Selection:
        selection = self.items(0)
        if self.at < len(self.text):
            self.fail()
        return selection

    def items(self, depth: int) -> Selection:
        selection = self.item(depth)
        while self.take(","):
            selection = _merge(selection, self.item(depth))
        return selection

    def item(self, depth: int) -> Selection:
        self.skip_space()
        found = _SEGMENT.match(self.text, self.at)
        if not found or depth > _MAX_DEPTH:
            self.fail()
        self.at = found.end()
        key = found[2] if found[1] is None else found[1]
        if self.take(".") or self.take("/"):
            return {key: self.item(depth + 1)}
        if not self.take("("):
            return {key: {}}
        inner = self.items(depth + 1)
        if not self.take(")"):
            self.fail()
        return {key: inner}

    def take(self, symbol: str) -> bool:
        self.skip_space()
        if not self.text.startswith(symbol, self.at):
            return False
        self.at += 1
        return True

    def skip_space(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def fail(self) -> NoReturn:
        raise InvalidArgument(
            f"Invalid {self.parameter} at position {self.at + 1} of {self.text!r}.", field=self.parameter
        )


def _merge(one: Selection, other: Selection) -> Selection:
    """What either keeps."""
    merged = dict(one)
    for key, below in other.items():
        both = key in merged and merged[key] and below
        merged[key] = _merge(merged[key], below) if both else {} if key in merged else below
    return merged


def _select(value: Any, selection: Selection) -> Any:
    if not selection:
        return value
    if isinstance(value, list):
        return [_select(element, selection) for element in value if isinstance(element, Mapping | list)]
    kept = {}
    for key, inner in value.items():
        below = [selection[name] for name in selection if name in ("*", key) or camel(name) == key]
        if below and (not all(below) or isinstance(inner, Mapping | list)):
            kept[key] = _select(inner, reduce(_merge, below) if all(below) else {})
    return kept
