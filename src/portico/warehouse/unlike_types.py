"""What GoogleSQL refuses to compare or to put into one column, and DuckDB would convert: values of unlike types.

Types are told from the text and from the tables' schemas, as far as they can be without binding the query; where one is
not known, nothing is refused. https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

from portico.warehouse import clauses, nans, overflows, range_order, window_arguments
from portico.warehouse import compound_types as compound
from portico.warehouse import result_types as results
from portico.warehouse import type_checks as checks
from portico.warehouse.alike import READ, alike, as_latin, as_texts, as_type, cast_column, written_out
from portico.warehouse.compound_types import as_columns, as_common, unlike
from portico.warehouse.row_comparisons import by_fields
from portico.warehouse.signatures import ANY, LITERAL, shown
from portico.warehouse.types import Field, field_of_expression

Fields = Callable[[list[str]], list[Field] | None]
"""The columns of the table that is named by these parts; None where they are not known."""
_Columns = Mapping[str, str | None]  # types by lower-case names; None where one is not known
_Known = Mapping[str, _Columns | None]  # the columns of WITH's names

_BIG = "BIGNUMERIC"


def settle(tree: exp.Expr, fields: Fields, parameters: Mapping[str, exp.Expr]) -> None:
    """Looks at all values that meet in a statement, and makes those alike that stand beside a BIGNUMERIC.

    Raises:
        InvalidArgument: two types are compared, or meet in one column, that GoogleSQL does not convert to one another.
    """
    window_arguments.check(tree, parameters)
    reader = _Reader(fields, parameters)
    reader.statement(tree)
    for one in reader.bytes_put_together:
        as_latin(one)


class _Reader:
    """Walks a statement's queries, from their sources to what they yield."""

    def __init__(self, fields: Fields, parameters: Mapping[str, exp.Expr]) -> None:
        self._fields = fields
        self.parameters = parameters
        self.bytes_put_together: list[exp.Expr] = []

    def statement(self, tree: exp.Expr) -> None:
        if isinstance(tree, exp.Query):
            self.query(tree, {})
            return
        if isinstance(tree, exp.Insert):
            if isinstance(tree.expression, exp.Values):
                _Scope(self, {}, {}).look(tree.expression)
            else:
                self.query(tree.expression, {})
            return
        if not isinstance(tree, exp.Update | exp.Delete | exp.Merge):
            return
        source = tree.args.get("from_")
        each = [tree.this, tree.args.get("using"), source.this if source is not None else None]
        sources = {
            one.alias_or_name.lower(): self._source(one, {}) for one in each if isinstance(one, exp.Expr)
        }
        scope = _Scope(self, sources, {})
        for clause in ("where", "on"):
            if (one := tree.args.get(clause)) is not None:
                scope.type_of(one.this if isinstance(one, exp.Where) else one)
        for one in tree.expressions:  # of SET, what is assigned
            if isinstance(one, exp.EQ):
                scope.type_of(one.expression)

    # --- queries ---

    def query(self, tree: exp.Expr, known: _Known, outer: _Scope | None = None) -> _Columns | None:
        """The columns that a query yields; `known` are those of WITH's names, `outer` what it may read of the query
        around it."""
        if isinstance(tree, exp.Subquery | exp.Paren):
            held = self._with(tree, known, outer)
            return self.query(tree.this, held, outer)
        if isinstance(tree, exp.SetOperation):
            return self._set(tree, self._with(tree, known, outer), outer)
        if isinstance(tree, exp.Select):
            return self._select(tree, self._with(tree, known, outer), outer)
        return None

    def _with(self, tree: exp.Expr, known: _Known, outer: _Scope | None) -> _Known:
        holder = tree.args.get("with_")
        if holder is None:
            return known
        found = dict(known)
        for one in holder.expressions:
            name = one.alias.lower()
            if holder.args.get("recursive"):
                found[name] = None
            columns = self.query(one.this, found, outer)
            found[name] = None if one.args["alias"].columns else columns
        return found

    def _set(self, tree: exp.SetOperation, known: _Known, outer: _Scope | None) -> _Columns | None:
        left, right = self.query(tree.this, known, outer), self.query(tree.expression, known, outer)
        if left is None or right is None or tree.args.get("by_name"):
            return left
        named = {"Union": "UNION", "Except": "EXCEPT", "Intersect": "INTERSECT"}[type(tree).__name__]
        named += " DISTINCT" if tree.args.get("distinct") else " ALL"
        if len(left) != len(right):
            raise checks.refused(f"Queries in {named} have mismatched column count")
        made: dict[str, str | None] = {}
        for place, ((name, one), other) in enumerate(zip(left.items(), right.values(), strict=True), 1):
            if unlike([one, other]):
                raise checks.refused(
                    f"Column {place} in {named} has incompatible types: {shown(one)}, {shown(other)}"
                )
            made[name] = compound.common([one, other])
            if isinstance(made[name], compound.Compound):
                as_columns([tree.this, tree.expression], [one, other], place - 1)
            elif {one, other} in ({"NUMERIC", "FLOAT64"}, {_BIG, "FLOAT64"}) and written_out(
                side := tree.this if one == "FLOAT64" else tree.expression, place - 1
            ):
                made[name] = wanted = str(one if other == "FLOAT64" else other)
                cast_column(side, place - 1, wanted)
            elif _BIG in (one, other) and one != other:
                cast_column(tree.this if other == _BIG else tree.expression, place - 1, _BIG)
            elif LITERAL in (one, other) and made[name] in READ:
                cast_column(tree.this if one == LITERAL else tree.expression, place - 1, str(made[name]))
        _Scope(self, {"": made}, known, outer).order(tree, made)
        return made

    def _select(self, tree: exp.Select, known: _Known, outer: _Scope | None) -> _Columns | None:
        sources: dict[str, _Columns | None] = {}
        scope = _Scope(self, sources, known, outer)
        first = tree.args.get("from_")
        for one in [
            *([first.this] if first is not None else []),
            *(j.this for j in tree.args.get("joins") or ()),
        ]:
            name = one.alias_or_name.lower() or f"${len(sources)}"
            if isinstance(one, exp.Unnest):
                sources |= dict([self._unnested(one, scope)])
            else:
                sources[name] = self._source(one, known, scope)
        if tree.args.get("laterals") or (first is not None and first.this.args.get("pivots")):
            sources[""] = None
        clauses.settle(tree, sources)
        found: dict[str, str | None] = {}
        listed: list[tuple[str, str | None]] = []
        whole = True
        for one in tree.expressions:
            if one.is_star or isinstance(one, exp.Star):
                columns = list(sources.values())
                whole = (
                    whole
                    and isinstance(one, exp.Star)
                    and not any(one.args.get(k) for k in ("except_", "replace"))
                )
                for each in columns:
                    whole = whole and each is not None
                    found |= each or {}
                continue
            kind = scope.type_of(one.unalias())
            name = one.alias_or_name.lower() or f"${len(found)}"
            listed.append((name, kind))
            whole = whole and name not in found
            found[name] = kind
        for clause in ("where", "having", "qualify"):
            if (one := tree.args.get(clause)) is not None:
                checks.condition(f"{clause.upper()} clause", scope.type_of(one.this))
        if (one := tree.args.get("group")) is not None:
            scope.look(one)
        scope.order(tree, found if whole else {})
        for join in tree.args.get("joins") or ():
            if (one := join.args.get("on")) is not None:
                checks.condition("JOIN ON clause", scope.type_of(one))
            shared = {
                each.name: scope.type_of(exp.column(each.name)) for each in join.args.get("using") or ()
            }
            checks.refuse(compound.unshared(shared))
            nans.mark_using(join, list(shared.values()))
        if tree.args.get("kind") == "STRUCT":
            if len(listed) == len(tree.expressions):
                return {"$row": compound.struct_of(listed)}
            return {"$row": compound.struct_of(found.items())} if whole else None
        if tree.args.get("kind"):
            return {"$row": next(iter(found.values()))} if whole and len(found) == 1 else None
        return found if whole else None

    def _unnested(self, one: exp.Unnest, scope: _Scope) -> tuple[str, _Columns | None]:
        """The name of an array's elements, and their columns: the element or its fields, and its place."""
        array, alias = one.expressions[0] if one.expressions else None, one.args.get("alias")
        named = (alias.name or (alias.columns[0].name if alias.columns else "")) if alias is not None else ""
        if alias is None and isinstance(array, exp.Column):
            named = array.name
        named = named.lower() or f"${scope.depth()}"
        kind = compound.element(checks.array(scope.type_of(array))) if array is not None else None
        offset = one.args.get("offset")
        place = "offset" if offset is True else offset.name.lower() if offset else ""
        if kind is None or kind == ANY or compound.is_array(kind):
            return named, None
        columns = {each.lower(): inner for each, inner in compound.fields(kind) or [(named, kind)]}
        if compound.fields(kind) is not None:
            scope.rows[named] = kind
        return named, {**columns, **({place: "INT64"} if place else {})}

    def _source(self, one: exp.Expr, known: _Known, scope: _Scope | None = None) -> _Columns | None:
        if isinstance(one, exp.Subquery):
            outer = scope.outer if scope is not None else None
            columns = self.query(one.this, self._with(one, known, outer), outer)
            return (
                None
                if one.args.get("pivots") or (one.args["alias"] and one.args["alias"].columns)
                else columns
            )
        if not isinstance(one, exp.Table) or isinstance(one.this, exp.Func):
            return None
        if one.args.get("pivots") or one.args.get("version"):
            return None
        parts = [piece for each in one.parts for piece in each.name.split(".")]
        if len(parts) == 1 and parts[0].lower() in known:
            return known[parts[0].lower()]
        if scope is not None and len(parts) > 1 and scope.sees(parts[0]):
            kind = compound.element(scope.type_of(exp.column(*parts[::-1])))
            inner = compound.fields(kind) or ([(one.alias_or_name.lower(), kind)] if kind else None)
            return {each.lower(): each_kind for each, each_kind in inner} if inner else None
        columns_of = self._fields(parts)
        return (
            None
            if columns_of is None
            else {each["name"].lower(): compound.of_field(each) for each in columns_of}
        )


class _Scope:
    """What the names of one SELECT stand for."""

    def __init__(
        self,
        reader: _Reader,
        sources: Mapping[str, _Columns | None],
        known: _Known,
        outer: _Scope | None = None,
    ) -> None:
        self._reader, self._sources, self._known, self.outer = reader, sources, known, outer
        self.rows: dict[str, str] = {}  # of arrays of STRUCTs: the types of their elements

    def depth(self) -> int:
        return len(self._sources)

    def sees(self, name: str) -> bool:
        """Whether a table, or an array's element, has this name here or in a query around."""
        return name.lower() in self._sources or (self.outer is not None and self.outer.sees(name))

    def look(self, tree: exp.Expr) -> None:
        """Looks at an expression, whatever its type."""
        for one in list(tree.iter_expressions()):
            self.type_of(one)

    def order(self, tree: exp.Expr, shown: Mapping[str, str | None]) -> None:
        """Looks at what a query is ordered by; `shown` are its own columns."""
        order = tree.args.get("order")
        for one in order.expressions if order is not None else ():
            kind = self.type_of(one.this)
            if isinstance(one.this, exp.Column) and not one.this.table:
                kind = shown.get(one.this.name.lower(), kind)
            elif isinstance(one.this, exp.Literal) and one.this.name.isdigit():
                name, kind = dict(enumerate(shown.items(), 1)).get(int(one.this.name), ("", None))
                listed = isinstance(tree, exp.Select) and not any(each.is_star for each in tree.expressions)
                if kind == "FLOAT64" and not listed:
                    one.set("this", exp.column(name, quoted=True))
            nans.mark(one, [exp.Column()], [kind])

    def type_of(self, one: exp.Expr) -> str | None:
        if isinstance(one, exp.Query):
            columns = self._reader.query(one, self._known, self)
            return next(iter(columns.values())) if columns and len(columns) == 1 else None
        if isinstance(one, exp.Column):
            return self._column(one)
        if isinstance(one, exp.Literal):
            text = one.name.lower()
            whole = text.isdigit() or text.startswith("0x")
            return LITERAL if one.is_string else "INT64" if whole else "FLOAT64"
        if isinstance(one, exp.Null):
            return ANY
        if isinstance(one, exp.ByteString):
            return "BYTES"
        if isinstance(one, exp.Parameter):
            value = self._reader.parameters.get(one.name.lower())
            return self.type_of(value.copy()) if value is not None else None
        if isinstance(one, exp.Extract):
            self.type_of(one.expression)
            named = one.this.name.upper()
            return named if named in ("DATE", "TIME", "DATETIME") else "INT64"
        if isinstance(one, exp.Interval | exp.Lambda):
            return "INTERVAL" if isinstance(one, exp.Interval) else None
        if isinstance(one, exp.Case):
            return self._case(one)
        if isinstance(one, exp.If):
            branches = [
                self.type_of(each) for each in (one.this, one.args.get("true"), one.args.get("false")) if each
            ]
            if one.args.get("false") is None:
                raise checks.refused(
                    f"No matching signature for function IF for argument types: {', '.join(map(shown, branches))}"
                )
            checks.refuse(checks.no_condition("function IF", branches))
            return self._results("function IF", [one.args.get("true"), one.args.get("false")])
        if isinstance(one, exp.Unnest):
            return compound.element(checks.array(self.type_of(one.expressions[0])))
        if isinstance(one, exp.Tuple) or (isinstance(one, exp.Anonymous) and one.name.upper() == "STRUCT"):
            return compound.written(one, self.type_of)
        nodes = [each for each in one.iter_expressions() if not isinstance(each, exp.DataType)]
        return self._of(one, nodes, [self.type_of(each) for each in nodes])

    def _column(self, one: exp.Column) -> str | None:
        if isinstance(one.this, exp.Star):
            return None
        first, *path = [each.name.lower() for each in one.parts]
        if path and self.sees(first):
            kind = self._of_table(first, path.pop(0))
        else:
            kind = self._named(first)
        for name in path:
            kind = checks.field(kind, name)
        return kind

    def _of_table(self, table: str, name: str) -> str | None:
        if table not in self._sources:
            return self.outer._of_table(table, name) if self.outer is not None else None
        if table in self.rows:
            checks.unique(self.rows[table], name, f"Name {name} is ambiguous inside {table}")
            return compound.field(self.rows[table], name)
        columns = self._sources[table]
        if columns is not None and list(columns) == [table]:  # an element that is itself a value
            return compound.field(columns[table], name)
        return None if columns is None else columns.get(name)

    def _named(self, name: str) -> str | None:
        if name in self.rows:
            return self.rows[name]
        for kind in self.rows.values():
            checks.unique(kind, name, f"Column name {name} is ambiguous")
        if any(columns is None for columns in self._sources.values()):
            return None
        found = [columns[name] for columns in self._sources.values() if columns and name in columns]
        if not found and name not in self._sources:
            return self.outer._named(name) if self.outer is not None else None
        return compound.common(found) if found else None

    def _of(self, one: exp.Expr, nodes: list[exp.Expr], types: list[str | None]) -> str | None:
        if (made := by_fields(one, types)) is not None:
            one.replace(made)
            return self.type_of(made)
        if isinstance(one, (*results.COMPARED, exp.Between, exp.Ordered)) or (
            isinstance(one, exp.In) and one.expressions
        ):
            nans.mark(one, nodes, types)
            range_order.compare(one, nodes, types)
        elif isinstance(one, exp.In):
            nans.mark_in(one, types[-1])
            compound.as_common_of(types[-1], nodes[0], types[0])
        checks.refuse(compound.refusal(type(one), types))
        if (sign := results.COMPARED.get(type(one))) is not None:
            checks.signature(f"operator {sign}", nodes, types)
        elif isinstance(one, exp.Between):
            checks.signature("operator BETWEEN", nodes, types)
        elif isinstance(one, exp.In) and one.expressions:
            if unlike(types):
                listed = ", ".join(dict.fromkeys(shown(each) for each in types[1:]))
                raise checks.refused(
                    f"No matching signature for operator IN for argument types {shown(types[0])} and {{{listed}}}"
                )
            alike(nodes, types)
        if isinstance(one, exp.DPipe) and any(map(compound.is_array, types)):
            return compound.common(types)
        if isinstance(one, exp.DPipe):
            types = as_texts(nodes, types)
        if (sign := results.SIGNS.get(type(one))) is not None:
            checks.check(sign, nodes, types)
        if isinstance(one, results.BOOLEANS):
            return "BOOL"
        if isinstance(one, exp.DPipe):
            return (
                "BYTES" if "BYTES" in types else "STRING" if set(types) <= {"STRING", LITERAL, ANY} else None
            )
        if isinstance(one, exp.Cast | exp.TryCast):
            return checks.cast(types[0], compound.of_field(field_of_expression("", one.to)))
        if isinstance(one, results.AROUND):
            return types[0] if types else None
        if isinstance(one, exp.Bracket):
            return compound.element(types[0]) or self._field_at(one, nodes[0], types[0])
        if isinstance(one, exp.Dot) and isinstance(one.expression, exp.Identifier):
            return checks.field(types[0], one.expression.name)
        if isinstance(one, exp.Array):
            if unlike(types):
                listed = ", ".join(dict.fromkeys(shown(each) for each in types))
                raise checks.refused(f"Array elements of types {{{listed}}} do not have a common supertype")
            types = alike(nodes, types)
            as_common(nodes, types)
            checks.refuse(compound.nested(kind := compound.common(types)))
            return compound.array_of(kind)
        if isinstance(one, exp.GroupConcat):
            checks.text(types[0])
            if types[0] == "BYTES":
                self._reader.bytes_put_together.append(one)
            return types[0] if types[0] != LITERAL else "STRING"
        if (now := results.NOW.get(type(one))) is not None:
            return now
        if isinstance(one, exp.Add | exp.Sub | exp.Mul | exp.Div):
            return checks.computed(one, nodes, types)
        return self._called(one, nodes, types) if isinstance(one, exp.Anonymous) else None

    def _field_at(self, one: exp.Bracket, struct: exp.Expr, kind: str | None) -> str | None:
        """STRUCT[OFFSET(n)]: puts the field's name there, and gives its type; None of all else."""
        named, place = compound.fields(kind) or [], one.expressions[0]
        if not isinstance(struct, exp.Column | exp.Dot) or not isinstance(place, exp.Literal) or not named:
            return None
        number = int(place.name) - int(one.args.get("offset") or 0)
        if not 0 <= number < len(named):
            raise checks.refused(f"Field ordinal {number} is out of bounds in {kind}")
        name, found = named[number]
        if [each for each, _ in named].count(name) == 1 and name:
            one.replace(exp.Dot(this=struct.copy(), expression=exp.to_identifier(name, quoted=True)))
        return found

    def _case(self, one: exp.Case) -> str | None:
        branches = one.args.get("ifs") or []
        if one.this is not None and compound.fields(self.type_of(one.this)):  # are equal field by field
            for each in branches:
                each.set("this", exp.EQ(this=one.this.copy(), expression=each.this))
            one.set("this", None)
        if (compared := one.this) is not None:
            kind = self.type_of(compared)
            kinds = [self.type_of(each.this) for each in branches]
            nans.mark(one, [compared, *(each.this for each in branches)], [kind, *kinds])
            for each, other in zip(branches, kinds, strict=True):
                checks.refuse(compound.refusal(exp.EQ, [kind, other]))
                checks.signature("operator =", [compared, each.this], [kind, other])
        else:
            for each in branches:
                checks.refuse(checks.no_condition("operator CASE", [self.type_of(each.this)]))
        results = [*(each.args.get("true") for each in branches), one.args.get("default")]
        return self._results("operator CASE", results)

    def _by(self, nodes: Sequence[exp.Expr], types: Sequence[str | None]) -> str | None:
        """The type of what the greatest or the least is looked for by."""
        if nodes and isinstance(nodes[0], exp.HavingMax):
            return self.type_of(nodes[0].expression)
        return types[1] if len(types) > 1 else None

    def _results(self, what: str, results: Sequence[exp.Expr | None]) -> str | None:
        nodes = [each for each in results if each is not None]
        types = [self.type_of(each) for each in nodes]
        if unlike(types):
            raise checks.refused(
                f"No matching signature for {what} for argument types: BOOL, {', '.join(map(shown, types))}"
            )
        types = alike(nodes, types)
        as_common(nodes, types)
        return compound.common(types)

    def _called(self, one: exp.Anonymous, nodes: list[exp.Expr], types: list[str | None]) -> str | None:
        name = one.name.upper()
        first = types[0] if types else None
        checks.refuse(compound.refusal(name, types))
        checks.of_array(name, types)
        if name == "CONCAT":
            types = as_texts(nodes, types)
        if not any(isinstance(each, exp.Kwarg | exp.Star) for each in nodes):
            checks.check(name, nodes, types)
        if name in results.COMMON or name == "NULLIF":
            types = checks.signature(f"function {name}", nodes, types)
            kind = (
                compound.common(types) if name != "NULLIF" or isinstance(first, compound.Compound) else first
            )
            nans.rename(one, kind)
            return kind
        nans.rename(one, first)
        range_order.rename(one, first)
        overflows.mark_safe(one, compound.common(types))
        nans.rename_extreme(one, self._by(nodes, types))
        if first == _BIG and name in ("SUM", "AVG"):
            one.set("this", f"$BIG_{name}")
        elif first == "INTERVAL" and name in ("SUM", "AVG"):
            one.set("this", f"$INTERVAL_{name}")
        elif first == _BIG and name in results.SPREAD:
            nodes[0].replace(as_type(nodes[0], "FLOAT64"))
        elif first == _BIG and name in results.ROOTS:
            return first
        if name in ("LOWER", "UPPER"):
            return "BYTES" if first == "BYTES" else "STRING"
        if name in results.AS_FIRST:
            return first if first != LITERAL else None
        return results.GIVEN.get(name) or compound.given(name, first)
