"""`portico demo`: its arguments, its files, and, slow, the whole demos by the numbers they print."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
from tests import environments

from portico.client import declaration
from portico.demos import bqml, bqml_sql, pictures, training
from portico.demos import run as demo

PORTICO = [sys.executable, "-m", "portico.cli.main"]


def run(*args: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PORTICO, "demo", *args], capture_output=True, text=True, timeout=timeout, check=False
    )


def test_an_unknown_demo_says_which_there_are() -> None:
    done = run("fairnes")
    assert done.returncode == 1 and done.stdout == ""
    assert (
        done.stderr
        == "portico: There is no demo 'fairnes'; there are bikes, fairness, employment, training, bqml, "
        "pipeline.\n"
    )


def test_no_two_demos_share_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTICO_HOME", str(tmp_path / "home"))
    homes = [demo.own_home(name) for name in demo.SCRIPTS]
    assert homes[0] == tmp_path / "home-demo"
    assert len({*homes, tmp_path / "home"}) == len(demo.SCRIPTS) + 1


@pytest.mark.parametrize("name", list(demo.SCRIPTS))
def test_a_demo_has_its_script_and_its_steward(name: str) -> None:
    script, steward = demo.SCRIPTS[name]
    folder = Path(demo.__file__).parent
    assert (folder / script).exists()
    if not steward:
        return
    declared = declaration.load(folder / f"{steward}.yaml")
    assert declared.name == steward and declared.spec["acceptable"]


def test_a_clock_that_stands_later_is_said_before_anything_is_made(new_portico: Any) -> None:
    server = new_portico()
    server.start()
    try:
        clock = {"time": "2024-05-01T00:00:00Z"}
        requests.post(
            f"{server.url}/apis/portico/v1/clock:advance", json=clock, timeout=240
        ).raise_for_status()
        done = run("employment", "--home", str(server.home))
        assert done.returncode == 1
        assert "shows 2024-05-01; it does not go back to 2016-01-01" in done.stderr
        assert "Traceback" not in done.stderr
        found = requests.get(
            f"{server.url}/v1/projects/portico/locations/us-central1/datasets", timeout=240
        ).json()
        assert not found.get("datasets")
    finally:
        server.stop()


def test_each_year_is_told_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    from portico.demos import bikes

    when = pd.Series(pd.date_range("2012-12-30", "2013-01-03 23:00", freq="h"))
    hours = pd.DataFrame({"when": when, "count": 10.0, "static": 15.0})
    for before, until in ((0, 48), (48, 96), (96, 120)):  # the second two days are of both years
        bikes.show_lived(hours, [9.0] * until, before)
    lines = capsys.readouterr().out.split("\n")
    assert lines == [
        "  2012: mean absolute error 50% left alone, 10% with the steward",
        "  2013: mean absolute error 50% left alone, 10% with the steward",
        "",
    ]


def gap(value: float) -> dict[str, Any]:
    return {"value": value, "interval": [value - 0.01, value + 0.01]}


def price(method: str, constraint: str, bound: float | None, accuracy: float) -> dict[str, Any]:
    names = ("demographicParityDifference", "equalizedOddsDifference")
    return {
        "method": method, "constraint": constraint, "bound": bound, "accuracy": accuracy,
        "served": method.startswith("AutoML"), "gaps": {name: gap(0.1) for name in names},
    }  # fmt: skip


@pytest.mark.parametrize("gated", [True, False])
def test_the_fairness_picture_is_drawn_with_and_without_gates(gated: bool, tmp_path: Path) -> None:
    prices = [
        price("AutoML", "", None, 0.86),
        price("LightGBM", "", None, 0.85),
        price("ExponentiatedGradient", "demographicParityDifference", 0.05, 0.84),
        price("ExponentiatedGradient", "demographicParityDifference", 0.01, 0.83),
    ]
    gates = [
        {"gate": "better than the champion", "passed": True, "first": 0.29, "second": 0.3},
        {"gate": "fairness", "passed": False, "champion": gap(0.1), "challenger": gap(0.2), "most": 0.12},
    ]
    path = pictures.fairness(prices, gates if gated else [], None, tmp_path / "fairness.png")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


def test_the_control_picture_is_drawn(tmp_path: Path) -> None:
    when = pd.date_range("2016-01-01", periods=4, freq="QS", tz="UTC")
    periods = pd.DataFrame(
        {"when": when, "logLoss": 0.38, "interval": [[0.37, 0.39]] * 4, "SEX": 0.01, "RAC1P": 0.05}
    )
    series = [(moment.isoformat(), 0.01 * number) for number, moment in enumerate(when)]
    drift = {name: {"largest": 0.03, "series": series} for name in "abcd"}
    limits = {"logLoss": 0.4, "SEX": 0.05, "RAC1P": 0.15}
    path = pictures.control(periods, drift, limits, 0.03, tmp_path / "control.png")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


# --- the whole of it ---


def results(name: str, home: Path) -> dict[str, Any]:
    done = run(name, "--home", str(home), "--json", timeout=1500)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_code_that_is_trained_knows_nothing_of_portico() -> None:
    code = Path(training.SCRIPT).read_text()
    assert "portico" not in code.lower()
    imported = {node.module or "" for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} == {"pathlib", "sklearn"}


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_ones_own_code_is_tuned_served_and_repeated(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    environments.share(tmp_path / "home")
    found = results("training", tmp_path / "home")
    assert len(found["trials"]) == 8
    aucs = [one["metric.auc"] for one in found["trials"]]
    assert aucs == sorted(aucs, reverse=True) and aucs[0] == found["best"]["auc"] > 0.92
    assert found["rerun"]["identical"] is True
    assert [one["name"] for one in found["rerun"]["files"]] == ["model/model.joblib"]
    drawn = "\n".join(found["lineage"])
    assert "census.csv" in drawn and "google.VertexEndpoint" in drawn
    assert f"census-trial-{found['best']['trial']}" in drawn


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_sql_trains_explains_registers_and_foretells(tmp_path: Path) -> None:
    found = results("bqml", tmp_path / "home")
    assert sum(found["rows"].values()) > 320_000
    measured = found["evaluation"]
    trees, logistic, both = (measured[name] for name in ("late_trees", "late_logistic", "difference"))
    assert trees["roc_auc"] > 0.7 and logistic["roc_auc"] > 0.68
    assert trees["log_loss"] == pytest.approx(both["trees_loss"], abs=1e-6)  # two ways to one number
    assert logistic["log_loss"] == pytest.approx(both["logistic_loss"], abs=1e-6)
    assert both["low"] < both["difference"] < both["high"] and trees["log_loss"] < both["share_loss"]
    by = found["comparison"]["difference"]  # on other days: those of the evaluation decided nothing
    assert found["chosen"] == ("late_trees" if by["low"] > 0 else "late_logistic")
    assert by["days"] > 30 and by["trees_loss"] != both["trees_loss"]
    assert len(found["explained"]["flight"]["top_feature_attributions"]) == 5
    assert found["served"]["endpoint"] == pytest.approx(found["served"]["sql"], abs=1e-9)
    assert "dep_delay" not in found["served"]["instance"]  # not known when the question is asked
    assert len(found["forecast"]["starts"]) == 12
    assert found["forecast"]["arimaPlus"] < 0.9 * found["forecast"]["seasonalNaive"]
    assert (tmp_path / "home" / "demo" / "forecast.png").exists()


def test_no_model_is_chosen_by_the_days_that_it_is_measured_on() -> None:
    for made in (
        *bqml_sql.MODELS.values(),
        bqml_sql.compare("choose"),
        bqml_sql.evaluate("late_trees", "choose"),
    ):
        assert "'test'" not in made
    assert "'choose'" not in bqml_sql.compare("test") and list(bqml.PARTS) == [
        "train",
        "tune",
        "choose",
        "test",
    ]


def verdict_of(low: float, high: float) -> str:
    return bqml.verdict(
        {"difference": (low + high) / 2, "low": low, "high": high, "days": 73, "share_loss": 0.5,
         "trees_loss": 0.45, "logistic_loss": 0.46}
    )  # fmt: skip


def test_the_baseline_is_said_to_be_as_good_where_it_is() -> None:
    assert verdict_of(-0.01, 0.02).startswith("The baseline is as good")
    assert verdict_of(0.01, 0.02).startswith("The trees are better")
    assert verdict_of(-0.02, -0.01).startswith("The baseline is better")
    assert "takes 10% off" in verdict_of(0.01, 0.02)


def test_the_forecast_picture_is_drawn(tmp_path: Path) -> None:
    when = pd.date_range("2019-01-01", periods=8)
    past = pd.DataFrame({"day": when, "bikes": 100.0})
    days = past.assign(origin=when[0], forecast=90.0, low=80.0, high=120.0, naive=110.0)
    path = pictures.forecast(past, days, tmp_path / "forecast.png")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_the_steward_keeps_the_bikes(tmp_path: Path) -> None:
    found = results("bikes", tmp_path / "home")
    assert [year["year"] for year in found["years"]] == list(range(2012, 2020))
    assert all(year["steward"] < 0.7 * year["static"] for year in found["years"])
    episodes = found["episodes"]
    assert {"PROMOTED", "REJECTED"} <= {episode["outcome"] for episode in episodes}
    assert all(episode["replayAgrees"] and episode["reason"] for episode in episodes)
    assert any("RETRAINING" in episode["states"] for episode in episodes)
    assert (tmp_path / "home" / "demo" / "timeline.png").exists()


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_a_fairness_gate_stops_a_better_challenger(tmp_path: Path) -> None:
    found = results("fairness", tmp_path / "home")
    parity = "demographicParityDifference"
    before, after = (found["groups"][name]["sex"]["gaps"][parity] for name in ("unmitigated", "reweighed"))
    assert after["interval"][1] < before["interval"][0]  # reweighing narrows the gap beyond doubt
    assert (before["high"], before["low"]) == ("sex=Male", "sex=Female")

    def priced(method: str, constraint: str, bound: float | None) -> dict[str, Any]:
        [row] = [
            r for r in found["mitigation"]
            if (r["method"], r["constraint"], r["bound"]) == (method, constraint, bound)
        ]  # fmt: skip
        return row

    free = priced("LightGBM", "", None)
    tight = priced("ExponentiatedGradient", parity, 0.01)
    assert free["cost"] == 0 and tight["costInterval"][0] > 0
    assert tight["gaps"][parity]["value"] < free["gaps"][parity]["value"] / 2

    episode = found["episode"]
    assert episode["outcome"] == "REJECTED" and episode["replayAgrees"]
    assert not {"SHADOW", "CANARY", "PROMOTED"} & set(episode["states"])
    gates = {gate["gate"]: gate for gate in episode["gates"] if gate["gate"] != "fairness"}
    assert all(gate["passed"] for gate in gates.values())
    assert gates["better than the champion"]["interval"][0] > 0
    stopped = [gate for gate in episode["gates"] if not gate["passed"]]
    assert stopped and {gate["gate"] for gate in stopped} == {"fairness"}
    assert all(gate["challenger"]["value"] > gate["most"] for gate in stopped)
    assert episode["reason"].startswith("Gate 'fairness' failed")
    assert found["remedy"]["gaps"]["sex"]["value"] < stopped[0]["challenger"]["value"]
    assert (tmp_path / "home" / "demo" / "fairness.png").exists()


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_the_control_is_let_be(tmp_path: Path) -> None:
    found = results("employment", tmp_path / "home")
    assert found["episodes"] == [] and found["retrainings"] == 0
    assert [year["year"] for year in found["years"]] == [2016, 2017, 2018]
    limit = found["deployment"]["logLoss"] * 1.1
    assert all(year["logLoss"]["value"] < limit for year in found["years"])
    assert len(found["acceptable"]) == 3 and all(item["holds"] for item in found["acceptable"])
    # What moved was seen all the same.
    assert found["drift"]["ANC"]["beyond"] > 0
    assert all(one["windows"] >= 11 for one in found["drift"].values())
    assert abs(found["retrained"]["gain"]) < 0.05 * found["retrained"]["second"]
    assert (tmp_path / "home" / "demo" / "control.png").exists()
