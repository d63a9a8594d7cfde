from __future__ import annotations

from collections.abc import Callable

import pytest

from portico.errors import InvalidArgument
from portico.services.standard.fields import FieldTypes
from portico.services.standard.order import Term, compile_order, parse_order

Schema = Callable[[str], FieldTypes]

ROWS = [
    {"name": "a", "displayName": "x", "createTime": "2024-01-01T01:00:00+02:00", "rows": "9"},
    {"name": "b", "displayName": "y", "createTime": "2024-01-01T00:00:00Z", "rows": "10"},
    {"name": "c", "displayName": "x", "createTime": "2024-01-02T00:00:00Z"},
]


def names(text: str) -> str:
    return "".join(row["name"] for row in compile_order(text)(ROWS))


def test_orders() -> None:
    assert names("") == "abc"
    assert names("create_time") == "abc"
    assert names("createTime desc") == "cba"
    assert names("display_name desc, create_time desc") == "bca"
    assert names("display_name,create_time DESC") == "cab"
    assert names("rows") == "cba"  # text where nothing says otherwise; absent first


def test_equal_rows_keep_their_order() -> None:
    assert names("display_name") == "acb"
    assert names("display_name desc") == "bac"


def test_numbers_that_json_writes_as_strings(schema: Schema) -> None:
    jobs = [{"completionStats": {"successfulCount": count}} for count in ("9", "10", "8")]
    sort = compile_order("completion_stats.successful_count", schema("BatchPredictionJob"))
    assert [job["completionStats"]["successfulCount"] for job in sort(jobs)] == ["8", "9", "10"]


def test_terms() -> None:
    assert parse_order("create_time desc") == [Term(("createTime",), True)]


@pytest.mark.parametrize(
    "text", ["create_time down", "a,,b", ",", "a b c", "a;b", "name, name desc", "no_such_field", "labels"]
)
def test_refused(text: str, schema: Schema) -> None:
    with pytest.raises(InvalidArgument) as caught:
        compile_order(text, schema("Model"))
    assert caught.value.violations[0].field == "orderBy"


def test_only_what_the_collection_sorts_by() -> None:
    with pytest.raises(InvalidArgument, match="takes createTime"):
        parse_order("display_name", sortable={"createTime"})
