"""GEOGRAPHY, RANGE and INTERVAL by BigQuery's official client: tables, rows, parameters, results."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from dateutil.relativedelta import relativedelta
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected

JANUARY = {"start": datetime.date(2024, 1, 1), "end": datetime.date(2024, 2, 1)}


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("special", exists_ok=True)
    return made


def one(client: bigquery.Client, text: str, **options: Any) -> tuple[Any, ...]:
    [row] = client.query(text, **options).result()
    return tuple(row.values())


def test_ranges_are_columns_parameters_and_results(client: bigquery.Client) -> None:
    field = bigquery.SchemaField("stay", "RANGE", range_element_type="DATE")
    table = client.create_table(
        bigquery.Table("test-project.special.stays", schema=[bigquery.SchemaField("id", "INT64"), field])
    )
    assert client.get_table(table).schema[1].range_element_type.element_type == "DATE"
    rows = [
        {"id": 1, "stay": {"start": "2024-01-01", "end": "2024-02-01"}},
        {"id": 2, "stay": {"start": "2024-03-01"}},
    ]
    assert client.insert_rows_json(table, rows) == []
    assert [tuple(row.values()) for row in client.list_rows(table)] == [
        (1, JANUARY),
        (2, {"start": datetime.date(2024, 3, 1), "end": None}),
    ]
    asked = bigquery.QueryJobConfig(
        query_parameters=[
            bigquery.RangeQueryParameter("DATE", start="2024-01-20", end="2024-01-25", name="r"),
            bigquery.RangeQueryParameter("DATE", start=None, end=datetime.date(2024, 1, 5), name="s"),
        ]
    )
    found = one(
        client,
        "SELECT RANGE_OVERLAPS(stay, @r), RANGE_INTERSECT(stay, @s), RANGE_END(stay), RANGE_CONTAINS(stay, @r), "
        "RANGE<TIMESTAMP> '[2024-01-01 00:00:00+00, UNBOUNDED)' FROM special.stays WHERE id = 1",
        job_config=asked,
    )
    assert found == (
        True, {"start": datetime.date(2024, 1, 1), "end": datetime.date(2024, 1, 5)}, datetime.date(2024, 2, 1), True,
        {"start": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), "end": None},
    )  # fmt: skip
    kept = bigquery.QueryJobConfig(destination="test-project.special.sessions")
    text = "SELECT * FROM RANGE_SESSIONIZE(TABLE special.stays, 'stay', ['id'])"
    client.query(text, job_config=kept).result()
    assert client.get_table("special.sessions").schema[2].field_type == "RANGE"
    with pytest.raises(exceptions.BadRequest, match="must be smaller"):
        one(client, "SELECT RANGE(DATE '2024-02-01', DATE '2024-01-01')")


def test_geographies_are_columns_and_results(client: bigquery.Client) -> None:
    table = client.create_table(
        bigquery.Table(
            "test-project.special.places",
            schema=[bigquery.SchemaField("name", "STRING"), bigquery.SchemaField("at", "GEOGRAPHY")],
        )
    )
    assert client.insert_rows_json(table, [{"name": "a", "at": "POINT(-122.4 37.8)"}, {"name": "b"}]) == []
    assert [tuple(row.values()) for row in client.list_rows(table)] == [
        ("a", "POINT(-122.4 37.8)"),
        ("b", None),
    ]
    found = one(
        client,
        "SELECT ST_ASTEXT(at), ST_DWITHIN(at, ST_GEOGPOINT(-122.4, 37.8001), 20), "
        "ST_GEOHASH(ST_GEOGPOINT(10.40744, 57.64911), 11), "
        "ST_ASGEOJSON(at), ST_BOUNDINGBOX(at).xmin < -122 FROM special.places WHERE at IS NOT NULL",
    )
    assert found == (
        "POINT(-122.4 37.8)", True, "u4pruydqqvj", '{ "type": "Point", "coordinates": [-122.4, 37.8] } ', True,
    )  # fmt: skip
    kept = bigquery.QueryJobConfig(destination="test-project.special.shapes")
    client.query("SELECT name, ST_BUFFER(at, 10) AS area FROM special.places", job_config=kept).result()
    assert client.get_table("special.shapes").schema[1].field_type == "GEOGRAPHY"
    square = "ST_GEOGFROMTEXT('POLYGON((0 0, 1 0, 1 1, 0 1, 0 0))')"
    found = one(
        client,
        f"SELECT ST_CONTAINS({square}, ST_GEOGPOINT(0.5, 0.5)), ROUND(ST_AREA({square}) / 1e6), "
        f"ST_GEOMETRYTYPE(ST_INTERSECTION({square}, ST_GEOGFROMTEXT('LINESTRING(-1 0.5, 2 0.5)', planar => TRUE))), "
        "SAFE.ST_GEOGFROMTEXT('POINT(')",
    )
    assert found == (True, 12364.0, "ST_LineString", None)
    with pytest.raises(exceptions.BadRequest, match="Latitude must be between"):
        one(client, "SELECT ST_GEOGPOINT(0, 91)")


def test_intervals_are_results(client: bigquery.Client) -> None:
    assert one(client, "SELECT INTERVAL '1-2 3 4:5:6' YEAR TO SECOND, JUSTIFY_DAYS(INTERVAL 40 DAY)") == (
        relativedelta(years=1, months=2, days=3, hours=4, minutes=5, seconds=6),
        relativedelta(months=1, days=10),
    )


def test_keysets_are_tinks_and_so_is_what_they_encrypt(client: bigquery.Client) -> None:
    # A keyset that BigQuery has made, and the vector A.1 of RFC 5297 as a key without a prefix.
    made = (
        "COOZoMwJEmQKWAowdHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUuY3J5cHRvLnRpbmsuQWVzR2NtS2V5EiIaIKcbZc5XhDGriBl8pzeDpYd+"
        "yYXcS1HWwq6D5XQf4TkIGAEQARjjmaDMCSAB"
    )
    number, key = 2575830243, AESGCM(base64.b64decode("pxtlzleEMauIGXynN4Olh37JhdxLUdbCroPldB/hOQg="))
    [text, back] = one(
        client, f"SELECT KEYS.KEYSET_TO_JSON(k), TO_BASE64(KEYS.KEYSET_FROM_JSON(KEYS.KEYSET_TO_JSON(k))) "
        f"FROM (SELECT FROM_BASE64('{made}') AS k)"
    )  # fmt: skip
    assert (json.loads(text)["primaryKeyId"], back) == (number, made)
    sealed = b"\x01" + number.to_bytes(4, "big") + bytes(12) + key.encrypt(bytes(12), b"hello", b"for")
    parameters = bigquery.QueryJobConfig(query_parameters=[
        bigquery.ScalarQueryParameter("k", "BYTES", base64.b64decode(made)),
        bigquery.ScalarQueryParameter("c", "BYTES", sealed),
    ])  # fmt: skip
    found = one(
        client,
        "SELECT AEAD.DECRYPT_STRING(@k, @c, 'for'), AEAD.DECRYPT_BYTES(KEYS.ROTATE_KEYSET(@k, 'AEAD_AES_GCM_256'), @c, "
        "b'for'), AEAD.ENCRYPT(@k, 'bye', 'for'), AEAD.ENCRYPT(@k, NULL, 'for')",
        job_config=parameters,
    )
    assert (found[:2], found[3]) == (("hello", b"hello"), None)
    assert found[2][:5] == sealed[:5]
    assert key.decrypt(found[2][5:17], found[2][17:], b"for") == b"bye"
    siv = base64.b64encode(b"\x12\x20" + bytes.fromhex(
        "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
    )).decode()  # fmt: skip
    url = "type.googleapis.com/google.crypto.tink.AesSivKey"
    keyset = {"primaryKeyId": 7, "key": [{
        "keyData": {"typeUrl": url, "value": siv, "keyMaterialType": "SYMMETRIC"},
        "status": "ENABLED", "keyId": 7, "outputPrefixType": "RAW",
    }]}  # fmt: skip
    found = one(
        client,
        f"""WITH k AS (SELECT KEYS.KEYSET_FROM_JSON('{json.dumps(keyset)}') AS k, FROM_HEX(
            '101112131415161718191a1b1c1d1e1f2021222324252627') AS a), c AS (SELECT k, a,
            DETERMINISTIC_ENCRYPT(k, FROM_HEX('112233445566778899aabbccddee'), a) AS c FROM k)
        SELECT TO_HEX(c), TO_HEX(DETERMINISTIC_DECRYPT_BYTES(k, c, a)), KEYS.KEYSET_LENGTH(
            KEYS.ADD_KEY_FROM_RAW_BYTES(k, 'AES_GCM', b'0123456789012345')), DETERMINISTIC_DECRYPT_STRING(
            k, DETERMINISTIC_ENCRYPT(k, '', ''), '') FROM c""",
    )
    sealed_text = "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c"
    assert found == (sealed_text, "112233445566778899aabbccddee", 2, "")
    several = (
        "SELECT COUNT(DISTINCT KEYS.NEW_KEYSET('DETERMINISTIC_AEAD_AES_SIV_CMAC_256')) FROM UNNEST([1, 2, 3])"
    )
    assert one(client, several) == (3,)
    for text, said in [
        ("AEAD.DECRYPT_STRING(@k, @c, 'another')", "AEAD.DECRYPT_STRING failed: decryption failed"),
        ("AEAD.DECRYPT_STRING(@k, b'', '')", "AEAD.DECRYPT_STRING failed: decryption failed"),
        ("AEAD.DECRYPT_STRING(b'abc', @c, '')", "Keyset deserialization failed"),
        (
            "DETERMINISTIC_ENCRYPT(@k, 'a', '')",
            "is of type type.googleapis.com/google.crypto.tink.AesGcmKey, not",
        ),
        ("KEYS.NEW_KEYSET('AES')", "Unsupported key type AES"),
        ("KEYS.ADD_KEY_FROM_RAW_BYTES(@k, 'AES_GCM', b'a')", "An AES_GCM key has 16 or 32 bytes, not 1"),
        ("KEYS.KEYSET_FROM_JSON('[')", "KEYS.KEYSET_FROM_JSON failed"),
        ("AEAD.ENCRYPT(@k, 'a', b'')", "No matching signature for function AEAD.ENCRYPT"),
    ]:
        with pytest.raises(exceptions.BadRequest, match=said):
            one(client, f"SELECT {text}", job_config=parameters)


def test_columns_of_one_name_are_numbered_unless_they_are_kept(client: bigquery.Client) -> None:
    assert [field.name for field in client.query("SELECT 1 AS a, 2 AS a").result().schema] == ["a", "a_1"]
    kept = bigquery.QueryJobConfig(destination="test-project.special.twice")
    with pytest.raises(exceptions.BadRequest, match="Duplicate column names"):
        client.query("SELECT 1 AS a, 2 AS a", job_config=kept).result()
    twice = "(SELECT * FROM (SELECT 1 AS id, 'b' AS b) x JOIN (SELECT 1 AS id) y ON x.id = y.id)"
    for kind in (f"SELECT * FROM {twice}", f"CREATE TABLE special.twice AS SELECT * FROM {twice}"):
        with pytest.raises(
            exceptions.BadRequest, match=r"destination table is present. Found duplicate\(s\): id"
        ):
            client.query(kind, job_config=kept if kind.startswith("SELECT") else None).result()
    with pytest.raises(exceptions.BadRequest, match=r"Column name id is ambiguous at \[1:8\]"):
        client.query(f"SELECT id FROM {twice}").result()
    assert one(client, f"SELECT * EXCEPT (id) FROM {twice}") == ("b",)
    [field] = (told := client.query(f"SELECT t FROM {twice} AS t").result()).schema
    assert [each.name for each in field.fields] == ["id", "b", "id"]
    assert next(iter(told))["t"] == {"id": 1, "b": "b"}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 AS a, INTERVAL 3000000 HOUR AS i",
        "SELECT [STRUCT(INTERVAL -3000000 HOUR AS x)] AS l",
        "SELECT SUM(x) AS s FROM UNNEST([INTERVAL 3000000 HOUR, INTERVAL 1 DAY]) AS x",
    ],
)
def test_an_interval_that_arrow_can_not_hold_is_refused(client: bigquery.Client, text: str) -> None:
    """It counts nanoseconds in 63 bits: what is longer went around, and was told as another time."""
    with pytest.raises(exceptions.GoogleAPICallError, match="INTERVALs of more than 2562047 hours"):
        answered(client, text)


def test_such_an_interval_of_a_table_is_refused_as_well(client: bigquery.Client) -> None:
    client.query("CREATE TABLE special.long (a INT64, i INTERVAL, l ARRAY<STRUCT<x INTERVAL>>)").result()
    client.query("INSERT special.long VALUES (1, INTERVAL 3000000 HOUR, [])").result()
    with pytest.raises(exceptions.GoogleAPICallError, match="INTERVALs of more than 2562047 hours"):
        list(client.list_rows("special.long"))
    first = client.get_table("special.long").schema[:1]
    assert [row["a"] for row in client.list_rows("special.long", selected_fields=first)] == [1]
    assert one(client, "SELECT CAST(i AS STRING) FROM special.long") == ("0-0 0 3000000:0:0",)
