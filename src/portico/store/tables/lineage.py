"""What came from what: the edges between ML Metadata's artifacts, executions and contexts."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables.columns import TEXT, metadata

# An edge is two rows, one from each of its ends, so that one index answers all that is asked of a node.
edges = sa.Table(
    "lineage_edges",
    metadata,
    sa.Column("node", TEXT, primary_key=True),
    sa.Column("relation", TEXT, primary_key=True),
    sa.Column("other", TEXT, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("labels", sa.LargeBinary, nullable=True),
)
