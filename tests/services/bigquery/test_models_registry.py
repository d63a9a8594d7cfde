"""A model that CREATE MODEL registers is deployed and called by Vertex AI's official client."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import connected


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("reg")
    made.query(
        """CREATE TABLE reg.t AS SELECT x, ['red', 'green', 'blue'][OFFSET(MOD(x, 3))] AS colour,
        IF(MOD(x, 3) = 1, 'yes', 'no') AS kind, 3.0 * x + IF(MOD(x, 3) = 1, 100, 0) AS y
        FROM UNNEST(GENERATE_ARRAY(1, 600)) AS x"""
    ).result()
    return made


def test_alter_registers_a_model_that_is_there(client: bigquery.Client, aiplatform: Any) -> None:
    client.query("""CREATE MODEL reg.later OPTIONS(model_type='linear_reg', input_label_cols=['y']) AS
        SELECT x, y FROM reg.t""").result()  # fmt: skip
    alter = "ALTER MODEL IF EXISTS reg.later SET OPTIONS (vertex_ai_model_id = '{}', description = 'late')"
    client.query(alter.format("bq_later")).result()
    model = client.get_model("reg.later")
    assert (model.training_runs[0]["vertexAiModelId"], model.description) == ("bq_later", "late")
    assert aiplatform.Model("bq_later").version_id == "1"
    with pytest.raises(Exception, match="registered in Vertex AI already, as bq_later"):
        client.query(alter.format("other")).result()
    client.query(alter.format("other").replace("reg.later", "reg.nothing")).result()
    client.delete_model("reg.later")


def test_a_registered_model_serves(client: bigquery.Client, aiplatform: Any) -> None:
    for version in ("first", "second"):
        client.query(
            f"""CREATE OR REPLACE MODEL reg.m
            TRANSFORM(ML.STANDARD_SCALER(x) OVER () AS x, colour, kind)
            OPTIONS(model_type='logistic_reg', input_label_cols=['kind'], model_registry='VERTEX_AI',
                    vertex_ai_model_id='bq_kind', vertex_ai_model_version_aliases=['{version}'], l2_reg=0.1)
            AS SELECT x, colour, kind FROM reg.t"""
        ).result()
    run = client.get_model("reg.m").training_runs[0]
    assert (run["vertexAiModelId"], run["vertexAiModelVersion"]) == ("bq_kind", "2")
    model = aiplatform.Model("bq_kind")
    assert [one.version_id for one in model.versioning_registry.list_versions()] == ["1", "2"]
    endpoint = model.deploy(machine_type="n1-standard-2")
    [told, other] = endpoint.predict([{"x": 4, "colour": "green"}, {"x": "5", "colour": None}]).predictions
    assert told["predicted_kind"] == ["yes"] and told["kind_values"] == ["yes", "no"]
    assert sum(told["kind_probs"]) == pytest.approx(1.0) and other["predicted_kind"]
    [same] = client.query(
        "SELECT * FROM ML.PREDICT(MODEL reg.m, (SELECT 4 AS x, 'green' AS colour))"
    ).result()
    assert same.predicted_kind_probs[0]["prob"] == pytest.approx(told["kind_probs"][0])
    [explained] = endpoint.explain([{"x": 4, "colour": "green"}]).explanations
    [attribution] = explained.attributions
    total = attribution.baseline_output_value + sum(dict(attribution.feature_attributions).values())
    assert total == pytest.approx(attribution.instance_output_value)
    with pytest.raises(Exception, match="colour"):
        endpoint.predict([{"x": 4}])
    endpoint.delete(force=True)
