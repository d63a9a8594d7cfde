"""A YAML file that a person wrote: its values as JSON has them, and the line of each field.

What JSON has no value for is refused with line and field; a date stays the text that it is. Aliases are written out,
as long as the whole stays small: ten lines of aliases of aliases can mean a billion values.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from portico.errors import InvalidArgument

_MOST_BYTES = 1 << 20
_MOST_VALUES = 10_000
_MOST_DEPTH = 20
_TAG = "tag:yaml.org,2002:"


class _TooDeep(Exception):
    def __init__(self, line: int, field: str) -> None:
        self.line, self.field = line, field


class _Loader(yaml.SafeLoader):
    """Reads dates as text, and not more levels than it can call itself for."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._path: list[Any] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._path.append(index)
        if len(self._path) > _MOST_DEPTH + 1:
            names = [
                f"[{at}]" if isinstance(at, int) else f".{at.value}" for at in self._path if at is not None
            ]
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise _TooDeep(event.start_mark.line + 1, "".join(names).lstrip("."))
        try:
            return super().compose_node(parent, index)
        finally:
            self._path.pop()


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path: Path) -> tuple[Any, dict[str, int]]:
    """What the file holds, and on which line each field ("a.b[0]") is.

    Raises:
        InvalidArgument: naming the line, and the field where it is one.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InvalidArgument(f"{path.name}:1: the file is larger than {_MOST_BYTES:,} bytes.")
        text = path.read_text()
        node = yaml.compose(text, Loader=_Loader)
    except _TooDeep as error:
        raise _too_deep(path.name, error.line, _cut(error.field)) from None
    except OSError as error:
        raise InvalidArgument(f"{path} can't be read: {error.strerror}.") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidArgument(f"{path.name}:{line}: this is no YAML: {error.problem}.") from None
    except yaml.reader.ReaderError as error:
        line = text[: int(error.position)].count("\n") + 1
        raise InvalidArgument(f"{path.name}:{line}: this is no YAML: {error.reason}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{path.name}:1: this is no YAML: {error}.") from None
    reading = _Reading(path.name)
    return (None if node is None else reading.value(node, "", 0)), reading.lines


def _too_deep(name: str, line: int, field: str) -> InvalidArgument:
    return InvalidArgument(
        f"{name}:{line}: {field}: more than {_MOST_DEPTH} levels; no field of a steward is that deep.",
        field=field,
    )


class _Reading:
    def __init__(self, name: str) -> None:
        self._name = name
        self._scalars = _Loader("")
        self._values = 0
        self.lines: dict[str, int] = {}

    def value(self, node: yaml.Node, field: str, depth: int) -> Any:
        line = node.start_mark.line + 1
        self._values += 1
        if depth > _MOST_DEPTH:  # by an alias: of itself, it may be
            raise _too_deep(self._name, self._begun(field), _cut(field))
        if self._values > _MOST_VALUES:
            problem = f"with its aliases written out the file has more than {_MOST_VALUES:,} values"
            raise self._error(self._begun(field), field, problem)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, field, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            made = []
            for position, one in enumerate(node.value):
                name = f"{field}[{position}]"
                self.lines[name] = one.start_mark.line + 1
                made.append(self.value(one, name, depth + 1))
            return made
        return self._scalar(node, field, line)

    def _mapping(self, node: yaml.MappingNode, field: str, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        if node.tag != f"{_TAG}map":
            raise self._error(node.start_mark.line + 1, field, f"{node.tag} is no kind of value here")
        for key, one in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(line, field, "a field's name must be a word")
            name = f"{field}.{key.value}" if field else str(key.value)
            if key.tag == f"{_TAG}merge":
                for part in one.value if isinstance(one, yaml.SequenceNode) else [one]:
                    if not isinstance(part, yaml.MappingNode):
                        raise self._error(line, name, "only fields can be merged")
                    merged = self.value(part, field, depth + 1) | merged  # the first one counts
                continue
            if name in self.lines and key.value in made:
                raise self._error(line, name, f"it is written twice; it is on line {self.lines[name]} too")
            self.lines[name] = line
            made[key.value] = self.value(one, name, depth + 1)
        return merged | made

    def _scalar(self, node: yaml.Node, field: str, line: int) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if not isinstance(node, yaml.ScalarNode) or kind not in ("null", "bool", "int", "float", "str"):
            raise self._error(line, field, f"{node.tag} is no kind of value here")
        try:
            made = self._scalars.construct_object(node)
        except (ValueError, yaml.YAMLError):
            raise self._error(line, field, f"{_cut(node.value)!r} can't be read as {kind}") from None
        if (isinstance(made, float) and not math.isfinite(made)) or (
            isinstance(made, int) and abs(made) >= 2**63
        ):
            raise self._error(line, field, f"{_cut(node.value)} is too large, or no number")
        return made

    def _begun(self, field: str) -> int:
        """The line where what holds `field` begins: an alias has the lines of what it stands for."""
        return self.lines.get(re.split(r"[.\[]", field)[0], 1)

    def _error(self, line: int, field: str, problem: str) -> InvalidArgument:
        return InvalidArgument(f"{self._name}:{line}: {_cut(field) or 'the file'}: {problem}.", field=field)


def _cut(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "…"
