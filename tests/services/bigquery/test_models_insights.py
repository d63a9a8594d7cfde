"""CONTRIBUTION_ANALYSIS by the official client: what ML.GET_INSIGHTS says is what pandas counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected

ROWS = 800


def sales() -> pd.DataFrame:
    draw = np.random.default_rng(11)
    table = pd.DataFrame(
        {
            "city": draw.choice(["bern", "rome", "oslo"], ROWS, p=[0.6, 0.3, 0.1]),
            "shop": draw.integers(1, 4, ROWS),
            "online": draw.random(ROWS) < 0.5,
            "guests": draw.integers(1, 9, ROWS),
            "day": draw.integers(0, 20, ROWS),
            "is_test": draw.random(ROWS) < 0.5,
        }
    )
    table["income"] = draw.integers(1, 50, ROWS) + 60 * ((table.city == "rome") & table.is_test)
    table["region"] = table.city.map({"bern": "north", "rome": "south", "oslo": "north"})
    return table


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("shops")
    made.load_table_from_dataframe(sales(), "shops.sales").result()
    return made


def insights(client: bigquery.Client, metric: str, columns: str, more: str = "") -> list[Any]:
    client.query(
        f"""CREATE OR REPLACE MODEL shops.why OPTIONS(model_type='CONTRIBUTION_ANALYSIS', is_test_col='is_test',
        contribution_metric='{metric}' {more}) AS SELECT {columns}, is_test FROM shops.sales"""
    ).result()
    return list(client.query("SELECT * FROM ML.GET_INSIGHTS(MODEL shops.why)").result())


def test_sums_are_pandas(client: bigquery.Client) -> None:
    found = insights(client, "SUM(income)", "income, city, shop, online", ", min_apriori_support=0.05")
    assert found[0].contributors == ["all"] and found[0].city is None
    assert [one.contribution for one in found] == sorted((one.contribution for one in found), reverse=True)
    assert set(found[0].keys()) >= {
        "contributors",
        "city",
        "shop",
        "online",
        "metric_test",
        "apriori_support",
    }
    table = sales()
    whole = table.groupby("is_test").income.sum()
    [rome] = [one for one in found if one.contributors == ["city=rome"]]
    inside = table[table.city == "rome"].groupby("is_test").income.sum()
    assert (rome.metric_test, rome.metric_control) == (inside[True], inside[False])
    ratio = (whole[True] - inside[True]) / (whole[False] - inside[False])
    assert rome.unexpected_difference == pytest.approx(inside[True] - inside[False] * ratio)
    assert rome.relative_difference == pytest.approx(inside[True] / inside[False] - 1)
    assert rome.apriori_support == pytest.approx((inside / whole).max())
    # No segment that is large enough is missing.
    expected = 1
    for columns in (["city"], ["shop"], ["online"], ["city", "shop"], ["city", "online"], ["shop", "online"],
                    ["city", "shop", "online"]):  # fmt: skip
        sums = table.groupby([*columns, "is_test"]).income.sum().unstack(fill_value=0)
        expected += int(((sums / whole).max(axis=1) >= 0.05).sum())
    assert len(found) == expected


def test_ratios_add_up_over_a_dimension(client: bigquery.Client) -> None:
    found = insights(client, "sum(income) / sum(guests)", "income, guests, city", ", min_apriori_support=0.0")
    by_city = {one.city: one for one in found}
    table = sales()
    sums = table.groupby(["city", "is_test"])[["income", "guests"]].sum()
    rome = by_city["rome"]
    assert rome.metric_test == pytest.approx(sums.income["rome", True] / sums.guests["rome", True])
    rest = table[(table.city != "rome") & table.is_test]
    assert rome.metric_test_over_complement == pytest.approx(
        rome.metric_test / (rest.income.sum() / rest.guests.sum())
    )
    parts = [by_city[one].aumann_shapley_attribution for one in ("bern", "rome", "oslo")]
    whole = by_city[None]
    assert sum(parts) == pytest.approx(whole.metric_test - whole.metric_control)
    assert whole.aumann_shapley_attribution == pytest.approx(sum(parts))
    assert rome.contribution == abs(rome.aumann_shapley_attribution)


def test_sums_by_category(client: bigquery.Client) -> None:
    found = insights(client, "SUM(income)/COUNT(DISTINCT day)", "income, day, city")
    table = sales()
    bern = table[(table.city == "bern") & table.is_test]
    [row] = [one for one in found if one.city == "bern"]
    assert row.metric_test == pytest.approx(bern.income.sum() / bern.day.nunique())
    test = table[table.is_test]
    assert row.metric_test_over_population == pytest.approx(
        row.metric_test / (test.income.sum() / test.day.nunique())
    )


def test_redundant_insights_are_pruned_and_the_largest_kept(client: bigquery.Client) -> None:
    columns = "income, city, region"
    every = insights(client, "SUM(income)", columns, ", min_apriori_support=0.01")
    pruned = insights(
        client,
        "SUM(income)",
        columns,
        ", min_apriori_support=0.01, pruning_method='PRUNE_REDUNDANT_INSIGHTS'",
    )
    # city=rome and region=south are both city=rome, region=south.
    assert {tuple(one.contributors) for one in every} - {tuple(one.contributors) for one in pruned} == {
        ("city=bern",), ("city=rome",), ("city=oslo",), ("region=south",),
    }  # fmt: skip
    top = insights(client, "SUM(income)", columns, ", top_k_insights_by_apriori_support=4")
    least = sorted((one.apriori_support for one in every), reverse=True)[3]
    assert len(top) == 4 and min(one.apriori_support for one in top) == pytest.approx(least)
    [(rows,)] = answered(client, "SELECT COUNT(*) FROM ML.GET_INSIGHTS(MODEL shops.why) WHERE city IS NULL")
    assert rows >= 1
    options = client.get_model("shops.why").training_runs[0]["trainingOptions"]
    assert options["contributionMetric"] == "SUM(income)" and options["isTestColumn"] == "is_test"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("contribution_metric='AVG(income)', is_test_col='is_test'", "AVG"),
        ("contribution_metric='SUM(income)'", "IS_TEST_COL"),
        ("contribution_metric='SUM(income)', is_test_col='city'", "BOOL"),
        (
            """contribution_metric='SUM(income)', is_test_col='is_test', min_apriori_support=0.1,
            top_k_insights_by_apriori_support=3""",
            "only one",
        ),
        ("contribution_metric='SUM(income)', is_test_col='is_test', dimension_id_cols=['city']", "guests"),
        ("contribution_metric='SUM(lost)', is_test_col='is_test'", "lost"),
    ],
)
def test_what_is_wrong_is_said(client: bigquery.Client, options: str, said: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=said):
        client.query(
            f"""CREATE OR REPLACE MODEL shops.x OPTIONS(model_type='CONTRIBUTION_ANALYSIS', {options})
            AS SELECT income, city, guests, is_test FROM shops.sales"""
        ).result()
