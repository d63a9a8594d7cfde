"""Event files as TensorFlow and tensorboardX wrote them, and as they are written here."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.ml import event_files, wire
from portico.ml.event_files import Damaged, Value

EVENTS = Path(__file__).parents[1] / "services/aiplatform/tensorboard/events"


def read(data: bytes) -> list[Value]:
    return [value for _, value in event_files.read(io.BytesIO(data))]


def shown(value: Value) -> tuple[str, int, str, str]:
    return value.tag, value.step, value.kind, value.plugin


def buckets(tensor: bytes) -> list[float]:
    content = wire.content(dict(wire.fields(tensor))[4])
    return list(struct.unpack(f"<{len(content) // 8}d", content))


def test_what_tensorflow_wrote() -> None:
    values = read((EVENTS / "tensorflow.tfevents").read_bytes())
    losses = [value for value in values if value.tag == "loss"]
    assert [value.scalar for value in losses] == pytest.approx([1.0, 0.5, 1 / 3])
    assert [shown(value) for value in losses] == [("loss", step, "SCALAR", "scalars") for step in range(3)]
    rest = [value for value in values if value.tag not in ("loss", "epoch_accuracy")]
    assert [shown(value) for value in rest] == [
        ("weights", 1, "TENSOR", "histograms"),
        ("note", 0, "TENSOR", "text"),
        ("picture", 2, "BLOB_SEQUENCE", "images"),
    ]
    assert buckets(rest[0].tensor) == pytest.approx([0, 2 / 3, 1, 2 / 3, 4 / 3, 2, 4 / 3, 2, 1])
    assert rest[2].blobs[:2] == [b"3", b"2"] and rest[2].blobs[2].startswith(b"\x89PNG")


def test_what_pytorchs_writer_wrote() -> None:
    values = read((EVENTS / "tensorboardx.tfevents").read_bytes())
    assert [shown(value) for value in values] == [
        *(("loss", step, "SCALAR", "scalars") for step in range(3)),
        ("negative", -7, "SCALAR", "scalars"),
        ("weights", 1, "TENSOR", "histograms"),
        ("note/text_summary", 0, "TENSOR", "text"),
        ("picture", 2, "BLOB_SEQUENCE", "images"),
    ]
    assert [(value.wall_time, value.scalar) for value in values[:2]] == [(1000.5, 2.0), (1001.5, 1.0)]
    assert values[3].scalar == -1.5 and values[6].blobs[2].startswith(b"\x89PNG")
    assert sum(buckets(values[4].tensor)[2::3]) == 4


def test_a_file_that_grows_and_one_that_is_damaged() -> None:
    data = (EVENTS / "tensorboardx.tfevents").read_bytes()
    ends = [end for end, _ in event_files.read(io.BytesIO(data))]
    assert ends[-1] == len(data)
    for length in range(len(data)):  # whatever of it is there, whole records are read
        assert len(read(data[:length])) == sum(end <= length for end in ends)
    for place in range(0, len(data), 7):
        spoilt = bytearray(data)
        spoilt[place] ^= 4
        with pytest.raises(Damaged):
            read(bytes(spoilt))
    with pytest.raises(Damaged, match="no record"):
        read(b"\x80\x04 this is a pickle")


@given(st.binary(max_size=200))
def test_nonsense_in_a_record_is_said(data: bytes) -> None:
    try:
        read(event_files._framed(data))
    except Damaged:
        pass


def test_what_is_written_is_read_again() -> None:
    values = [
        Value("loss", 3, 1000.25, "SCALAR", "scalars", b"", scalar=-0.1),
        Value("w", 3, 1000.25, "TENSOR", "histograms", b"\0\1", tensor=wire.of_int(1, 1)),
        Value("i", 3, 1000.25, "BLOB_SEQUENCE", "images", b"", blobs=[b"3", b"", bytes(range(256))]),
        Value("h", 3, 1000.25, "TENSOR", "hparams", b"p"),
    ]
    assert read(event_files.header(5.0) + event_files.record(values)) == values
    odd = [Value("n", -(2**63), 0.0, "SCALAR", "scalars", b"", scalar=math.inf)]
    assert read(event_files.record(odd)) == odd
