"""INSERT, UPDATE, DELETE, MERGE and TRUNCATE: what they change is kept in the table's past first."""

from __future__ import annotations

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import access, catalog, storage
from portico.warehouse.catalog import Entry
from portico.warehouse.queries import Done, Query
from portico.warehouse.storage import AT, NOW, PARTITION

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
        _spelled_out(tree, entry)
        translated = self._translator().query(tree, outermost=False)
        _place_partition(translated, entry, target.alias_or_name)
        for one in translated.find_all(exp.EQ) if isinstance(tree, exp.Update) else ():
            if one.parent is translated and isinstance(one.this, exp.Column):
                one.this.set("table", None)
        scanned = self.measured()
        if self._asked.dry:
            catalog.do(self._cursor, f"EXPLAIN {translated.sql('duckdb')}")
            return Done(kind, entry.fields, target=entry, scanned=scanned)
        counts = self._run(translated, entry, kind)
        catalog.write(self._cursor, entry)
        return Done(kind, affected=sum(counts.values()), counts=counts, target=entry, scanned=scanned)

    def _changed(self, named: Entry, kind: str) -> Entry:
        entry = catalog.require(self._cursor, *catalog.key_of(named))
        if (what := entry.body.get("type", "TABLE")) != "TABLE":
            raise InvalidArgument(
                f"{kind} is not allowed on {entry.shown}: it is a {what}", reason="invalidQuery"
            )
        if kind != "INSERT":
            access.require_all(entry, self._asked.caller, kind)
        return entry

    def _run(self, translated: exp.Expr, entry: Entry, kind: str) -> dict[str, int]:
        """Changes the rows; how many of which kind."""
        if kind == "MERGE":
            return self._merge(translated, entry)
        if kind != "INSERT":
            storage.keep(self._cursor, entry, _touched(translated))
        if kind == "UPDATE":
            translated.append("expressions", _stamp())
        row = catalog.first(self._cursor, translated.sql("duckdb"))
        return {_COUNTS[kind]: int(row[0]) if row else 0}

    def _merge(self, translated: exp.Expr, entry: Entry) -> dict[str, int]:
        clauses = translated.args["whens"].expressions
        updates = [one.args["then"] for one in clauses if isinstance(one.args["then"], exp.Update)]
        for one in updates:
            one.append("expressions", _stamp())
        changing = [one for one in clauses if not isinstance(one.args["then"], exp.Insert)]
        if changing:
            by_source = any(not one.args.get("matched") for one in changing)
            storage.keep(self._cursor, entry, "TRUE" if by_source else _matched(translated))
        translated.set("returning", exp.Returning(expressions=[exp.column("merge_action")]))
        counts = self._counted(translated.sql("duckdb"))
        if changing:
            storage.forget_unchanged(self._cursor, entry)
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


def _stamp() -> exp.Expr:
    found: exp.Expr = exp.maybe_parse(f"{AT} = {NOW}", dialect="duckdb")
    return found


def _spelled_out(tree: exp.Expr, entry: Entry) -> None:
    """Gives an INSERT without columns those of the schema: what is stored has more."""
    if isinstance(tree, exp.Insert) and not isinstance(tree.this, exp.Schema):
        tree.set("this", exp.Schema(this=tree.this, expressions=_identifiers(entry)))
    if isinstance(tree, exp.Merge):
        for one in tree.find_all(exp.Insert):
            values = one.args.get("expression")
            if one.this is None and isinstance(values, exp.Tuple):
                one.set("this", exp.Tuple(expressions=[exp.column(each) for each in _identifiers(entry)]))


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
