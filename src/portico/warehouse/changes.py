"""INSERT, UPDATE, DELETE, MERGE and TRUNCATE: what they change is kept in the table's past first."""

from __future__ import annotations

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import access, assignments, catalog, literal_rows, storage
from portico.warehouse.asked import Done
from portico.warehouse.catalog import Entry
from portico.warehouse.queries import Query
from portico.warehouse.storage import AT, NOW, PARTITION, WAS
from portico.warehouse.types import Field

_LITERALS = "_literal_rows"
_COUNTS = {"INSERT": "insertedRowCount", "UPDATE": "updatedRowCount", "DELETE": "deletedRowCount"}


class Change(Query):
    """A statement that changes rows."""

    def change(self) -> Done:
        tree = self._tree
        kind = tree.key.upper()
        if isinstance(tree, exp.Delete) and not tree.this:  # DELETE t, without FROM
            [named] = tree.args["tables"]
            tree.set("this", named.pop())
            tree.set("tables", None)
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        entry = self._changed(self.entry(target), kind)
        if isinstance(tree, exp.Update | exp.Delete) and tree.args.get("where") is None:
            raise InvalidArgument(f"{kind} must have a WHERE clause", reason="invalidQuery")
        _spelled_out(tree, entry, target.alias_or_name)
        translated = self._of_literals(tree, entry)
        if translated is None:
            translated = self._translator().query(tree, outermost=False)
            self._fit(tree, translated, entry)
        _place_partition(translated, entry, target.alias_or_name)
        scanned = self.measured()
        if self._asked.dry:
            catalog.do(self._cursor, f"EXPLAIN {translated.sql('duckdb')}")
            return Done(kind, entry.fields, target=entry, scanned=scanned)
        storage.written_by(self._cursor, self._asked.caller)
        counts = self._run(translated, entry, kind)
        catalog.write(self._cursor, entry)
        return Done(kind, affected=sum(counts.values()), counts=counts, target=entry, scanned=scanned)

    def _of_literals(self, tree: exp.Expr, entry: Entry) -> exp.Expr | None:
        """The translation of an INSERT of many rows of literals; None of all else."""
        if not isinstance(tree, exp.Insert) or not isinstance(tree.expression, exp.Values):
            return None
        fields = _fields(tree.this, entry)
        found = literal_rows.read(tree.expression, fields)
        if found is None:
            return None
        self._cursor.register(_LITERALS, found)
        tree.set("expression", exp.Select(expressions=[exp.Literal.number(1)]))
        translated = self._translator().query(tree, outermost=False)
        translated.set("expression", literal_rows.select(_LITERALS, fields))
        return translated

    def _changed(self, named: Entry, kind: str) -> Entry:
        entry = catalog.require(self._cursor, *catalog.key_of(named))
        if (what := entry.body.get("type", "TABLE")) != "TABLE":
            raise InvalidArgument(
                f"{kind} is not allowed on {entry.shown}: it is a {what}", reason="invalidQuery"
            )
        if kind != "INSERT":
            access.require_all(entry, self._asked.caller, kind)
        return entry

    # --- values ---

    def _kinds(self, sql: str) -> list[str]:
        return [str(one[1]) for one in self._cursor.sql(sql).description]

    def _fit(self, tree: exp.Expr, translated: exp.Expr, entry: Entry) -> None:
        """Makes the values of the translated statement those that the columns take."""
        if isinstance(tree, exp.Insert):
            self._fit_rows(tree, translated, entry)
        elif isinstance(tree, exp.Update):
            source = translated.args.get("from_")
            self._fit_update(tree, translated, entry, [translated.this, *([source.this] if source else [])])
        elif isinstance(tree, exp.Merge):
            sides = [translated.this, translated.args["using"]]
            clauses = zip(tree.args["whens"].expressions, translated.args["whens"].expressions, strict=True)
            for written, one in clauses:
                if isinstance(one.args["then"], exp.Update):
                    self._fit_update(written.args["then"], one.args["then"], entry, sides)
                elif isinstance(one.args["then"], exp.Insert):
                    self._fit_merged(written.args["then"], one.args["then"], entry, sides[1])

    def _fit_update(self, written: exp.Expr, made: exp.Expr, entry: Entry, sides: list[exp.Expr]) -> None:
        fields = {one["name"].lower(): one for one in entry.fields}
        pairs = [
            (one, assignments.is_written(before.expression))
            for before, one in zip(written.expressions, made.expressions, strict=True)
            if one.this.name.lower() in fields
        ]
        values = [(one.expression, fields[one.this.name.lower()], literal) for one, literal in pairs]
        said = "Value of type {type} cannot be assigned to {name}"
        found = assignments.fitted(values, _source(sides), self._kinds, said)
        for (one, _), value in zip(pairs, found, strict=True):
            one.set("expression", value)

    def _fit_merged(self, written: exp.Expr, made: exp.Expr, entry: Entry, using: exp.Expr) -> None:
        """`INSERT ROW` takes all columns of the source, in its order."""
        values = made.expression
        if not isinstance(values, exp.Tuple):
            names = [str(one[0]) for one in self._cursor.sql(f"SELECT *{_source([using])}").description]
            assignments.counted(len(names), list(written.this.expressions))
            place = exp.to_identifier(using.alias_or_name, quoted=True) if using.alias_or_name else None
            columns = [exp.Column(this=exp.to_identifier(one, quoted=True), table=place) for one in names]
            made.set("expression", values := exp.Tuple(expressions=columns))
        before = written.expression if isinstance(written.expression, exp.Tuple) else values
        self._fit_values([(before, values)], _fields(written.this, entry), _source([using]))

    def _fit_values(
        self, rows: list[tuple[exp.Expr, exp.Expr]], fields: list[Field | None], source: str
    ) -> None:
        cells = [
            (one, field, assignments.is_written(was))
            for before, made in rows
            for was, one, field in zip(before.expressions, made.expressions, fields, strict=True)
            if field is not None
        ]
        said = "Value has type {type} which cannot be inserted into column {name}"
        found = assignments.fitted(cells, source, self._kinds, said)
        for (one, _, _), value in zip(cells, found, strict=True):
            if value is not one:
                one.replace(value)

    def _fit_rows(self, tree: exp.Expr, translated: exp.Expr, entry: Entry) -> None:
        fields = _fields(tree.this, entry)
        made = translated.expression
        if isinstance(made, exp.Values):
            self._fit_values(
                list(zip(tree.expression.expressions, made.expressions, strict=True)), fields, ""
            )
            return
        assignments.counted(len(self._kinds(made.sql("duckdb"))), fields)
        if None in fields:  # _PARTITIONTIME among them
            return
        shown = tree.expression.expressions if isinstance(tree.expression, exp.Select) else []
        literal = (
            [assignments.is_written(one) for one in shown]
            if len(shown) == len(fields)
            else [False] * len(fields)
        )
        known = [one for one in fields if one is not None]
        translated.set("expression", assignments.select_fitted(made, literal, known, self._kinds))

    def _match_once(self, target: exp.Expr, source: exp.Expr, condition: str) -> None:
        """
        Raises:
            InvalidArgument: a row of the target would be changed by several of the source.
        """
        if catalog.first(self._cursor, assignments.once(target, source, condition)) is not None:
            raise InvalidArgument(
                "UPDATE/MERGE must match at most one source row for each target row", reason="invalidQuery"
            )

    # --- running ---

    def _run(self, translated: exp.Expr, entry: Entry, kind: str) -> dict[str, int]:
        """Changes the rows; how many of which kind."""
        if kind == "MERGE":
            return self._merge(translated, entry)
        if kind != "INSERT":
            storage.keep(self._cursor, entry, _touched(translated), kind == "DELETE")
        if kind == "UPDATE":
            if source := translated.args.get("from_"):
                self._match_once(translated.this, source.this, translated.args["where"].this.sql("duckdb"))
            for one in _stamps(translated.this):
                translated.append("expressions", one)
        row = catalog.first(self._cursor, translated.sql("duckdb"))
        return {_COUNTS[kind]: int(row[0]) if row else 0}

    def _merge(self, translated: exp.Expr, entry: Entry) -> dict[str, int]:
        clauses = translated.args["whens"].expressions
        updates = [one.args["then"] for one in clauses if isinstance(one.args["then"], exp.Update)]
        for one in updates:
            for stamp in _stamps(translated.this):
                one.append("expressions", stamp)
        if matched := [one.args.get("condition") for one in clauses if one.args.get("matched")]:
            condition = f"({translated.args['on'].sql('duckdb')})"
            if all(matched):
                condition += f" AND ({' OR '.join(one.sql('duckdb') for one in matched)})"
            self._match_once(translated.this, translated.args["using"], condition)
        changing = [one for one in clauses if not isinstance(one.args["then"], exp.Insert)]
        if changing:
            by_source = any(not one.args.get("matched") for one in changing)
            storage.keep(self._cursor, entry, "TRUE" if by_source else _matched(translated), None)
        translated.set("returning", exp.Returning(expressions=[exp.column("merge_action")]))
        counts = self._counted(translated.sql("duckdb"))
        if changing:
            storage.settle(self._cursor, entry)
        return counts

    def _counted(self, sql: str) -> dict[str, int]:
        found = dict.fromkeys(_COUNTS.values(), 0)
        for (action,) in catalog.do(self._cursor, sql):
            found[_COUNTS[str(action)]] += 1
        return found

    def truncate(self) -> Done:
        [table] = self._tree.expressions
        entry = self._changed(self.entry(table), "TRUNCATE TABLE")
        affected = 0
        if not self._asked.dry:
            affected = storage.delete(self._cursor, entry, "TRUE")
            catalog.write(self._cursor, entry)
        return Done("TRUNCATE_TABLE", affected=affected, counts={"deletedRowCount": affected}, target=entry)


def _stamps(target: exp.Expr) -> list[exp.Expr]:
    """When a row was changed, and which one it was."""
    was: exp.Expr = exp.maybe_parse(f"{WAS} = x", dialect="duckdb")
    was.set("expression", exp.column("rowid", table=target.alias_or_name, quoted=False))
    return [exp.maybe_parse(f"{AT} = {NOW}", dialect="duckdb"), was]


def _spelled_out(tree: exp.Expr, entry: Entry, name: str) -> None:
    """Gives an INSERT without columns those of the schema (what is stored has more), DEFAULT its value, and what SET
    assigns the form that DuckDB knows."""
    if isinstance(tree, exp.Insert):
        if not isinstance(tree.this, exp.Schema):
            tree.set("this", exp.Schema(this=tree.this, expressions=_identifiers(entry)))
        fields = _fields(tree.this, entry)
        for row in tree.expression.expressions if isinstance(tree.expression, exp.Values) else ():
            assignments.filled(row, fields)
    elif isinstance(tree, exp.Update):
        assignments.whole(tree, entry, name)
    elif isinstance(tree, exp.Merge):
        for then in [one.args["then"] for one in tree.args["whens"].expressions]:
            if isinstance(then, exp.Update):
                assignments.whole(then, entry, name)
            elif isinstance(then, exp.Insert):
                if not isinstance(then.this, exp.Tuple):
                    columns = [exp.column(each) for each in _identifiers(entry)]
                    then.set("this", exp.Tuple(expressions=columns))
                fields = _fields(then.this, entry)
                if isinstance(then.expression, exp.Tuple):
                    assignments.filled(then.expression, fields)


def _fields(columns: exp.Expr, entry: Entry) -> list[Field | None]:
    return assignments.columns_of([one.name for one in columns.expressions], entry)


def _source(sides: list[exp.Expr]) -> str:
    return f" FROM {', '.join(one.sql('duckdb') for one in sides)}"


def _identifiers(entry: Entry) -> list[exp.Identifier]:
    return [exp.Identifier(this=one["name"], quoted=True) for one in entry.fields]


def _place_partition(translated: exp.Expr, entry: Entry, name: str) -> None:
    """Puts the stored column for _PARTITIONTIME and _PARTITIONDATE of the table that is changed."""
    if not storage.ingested_by(entry):
        return
    stored = exp.to_identifier(PARTITION.strip('"'), quoted=True)
    if isinstance(translated.this, exp.Schema):
        for one in translated.this.expressions:
            if one.name.upper() == "_PARTITIONTIME":
                one.replace(stored.copy())
    for column in list(translated.find_all(exp.Column)):
        pseudo = column.name.upper()
        if pseudo not in ("_PARTITIONTIME", "_PARTITIONDATE") or column.table not in ("", name):
            continue
        if column.find_ancestor(exp.Subquery):
            continue
        made: exp.Expr = exp.Column(this=stored.copy(), table=column.args.get("table"))
        column.replace(exp.cast(made, "DATE", dialect="duckdb") if pseudo == "_PARTITIONDATE" else made)


def _touched(translated: exp.Expr) -> str:
    """DuckDB's condition for the rows that an UPDATE or DELETE is about."""
    table = translated.this.copy()
    rowid = exp.column("rowid", table=table.alias_or_name, quoted=False)
    select = exp.Select(expressions=[rowid], from_=exp.From(this=table))
    source = translated.args.get("from_")
    if source is not None:
        select.append("joins", exp.Join(this=source.this.copy(), kind="CROSS"))
    select.set("where", translated.args["where"].copy())
    return f"rowid IN ({select.sql('duckdb')})"


def _matched(merge: exp.Expr) -> str:
    """DuckDB's condition for the rows that a MERGE finds in its source."""
    table = merge.this.copy()
    rowid = exp.column("rowid", table=table.alias_or_name, quoted=False)
    join = exp.Join(this=merge.args["using"].copy(), on=merge.args["on"].copy())
    select = exp.Select(expressions=[rowid], from_=exp.From(this=table), joins=[join])
    return f"rowid IN ({select.sql('duckdb')})"
