# ruff: noqa: E501
"""SEARCH, VECTOR_SEARCH and KLL_QUANTILES."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from portico.errors import InvalidArgument, PorticoError, Unimplemented
from portico.warehouse.asked import Asked
from portico.warehouse.engine import Warehouse


@pytest.fixture(scope="module", autouse=True)
def tables(warehouse: Warehouse) -> None:
    warehouse.run(
        "CREATE TABLE d.base AS SELECT id, [CAST(id AS FLOAT64), 1.0] AS e FROM UNNEST([1, 2, 3, 4]) AS id",
        Asked("p"),
    )


def rows(warehouse: Warehouse, text: str) -> list[tuple[Any, ...]]:
    done = warehouse.run(text, Asked("p", "p.d"))[-1]
    assert done.rows is not None
    return [tuple(row.values()) for row in done.rows.to_pylist()]


@pytest.mark.parametrize(("arguments", "found"), [
    ("'Foo-bar baz', 'bar foo'", True), ("'foobar', 'foo'", False), ("['a', 'b c'], 'c a'", True),
    ("('x', 'y'), 'x y'", True), ("STRUCT(1 AS n, 'dog' AS s), 'dog'", True), ("5, '5'", False),
    ("JSON '{\"k\": [\"v w\"]}', 'w'", True), ("JSON '{\"k\": \"v\"}', 'k'", False),
    ("JSON '{\"k\": \"v\"}', 'k', json_scope => 'JSON_KEYS'", True),
    ("'foo.bar', '`foo.`'", False), ("'foo..bar', '`foo.`'", True), ("'x foo-bar', '`Foo-Bar`'", True),
    ("CAST(NULL AS STRING), 'a'", False), ("'aB', 'ab', analyzer => 'NO_OP_ANALYZER'", False),
    ("'a1 b22', 'b22', analyzer => 'PATTERN_ANALYZER', analyzer_options => '{\"patterns\": [\"[a-z][0-9]+\"]}'", True),
])  # fmt: skip
def test_search_finds_all_terms_or_nothing(warehouse: Warehouse, arguments: str, found: bool) -> None:
    assert rows(warehouse, f"SELECT SEARCH({arguments})") == [(found,)]


@pytest.mark.parametrize(("query", "found"), [
    ("entry AND created", True), ("entry AND deleted", False), ("deleted OR created", True), ("deleted OR moved", False),
    ("foo deleted OR created", True), ("moved foo OR created", False), ("(moved foo) OR created", True),
    ("(deleted OR created) (bar OR baz)", True), ("(deleted OR created) baz", False), ("entry -deleted", True),
    ("entry -created", False), ("-deleted", True), ('"foo bar"', True), ('"bar foo"', False), ('"entry foo-bar created"', True),
    ('"entry created"', False), ('"foo bar" OR moved', True), ('-"foo bar"', False), ("foo-bar", True), ("`Foo-Bar` created", True),
    ("`Foo-Ba`", False), ("foo\\\\-bar", True), ("\\\\(created\\\\)", True), ("and", False), ("or OR entry", True), ("entry OR", False),
])  # fmt: skip
def test_search_queries_are_put_together(warehouse: Warehouse, query: str, found: bool) -> None:
    assert rows(warehouse, f"SELECT SEARCH('Entry Foo-Bar created', '{query}')") == [(found,)]


@pytest.mark.parametrize(("arguments", "terms"), [
    ("'Ab CD', analyzer_options => '{\"token_filters\": [{\"normalizer\": {\"mode\": \"NONE\"}}]}'", ["Ab", "CD"]),
    ("'Straße Ⅳ', analyzer_options => '{\"token_filters\": [{\"normalizer\": {\"mode\": \"ICU_NORMALIZE\", \"icu_normalize_mode\": \"NFKC\"}}]}'", ["strasse", "iv"]),
    ("'The the end', analyzer_options => '{\"token_filters\": [{\"stop_words\": [\"the\"]}, {\"normalizer\": {\"mode\": \"LOWER\"}}]}'", ["the", "end"]),
    ("'The the end', analyzer_options => '{\"token_filters\": [{\"normalizer\": {\"mode\": \"LOWER\"}}, {\"stop_words\": [\"the\"]}]}'", ["end"]),
    ("'Ab Ño'", ["ab", "Ño"]),
    ("'Ab Ño', analyzer_options => '{\"token_filters\": [{\"normalizer\": {\"mode\": \"UNICODE_LOWER\"}}]}'", ["ab", "ño"]),
    ("'❶ ②', analyzer_options => '{\"token_filters\": [{\"normalizer\": {\"mode\": \"ICU_NORMALIZE\"}}]}'", ["❶", "2"]),
    ("'Ab AB', analyzer => 'PATTERN_ANALYZER', analyzer_options => '{\"patterns\": [\"[A-Z]+\"]}'", ["a", "ab"]),
    ("'a1 b2 c', analyzer_options => '{\"delimiters\": [\"1\", \" \"], \"token_filters\": []}'", ["a", "b2", "c"]),
])  # fmt: skip
def test_texts_are_analyzed_as_the_options_say(
    warehouse: Warehouse, arguments: str, terms: list[str]
) -> None:
    assert rows(warehouse, f"SELECT TEXT_ANALYZE({arguments})") == [(terms,)]


@pytest.mark.parametrize(("text", "said"), [
    ("SELECT SEARCH('a', '\"a b')", "has no end"), ("SELECT SEARCH('a', '(a')", "a bracket in the search query has no end"),
    ("SELECT SEARCH('a', 'a) b')", "nothing opens"), ("SELECT SEARCH('a', 'a', analyzer_options => '{\"token_filters\": [{\"stemmer\": 1}]}')", "normalizer or stop_words"),
    ("SELECT SEARCH('a', '')", "no tokens"), ("SELECT SEARCH('a', NULL)", "must not be NULL"),
    ("SELECT SEARCH('a', 'a', json_scope => 'ALL')", "json_scope must be"), ("SELECT SEARCH('a')", "No matching signature"),
    ("SELECT * FROM VECTOR_SEARCH(TABLE d.base, 'e')", "query_value"),
    ("SELECT * FROM VECTOR_SEARCH(TABLE d.base, 'e', TABLE d.base, distance_type => 'MANHATTAN')", "distance_type must be"),
    ("SELECT * FROM VECTOR_SEARCH(TABLE d.base, 'e', TABLE d.base, top_k => 0)", "top_k must be"),
    ("SELECT * FROM VECTOR_SEARCH(TABLE d.base, 'e', TABLE d.base, nearest => 1)", "no argument nearest"),
    ("SELECT KLL_QUANTILES.EXTRACT_INT64(b'abc', 2)", "Invalid KLL_QUANTILES sketch"),
    ("SELECT KLL_QUANTILES.EXTRACT_INT64(KLL_QUANTILES.INIT_FLOAT64(1.5), 2)", "the sketch is of FLOAT64"),
    ("SELECT KLL_QUANTILES.INIT_INT64(1, 0)", "the precision must be"),
])  # fmt: skip
def test_what_is_wrong_is_told(warehouse: Warehouse, text: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        rows(warehouse, text)
    assert said in refused.value.message


def test_the_nearest_of_each_query_are_found(warehouse: Warehouse) -> None:
    both = "SELECT query.q, base.id, ROUND(distance, 6) FROM VECTOR_SEARCH(TABLE d.base, 'e', (SELECT q, [q, 1.0] AS v FROM UNNEST([2.2, 3.9]) AS q), query_column_to_search => 'v', top_k => 2) ORDER BY 1, 3"
    assert rows(warehouse, both) == [(2.2, 2, 0.2), (2.2, 3, 0.8), (3.9, 4, 0.1), (3.9, 3, 0.9)]
    one = "SELECT base.id FROM VECTOR_SEARCH((SELECT * FROM d.base WHERE id > 1), 'e', query_value => [1.0, 0.0], top_k => 1, distance_type => '{}') "
    assert rows(warehouse, one.format("DOT_PRODUCT")) == [(4,)] and rows(warehouse, one.format("COSINE")) == [
        (4,)
    ]
    alone = rows(
        warehouse,
        "SELECT * FROM VECTOR_SEARCH(TABLE d.base, 'e', query_value => [1.0, 1.0], top_k => 1, options => '{\"use_brute_force\": true}')",
    )
    assert alone == [({"id": 1, "e": [1.0, 1.0]}, 0.0)]


def test_sketches_tell_quantiles_within_their_precision(warehouse: Warehouse) -> None:
    few = "SELECT KLL_QUANTILES.EXTRACT_INT64(s, 4), KLL_QUANTILES.EXTRACT_POINT_INT64(s, 0.5) FROM (SELECT KLL_QUANTILES.INIT_INT64(x) AS s FROM UNNEST(GENERATE_ARRAY(1, 100)) AS x)"
    assert rows(warehouse, few) == [([1, 25, 50, 75, 100], 50)]
    many = "SELECT KLL_QUANTILES.MERGE_FLOAT64(s, 10), KLL_QUANTILES.MERGE_POINT_FLOAT64(s, 0.99), LENGTH(KLL_QUANTILES.MERGE_PARTIAL(s)) FROM (SELECT MOD(x, 7) AS g, KLL_QUANTILES.INIT_FLOAT64(x, 200) AS s FROM UNNEST(GENERATE_ARRAY(1, 100000)) AS x GROUP BY g)"
    [(deciles, point, size)] = rows(warehouse, many)
    assert (
        np.abs(np.array(deciles) - np.linspace(1, 100_000, 11)).max() < 1000
        and abs(point - 99_000) < 1000
        and size < 20_000
    )
    assert rows(
        warehouse,
        "SELECT KLL_QUANTILES.INIT_INT64(x), KLL_QUANTILES.MERGE_POINT_INT64(CAST(NULL AS BYTES), 0.5) FROM UNNEST([1]) AS x WHERE FALSE",
    ) == [(None, None)]
    with pytest.raises(Unimplemented):
        rows(warehouse, "SELECT KLL_QUANTILES.INIT_INT64(1, 100, weight => 2)")


def test_an_index_is_written_down_and_said_not_to_be_used(warehouse: Warehouse) -> None:
    def run(text: str) -> Any:
        return warehouse.run(text, Asked("p", "p.d"))[-1]

    made = run(
        "CREATE VECTOR INDEX near ON d.base(e) STORING (id) OPTIONS (index_type = 'IVF', distance_type = 'COSINE')"
    )
    assert (made.kind, made.operation) == (
        "CREATE_VECTOR_INDEX",
        "CREATE",
    ) and "looks at every row" in made.warnings[0]
    assert (
        run("CREATE VECTOR INDEX IF NOT EXISTS near ON d.base(e) OPTIONS (index_type = 'IVF')").operation
        == "SKIP"
    )
    assert run("CREATE SEARCH INDEX words ON d.base(ALL COLUMNS)").kind == "CREATE_SEARCH_INDEX"
    for text, said in (
        ("CREATE VECTOR INDEX near ON d.base(e) OPTIONS (index_type = 'IVF')", "Already Exists"),
        (
            "CREATE VECTOR INDEX other ON d.base(id) OPTIONS (index_type = 'IVF')",
            "one column of ARRAY<FLOAT64>",
        ),
        ("CREATE VECTOR INDEX other ON d.base(e)", "needs the option index_type"),
        ("CREATE SEARCH INDEX other ON d.base(nothing)", "Column nothing is not present"),
        ("CREATE SEARCH INDEX other ON d.base(id) OPTIONS (colour = 'red')", "Unknown option: colour"),
        ("DROP VECTOR INDEX words ON d.base", "Not found"),
        ("CREATE TABLE d.made (a INT64, b INT64 GENERATED ALWAYS AS (a + 1) STORED)", "GENERATED ALWAYS AS"),
    ):
        with pytest.raises(PorticoError, match=re.escape(said)):
            run(text)
    shown = "SELECT table_name, index_name, index_status, ddl FROM d.INFORMATION_SCHEMA.{}_INDEXES"
    assert rows(warehouse, shown.format("VECTOR")) == [
        (
            "base", "near", "TEMPORARILY DISABLED",
            "CREATE VECTOR INDEX `near` ON `p.d.base`(e) STORING(id) "
            "OPTIONS (index_type = 'IVF', distance_type = 'COSINE')",
        )
    ]  # fmt: skip
    assert (
        rows(warehouse, shown.format("SEARCH"))[0][3]
        == "CREATE SEARCH INDEX `words` ON `p.d.base`(ALL COLUMNS)"
    )
    columns = "SELECT index_name, index_column_name FROM d.INFORMATION_SCHEMA.{}_INDEX_COLUMNS ORDER BY 2"
    assert rows(warehouse, columns.format("VECTOR")) == [("near", "e")]
    assert {name for name, _ in rows(warehouse, columns.format("SEARCH"))} <= {"words"}
    told = "SELECT option_name, option_value FROM d.INFORMATION_SCHEMA.VECTOR_INDEX_OPTIONS ORDER BY 1"
    assert rows(warehouse, told) == [("distance_type", "COSINE"), ("index_type", "IVF")]
    assert run("DROP VECTOR INDEX near ON d.base").operation == "DROP"
    assert rows(warehouse, shown.format("VECTOR")) == []
    assert run("DROP VECTOR INDEX IF EXISTS near ON d.base").operation == "SKIP"
    run("DROP SEARCH INDEX words ON d.base")
