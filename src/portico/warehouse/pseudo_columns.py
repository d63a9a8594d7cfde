"""Columns and conditions that a table has by how it is partitioned: which of them a statement names, and must."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import partitions, storage
from portico.warehouse.catalog import Entry

if TYPE_CHECKING:
    pass


def mentioned(node: exp.Table | None) -> set[str]:
    """The columns that a statement names, in upper case, where one of its tables stands at `node`."""
    return {one.name.upper() for one in node.root().find_all(exp.Column)} if node is not None else set()


def check_filter(entry: Entry, node: exp.Table | None) -> None:
    """
    Raises:
        InvalidArgument: the table wants a filter by its partitions, and the query has none.
    """
    names = {one.upper() for one in partitions.filters(entry)}
    if not names or node is None:
        return
    above: exp.Expr | None = node
    while above is not None:
        conditions = [above.args.get("where"), above.args.get("on")]
        conditions += [one.args.get("on") for one in above.args.get("joins") or ()]
        for one in conditions:
            if isinstance(one, exp.Expr) and names & {each.name.upper() for each in one.find_all(exp.Column)}:
                return
        above = above.parent
    if isinstance(node.parent, exp.Insert | exp.Schema):
        return
    raise InvalidArgument(
        f"Cannot query over table '{entry.project}.{entry.dataset}.{entry.table}' without a filter over column(s) "
        f"{', '.join(repr(one) for one in partitions.filters(entry))} that can be used for partition elimination",
        reason="invalidQuery",
    )


def pseudo(entry: Entry, node: exp.Table | None) -> str:
    """The columns that a table partitioned by ingestion time has beside its schema's, where they are asked for."""
    if not storage.ingested_by(entry):
        return ""
    wanted = {
        "_PARTITIONTIME": storage.PARTITION,
        "_PARTITIONDATE": f"CAST({storage.PARTITION} AS DATE)",
    }
    named = [name for name in wanted if name in mentioned(node)]
    if named:
        exclude(node, named)
    return "".join(f", {wanted[name]} AS {name}" for name in named)


def exclude(node: exp.Table | None, names: list[str]) -> None:
    """Keeps columns that are only there by their names out of `*`."""
    select = node.find_ancestor(exp.Select) if node is not None else None
    for one in select.expressions if select is not None else ():
        star = one.this if isinstance(one, exp.Column) else one
        if isinstance(star, exp.Star):
            have = {each.name.upper() for each in star.args.get("except_") or ()}
            new = [exp.to_identifier(name) for name in names if name not in have]
            star.set("except_", [*(star.args.get("except_") or ()), *new])
