"""`portico report`: a model card from what the server knows, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.services.portico.conftest import World, turned

import portico
from portico.cli import report
from portico.errors import NotFound


@pytest.mark.slow
def test_a_model_card_with_its_history(trained: World, tmp_path: Path) -> None:
    world = trained
    world.deploy()
    world.keep()
    world.days(4)
    world.truth = turned
    episode = world.days_until({"PROMOTED"})
    client = portico.Client(world.portico.url)
    page, text = report.write(client, world.model.resource_name, tmp_path)
    told = text.read_text()
    for heading in (
        "Intended use",
        "Data",
        "How good it is",
        "Beside a simple answer",
        "Fairness",
        "As it serves",
        "Before labels come",
        "Drift",
        "Versions",
        "Episodes",
        "Who did what",
    ):
        assert f"## {heading}" in told
    assert "Nobody has written down what it is for" in told and "gs://steward-world/first.csv" in told
    assert "breached → retraining → gating → shadow → canary → promoted" in told and episode["reason"] in told
    touched = told.partition("## Who did what")[2]
    assert "EndpointService.DeployModel" in touched  # the owner's
    assert "endpoints.deployModel" in touched and "stewards.look" in touched  # the steward's
    assert "nothing is known about differences between groups" in told
    shown = page.read_text()
    assert shown.count("data:image/png;base64,") == 2 and episode["reason"][:40] in shown
    assert "95% interval" in told and "rootMeanSquaredError" in told
    measured = [line for line in told.splitlines() if "| rootMeanSquaredError |" in line]
    assert measured and not any("not computed" in line for line in measured)
    world.aiplatform.Model(world.model.resource_name).update(
        description="<script>alert(1)</script> | for tests"
    )
    page, text = report.write(client, world.model.resource_name, tmp_path)
    assert "<script>" not in page.read_text()
    with pytest.raises(NotFound, match="nobody"):
        report.write(client, "nobody", tmp_path)
    client.close()
