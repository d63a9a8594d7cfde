"""How deployed models served: what was counted, a row for each minute of domain time.

Counts add up, over fronts and over time. So that a table of years stays small, minutes become hours after two days,
hours become days after two months, and days go after ten years (`thin`). What failed before a deployed model was
chosen counts under the deployed model "".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.tables.log import service_counts as _table

PER_OCTAVE: Final = 8  # buckets in which a latency doubles: each is 9% wide
BUCKETS: Final = (
    26 * PER_OCTAVE
)  # bucket k: from 2**(k/8) µs up to the next one's; the last goes up to a minute

_MINUTE: Final = 60
_DAY: Final = 86400
# What rows of a span become when they are so old, in seconds.
_THINNED: Final = ((_MINUTE, 3600, 2 * _DAY), (3600, _DAY, 60 * _DAY))
_KEPT: Final = 3653 * _DAY

_NAMES = ("endpoint", "deployed_model", "start", "span")
_row = [_table.c[name] == sa.bindparam(f"the_{name}") for name in _NAMES]
_body_of = sa.select(_table.c.body).where(*_row)
_update = sa.update(_table).where(*_row)
_insert = sa.insert(_table)


class Counts(msgspec.Struct, omit_defaults=True):
    """What was counted of a deployed model in some time.

    `requests` are all of them, `rows` the instances that were predicted, `errors` requests by the HTTP code that
    they failed with. `buckets` holds the latencies of requests that were answered, or that were given up (499, 504),
    by the number of their bucket; `seconds` is their sum. `busy` has, by front, how long what serves was busy and how
    long it could have been. `shared` says that all fronts ask the same replicas. `queue` is the most requests that
    waited for a replica or a thread at a time, `peak` the highest saturation of a minute among those added up.
    """

    requests: int = 0
    rows: int = 0
    seconds: float = 0.0
    errors: dict[int, int] = {}
    buckets: dict[int, int] = {}
    busy: dict[int, tuple[float, float]] = {}
    shared: bool = False
    queue: int = 0
    peak: float = 0.0

    def add(self, other: Counts) -> None:
        """Adds what another front, or the same one in another second, has counted."""
        self.requests += other.requests
        self.rows += other.rows
        self.seconds += other.seconds
        for code, count in other.errors.items():
            self.errors[code] = self.errors.get(code, 0) + count
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        for front, (busy, whole) in other.busy.items():
            before = self.busy.get(front, (0.0, 0.0))
            self.busy[front] = (before[0] + busy, before[1] + whole)
        self.shared |= other.shared
        self.queue = max(self.queue, other.queue)
        self.peak = max(self.peak, other.peak)

    @property
    def failed(self) -> int:
        """Requests that failed by our fault: 5xx, but for 501, which says that the caller wants what is not built."""
        return sum(count for code, count in self.errors.items() if code >= 500 and code != 501)

    @property
    def saturation(self) -> float | None:
        """The share of time in which what serves was busy, 0 to 1; None when none was measured.

        Fronts that ask the same replicas see only their own requests in them: their busy times add up.
        """
        wholes = [whole for _, whole in self.busy.values()]
        whole = max(wholes, default=0.0) if self.shared else sum(wholes)
        if whole <= 0:
            return None
        return min(1.0, sum(busy for busy, _ in self.busy.values()) / whole)

    def quantile(self, share: float) -> float | None:
        """The latency in seconds that `share` of the requests did not pass; None when there were none.

        Exact up to the width of a bucket, 9%.
        """
        wanted = share * sum(self.buckets.values())
        passed = 0
        for bucket in sorted(self.buckets):
            count = self.buckets[bucket]
            if passed + count >= wanted:
                return float(2 ** ((bucket + (wanted - passed) / count) / PER_OCTAVE) * 1e-6)
            passed += count
        return None


def merged(counts: Iterable[Counts]) -> Counts:
    """Counts of one deployed model in times that follow each other, as one."""
    whole = Counts()
    for one in counts:
        whole.add(one)
        whole.peak = max(whole.peak, one.saturation or 0.0)
    return whole


def add(connection: Connection, endpoint: str, deployed_model: str, at: float, counts: Counts) -> None:
    """Adds what was counted at `at`, in seconds of domain time, in the caller's transaction."""
    _put(connection, endpoint, deployed_model, int(at // _MINUTE) * _MINUTE, _MINUTE, [counts])


def listed(
    connection: Connection,
    endpoint: str | None = None,
    *,
    deployed_model: str | None = None,
    start: float | None = None,
    end: float | None = None,
) -> dict[tuple[str, str], Counts]:
    """By endpoint and deployed model: what was counted in the minutes (or hours, or days) that touch [start, end)."""
    chosen = sa.select(_table).order_by(_table.c.endpoint, _table.c.deployed_model, _table.c.start)
    if endpoint is not None:
        chosen = chosen.where(_table.c.endpoint == endpoint)
    if deployed_model is not None:
        chosen = chosen.where(_table.c.deployed_model == deployed_model)
    if start is not None:
        chosen = chosen.where(_table.c.start + _table.c.span > start)
    if end is not None:
        chosen = chosen.where(_table.c.start < end)
    found: dict[tuple[str, str], list[Counts]] = defaultdict(list)
    for row in connection.execute(chosen):
        found[row.endpoint, row.deployed_model].append(_read(row.body))
    return {key: merged(every) for key, every in found.items()}


@dataclass(frozen=True, slots=True)
class Failed:
    """`errors` of a deployed model (or before one was chosen, "") in the `span` seconds from `start` on, by the HTTP
    code."""

    deployed_model: str
    start: int
    span: int
    errors: dict[int, int]


def failed(connection: Connection, endpoint: str, since: float, until: float) -> Iterator[Failed]:
    """What failed in the minutes (or hours, or days) that begin in [since, until], in no order."""
    chosen = sa.select(_table).where(
        _table.c.endpoint == endpoint, _table.c.start >= since, _table.c.start <= until
    )
    for row in connection.execute(chosen):
        if errors := _read(row.body).errors:
            yield Failed(row.deployed_model, row.start, row.span, errors)


def thin(connection: Connection, now: float) -> None:
    """Makes old minutes into hours, old hours into days, and drops what is too old; `now` is domain time."""
    for span, wider, age in _THINNED:
        old = (_table.c.span == span, _table.c.start < int((now - age) // wider) * wider)
        found: dict[tuple[str, str, int], list[Counts]] = defaultdict(list)
        for row in connection.execute(sa.select(_table).where(*old).order_by(_table.c.start)):
            found[row.endpoint, row.deployed_model, row.start // wider * wider].append(_read(row.body))
        connection.execute(sa.delete(_table).where(*old))
        for (endpoint, deployed_model, start), every in found.items():
            _put(connection, endpoint, deployed_model, start, wider, every)
    connection.execute(sa.delete(_table).where(_table.c.span == _DAY, _table.c.start < now - _KEPT))


def _put(
    connection: Connection, endpoint: str, deployed_model: str, start: int, span: int, every: list[Counts]
) -> None:
    """Adds to the row, which is made when it is not there."""
    values = dict(zip(_NAMES, (endpoint, deployed_model, start, span), strict=True))
    key = {f"the_{name}": value for name, value in values.items()}
    body = connection.execute(_body_of, key).scalar()
    if span == _MINUTE:
        whole = _read(body) if body is not None else Counts()
        for counts in every:
            whole.add(counts)
    else:
        whole = merged([*([_read(body)] if body is not None else []), *every])
    written = _write(whole)
    if body is not None:
        connection.execute(_update, {**key, "body": written})
    else:
        connection.execute(_insert, {**values, "body": written})


_read = msgspec.msgpack.Decoder(Counts).decode
_write = msgspec.msgpack.Encoder().encode
