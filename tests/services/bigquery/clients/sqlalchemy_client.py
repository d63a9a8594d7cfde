"""SQLAlchemy with BigQuery's dialect, unchanged."""

import json
import sys

import sqlalchemy as sa

project, dataset = sys.argv[1:]
engine = sa.create_engine(f"bigquery://{project}/{dataset}")
meta = sa.MetaData()
table = sa.Table(
    "rows", meta, sa.Column("n", sa.Integer), sa.Column("k", sa.String), sa.Column("x", sa.Numeric),
    sa.Column("day", sa.Date),
)  # fmt: skip
meta.create_all(engine)
with engine.connect() as connection:
    connection.execute(table.insert(), [{"n": n, "k": "ab"[n % 2], "x": n, "day": None} for n in range(4)])
    total = sa.func.sum(table.c.n).label("total")
    grouped = connection.execute(sa.select(table.c.k, total).group_by(table.c.k).order_by(total)).all()
    connection.execute(table.update().where(table.c.n == 3).values(k="c"))
    named = connection.execute(sa.text("SELECT k FROM rows WHERE n = :n"), {"n": 3}).scalar()
inspected = sa.inspect(engine)
print(json.dumps({
    "grouped": [tuple(one) for one in grouped], "named": named, "tables": inspected.get_table_names(),
    "columns": [(one["name"], str(one["type"])) for one in inspected.get_columns("rows")],
    "has": inspected.has_table("rows"),
}))  # fmt: skip
