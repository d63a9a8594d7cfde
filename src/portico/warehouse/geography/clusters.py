"""ST_CLUSTERDBSCAN: geographies that lie close together, by density.

https://cloud.google.com/bigquery/docs/reference/standard-sql/geography_functions#st_clusterdbscan
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from portico.warehouse.geography.measures import distance


def dbscan(shapes: Sequence[bytes | None], epsilon: float, minimum: int) -> list[int | None]:
    """The number of each geography's cluster, from 0; None of one that is in none, and of NULL. One with at least
    `minimum` of them, itself too, within `epsilon` meters is a core: its cluster has all that are within that of it.

    Raises:
        ValueError: epsilon is negative, or minimum not positive.
    """
    if epsilon < 0 or minimum < 1:
        raise ValueError("ST_CLUSTERDBSCAN needs an epsilon that is not negative, and a positive minimum")
    return list(_clusters(tuple(shapes), epsilon, minimum))


@lru_cache(maxsize=16)  # every row of a window asks with all of its rows
def _clusters(shapes: tuple[bytes | None, ...], epsilon: float, minimum: int) -> tuple[int | None, ...]:
    near: list[list[int]] = [[] for _ in shapes]
    for place, one in enumerate(shapes):
        for other in range(place, len(shapes)):
            two = shapes[other]
            if one is None or two is None:
                continue
            apart = 0.0 if other == place else distance(one, two, False)
            if apart is not None and apart <= epsilon:
                near[place].append(other)
                if other != place:
                    near[other].append(place)
    found: list[int | None] = [None] * len(shapes)
    count = 0
    for place in range(len(shapes)):
        if found[place] is not None or len(near[place]) < minimum:
            continue
        waiting = [place]
        while waiting:
            at = waiting.pop()
            if found[at] is None:
                found[at] = count
                if len(near[at]) >= minimum:
                    waiting += near[at]
        count += 1
    return tuple(found)
