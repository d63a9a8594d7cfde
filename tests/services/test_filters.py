from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import InvalidArgument
from portico.services.standard.comparing import matches
from portico.services.standard.fields import FieldTypes
from portico.services.standard.filters import compile_filter

Schema = Callable[[str], FieldTypes]

MODEL = {
    "name": "projects/p/locations/l/models/1234@2",
    "displayName": "bikes_hourly",
    "labels": {"env": "prod", "a key": "x y", "my_key": "1", "empty": "", "a.example/use": "test"},
    "createTime": "2021-05-18T13:30:00.250000Z",
    "versionAliases": ["default", "champion"],
    "deployedModels": [{"deployedModelId": "7"}, {"deployedModelId": "8"}],
    "trainedRows": "9007199254740993",
    "score": 0.5,
    "enabled": True,
    "timeout": "90s",
    "state": "JOB_STATE_SUCCEEDED",
    "metadata": {"rate": 10.0, "component_type": "kind", "field:1": {"numberValue": 3}},
    "metricsSchemaUri": 'gs://bucket/a "b"/c.yaml',
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("  ", True),
        ('display_name="bikes_hourly"', True),
        ("displayName = bikes_hourly", True),
        ("display_name=bikes*", True),
        ('display_name="*hour*"', True),
        ("display_name=hour", False),
        ('display_name:"*_hourly"', True),
        ('display_name!="bikes_hourly"', False),
        ('display_name=!"old_endpoint"', True),
        ('NOT display_name="my_job"', True),
        ('-display_name="bikes_hourly"', False),
        ("labels.env=prod", True),
        ('labels.env="pr*"', True),
        ("labels.env!=prod", False),
        ("labels.missing!=prod", False),
        ("NOT labels.missing=prod", True),
        ('labels."a key"="x y"', True),
        ("labels.my_key=1", True),
        ("labels.a.example/use=test", True),
        ("labels.a.example/use=training", False),
        ("labels:env", True),
        ("labels:nothing", False),
        ("labels.env:*", True),
        ("labels.env: *", True),
        ("labels.nothing:*", False),
        ("labels:*", True),
        ("labels.env:prod", True),
        ('create_time>"2021-05-18T00:00:00Z"', True),
        ("create_time>2021-05-18T00:00:00Z", True),
        ('create_time>"2021-05-18T15:30:00.2+02:00"', True),
        ('create_time="2021-05-18T15:30:00.25+02:00"', True),
        ('create_time<"2021-05-18"', False),
        ("create_time<=2021-05-18T13:30:00.250000000Z", True),
        ("version_aliases:champion", True),
        ("version_aliases:challenger", False),
        ("version_aliases!=champion", False),
        ("deployed_models.deployed_model_id:8", True),
        ("deployed_models.deployed_model_id=9", False),
        ("trained_rows>9007199254740992", True),
        ("trained_rows<=9007199254740992", False),
        ("score>=0.5 score<1e0", True),
        ("score=.5", True),
        ("enabled=true", True),
        ("enabled!=TRUE", False),
        ("is_default=false", True),
        ("is_default=true", False),
        ('description=""', True),
        ("description!=x", True),
        ("timeout>20s", True),
        ('state="JOB_STATE_SUCCEEDED" AND display_name="bikes*"', True),
        ("state=A AND display_name=bikes* OR enabled=true", False),  # OR binds more tightly
        ("(state=A AND display_name=bikes*) OR enabled=true", True),
        ("state=A OR state=JOB_STATE_SUCCEEDED", True),
        ("NOT (state=A OR state=B)", True),
        ("-(state=A)(enabled=true)", True),
        ("metadata.rate.number_value = 10.0", True),
        ("metadata.component_type.string_value=kind", True),
        ('metadata."field:1".number_value = 3', True),
        (r'metrics_schema_uri="gs://bucket/a \"b\"/c.yaml"', True),
        ("metrics_schema_uri=gs://bucket/*", True),
        ("metrics_schema_uri='*\"b\"*'", True),
        ('display_name = "\\u0062ikes_hourly"', True),
        ("model=1234", True),
        ("model!=99", True),
        ('parent_contexts:"a","b"', False),
        ('version_aliases:"a","champion" AND enabled=true', True),
        ('in_context("x")', True),
        ('NOT in_context("y") AND enabled=true', True),
    ],
)
def test_language(text: str, expected: bool) -> None:
    predicate = compile_filter(
        text,
        virtual={"model": lambda model: model["name"].rpartition("/")[2].partition("@")[0]},
        functions={"in_context": lambda resource, arguments: arguments == ("x",)},
    )
    assert predicate(MODEL) is expected


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("display_name", 1, "not compared"),
        ("display_name=a and state=b", 16, "'and' is not compared"),
        ("display_name=", 14, "value"),
        ('display_name="a', 14, "not closed"),
        ("(a=1", 5, "not closed"),
        ("a=1)", 4, "')'"),
        ("a=1 AND", 8, "field name"),
        ("OR a=1", 1, "field name"),
        ("NOT", 4, "field name"),
        ("a=1 foo(x)", 5, "no function 'foo'"),
        ("a..b=1", 3, "field name"),
        ("a=~x", 2, "regular expressions"),
        ("(" * 40 + "a=1" + ")" * 40, 22, "deeper"),
    ],
)
def test_bad_syntax(text: str, position: int, says: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        compile_filter(text)
    assert caught.value.violations[0].field == "filter"
    assert f"position {position}:" in caught.value.message
    assert says in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "no_such_field=1",
        "create_time>yesterday",
        "state=JOB_STATE_SUCEEDED",
        "state>JOB_STATE_SUCCEEDED",
        "display_name.first=x",
        "generate_explanation=maybe",
        "manual_batch_tuning_parameters.batch_sizes=4",
        "manual_batch_tuning_parameters.batch_size=four",
        "labels=x",
    ],
)
def test_declared_types_refuse(text: str, schema: Schema) -> None:
    with pytest.raises(InvalidArgument, match="position"):
        compile_filter(text, schema("BatchPredictionJob"))


def test_declared_types_compare(schema: Schema) -> None:
    job = {
        "state": "JOB_STATE_RUNNING",
        "createTime": "2024-01-01T00:00:00Z",
        "manualBatchTuningParameters": {"batchSize": 64},
        "completionStats": {"successfulCount": "12"},
    }

    def holds(text: str) -> bool:
        return compile_filter(text, schema("BatchPredictionJob"))(job)

    assert holds("state!=JOB_STATE_FAILED")
    assert holds("completion_stats.successful_count=12.0")
    assert not holds("completion_stats.successful_count<3")
    assert holds("manual_batch_tuning_parameters.batch_size=64")
    assert holds("generate_explanation=false")
    assert holds("end_time>2021-01-01 OR NOT end_time:*")
    assert not holds("end_time!=2021-01-01T00:00:00Z")
    assert not holds("labels:x")
    assert holds("manual_batch_tuning_parameters:*")


TEXT = st.text(alphabet="ab.*=<>!:\"\\'()- ANDORT,1T~é", max_size=40)


@given(TEXT)
@settings(deadline=None)
def test_anything_is_a_filter_or_an_invalid_argument(schema: Schema, text: str) -> None:
    try:
        predicate = compile_filter(text, schema("Model"))
    except InvalidArgument:
        predicate = None
    try:
        loose = compile_filter(text)
    except InvalidArgument:
        assert predicate is None  # declared types only refuse more
        return
    assert loose(MODEL) in (True, False)


@given(st.text(alphabet="ab*", max_size=12), st.text(alphabet="ab", max_size=12))
@settings(deadline=None)
def test_wildcards(pattern: str, text: str) -> None:
    expected = re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text) is not None
    assert matches(pattern, text) is expected


@given(st.sampled_from(["a=1", "b=2", "c=3"]), st.sampled_from(["a=1", "b=2", "c=3"]), st.integers(0, 7))
@settings(deadline=None)
def test_boolean_laws(one: str, other: str, bits: int) -> None:
    row = {name: str(position + 1) for position, name in enumerate("abc") if bits >> position & 1}
    p, q = compile_filter(one)(row), compile_filter(other)(row)
    assert compile_filter(f"{one} {other}")(row) == (p and q)
    assert compile_filter(f"{one} OR {other}")(row) == (p or q)
    assert compile_filter(f"NOT ({one} AND -{other})")(row) == (not (p and not q))
