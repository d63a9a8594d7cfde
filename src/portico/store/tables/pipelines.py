"""Pipelines: what their specs are made of, and the tasks of their runs."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

# A pipeline job's spec in pieces, so that nobody reads all of it to start one task: `name` is a component's; "" is the
# whole spec.
components = sa.Table(
    "pipeline_components",
    metadata,
    sa.Column("run", TEXT, primary_key=True),
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

# See `store.pipelines.Task` for what each column says.
tasks = sa.Table(
    "pipeline_tasks",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("run", TEXT, nullable=False),
    sa.Column("root", sa.BigInteger, nullable=False),
    sa.Column("parent", sa.BigInteger),
    sa.Column("name", TEXT, nullable=False),
    sa.Column("iteration", sa.Integer, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("component", TEXT, nullable=False),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    sa.Column("dependents", sa.LargeBinary, nullable=False),
    sa.Column("waits_for", sa.Integer, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("children", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
    sa.Column("begun", sa.Integer, nullable=False),
    sa.Column("inputs", sa.LargeBinary, nullable=False),
    sa.Column("outputs", sa.LargeBinary, nullable=False),
    sa.Column("statuses", sa.LargeBinary, nullable=False),
    sa.Column("error", sa.LargeBinary, nullable=False),
    sa.Column("job", TEXT),
    sa.Column("create_time", sa.Float, nullable=False),
    sa.Column("start_time", sa.Float),
    sa.Column("end_time", sa.Float),
)
sa.Index("pipeline_tasks_of_run", tasks.c.run, tasks.c.create_time, tasks.c.id)
sa.Index("pipeline_tasks_of_parent", tasks.c.parent, tasks.c.name)

# What needs not be done again: `key` says what a task does, `task` which one has done it; the others say
# what was there when it ended, by which is seen whether that is so still.
cache = sa.Table(
    "pipeline_cache",
    metadata,
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("run", TEXT, nullable=False, index=True),
    sa.Column("task", sa.BigInteger, nullable=False),
    sa.Column("environment", TEXT, nullable=False),
    sa.Column("outputs", TEXT, nullable=False),
)
