"""From an instance (an object by feature name, or a list in the features' order) to a row of float64.

The code for a row is generated once for a model: a call for each value would take five times as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from portico.errors import InvalidArgument
from portico.ml import values

Categories = Mapping[int, Sequence[Any]]
_NAN: Final = math.nan
_SHOWN = 40  # characters of an offending value that a message repeats


class RowEncoder:
    """Encodes instances for a model with these features.

    `categories` maps a categorical feature's position to its categories in the order of their codes. `1`, `1.0`
    and `"1"` are the same number and the same category. A feature that is missing, null, "" or NaN is missing
    (NaN); so is a category that the model has not seen. Other names in an object are ignored.
    """

    def __init__(self, features: Sequence[str], categories: Categories) -> None:
        self.features = list(features)
        self._names = frozenset(features)
        self._codes: dict[int, dict[str, float]] = {}
        for position, known in categories.items():
            codes = self._codes[position] = {}
            for code, value in enumerate(known):
                codes.setdefault(values.category(value) or "", float(code))
        self._by_name = self._generate("row", [f"get({name!r})" for name in self.features])
        self._by_order = self._generate("row", [f"row[{i}]" for i in range(len(self.features))])

    def row(self, instance: Any, position: int) -> tuple[float, ...]:
        """The encoded `instance`, which stands at `position` of its request.

        Raises:
            InvalidArgument: it is neither an object nor a list of the right length, names none of the
                features, or a value has the wrong type; the message names the row and the feature.
        """
        try:
            if instance.__class__ is dict:
                if len(instance) < len(self.features) and not instance.keys() & self._names:
                    raise InvalidArgument(
                        f"instances[{position}] has none of the model's features {self._listed()}.",
                        field=f"instances[{position}]",
                    )
                return self._by_name(instance)
            if instance.__class__ is list and len(instance) == len(self.features):
                return self._by_order(instance)
        except (ValueError, TypeError) as error:
            raise self._explained(instance, position) from error
        raise self._misshaped(instance, position)

    def cell(self, position: int, value: Any) -> float:
        """What the value of the feature at `position` becomes, as in `row`.

        Raises:
            ValueError: it has the wrong type.
        """
        codes = self._codes.get(position)
        return values.number(value) if codes is None else _code(codes, value)

    def is_number(self, position: int) -> bool:
        return position not in self._codes

    def _generate(self, argument: str, sources: list[str]) -> Callable[[Any], tuple[float, ...]]:
        lines = [f"def encode({argument}):", "    get = getattr(row, 'get', None)"]
        names: dict[str, Any] = {"number": values.number, "code": _code, "NAN": _NAN, "float": float}
        for i, source in enumerate(sources):
            lines.append(f"    x{i} = {source}")
            if i in self._codes:
                names[f"codes{i}"] = self._codes[i]
                # Values whose spelling is canonical are found at once.
                lines.append(
                    f"    x{i} = codes{i}[x{i}] if x{i}.__class__ is str and x{i} in codes{i} "
                    f"else code(codes{i}, x{i})"
                )
            else:
                lines.append(f"    if x{i}.__class__ is not float: x{i} = number(x{i})")
        lines.append(f"    return ({''.join(f'x{i}, ' for i in range(len(sources)))})")
        exec("\n".join(lines), names)  # the names in it are repr()s of strings, the rest is above
        return names.pop("encode")  # type: ignore[no-any-return]  # no cycle: the collector does not look here

    def _explained(self, instance: Any, position: int) -> InvalidArgument:
        for i, name in enumerate(self.features):
            value = instance.get(name) if isinstance(instance, dict) else instance[i]
            where = f"instances[{position}]" + (f".{name}" if isinstance(instance, dict) else f"[{i}]")
            wanted = "a single value" if i in self._codes else "a number"
            try:
                values.category(value) if i in self._codes else values.number(value)
            except (ValueError, TypeError):
                shown = repr(value)
                shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
                return InvalidArgument(
                    f"{where} (the feature {name!r} of row {position}) is {shown}, which is not {wanted}.",
                    field=where,
                )
        return self._misshaped(instance, position)

    def _misshaped(self, instance: Any, position: int) -> InvalidArgument:
        given = f"a list of {len(instance)}" if isinstance(instance, list) else type(instance).__name__
        return InvalidArgument(
            f"instances[{position}] is {given}; the model takes an object by feature name, or a list of its "
            f"{len(self.features)} features {self._listed()}.",
            field=f"instances[{position}]",
        )

    def _listed(self) -> str:
        shown = ", ".join(self.features[:20])
        return f"({shown}{', …' if len(self.features) > 20 else ''})"


def _code(codes: dict[str, float], value: Any) -> float:
    text = values.category(value)
    return _NAN if text is None else codes.get(text, _NAN)
