"""What the name of a component's image stands for, and how parameters of a pipeline come out."""

from __future__ import annotations

import pytest

from portico.errors import FailedPrecondition
from portico.sandbox import containers
from portico.services.aiplatform.pipelines import values
from portico.services.aiplatform.pipelines.components.images import base_of


@pytest.mark.parametrize(
    ("uri", "first"),
    [
        ("python:3.10-slim", "3.10"),
        ("python", "3.11"),
        ("python:alpine3.9", "3.11"),
        ("docker.io/library/python:3.12.4-bookworm", "3.12"),
        ("registry.access.redhat.com/ubi9/python-312:latest", "3.12"),
    ],
)
def test_images_that_are_a_python(uri: str, first: str) -> None:
    base = base_of(uri)
    assert base.python is not None and base.python.pythons[0] == first


@pytest.mark.parametrize(
    "uri", ["busybox", "ghcr.io/containerd/busybox:1.36", "bash:5", "google/cloud-sdk:slim"]
)
def test_images_that_are_a_shell(uri: str) -> None:
    assert base_of(uri).shell


def test_an_image_of_ones_own_is_not_taken_for_what_its_name_ends_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "engine", lambda: "")
    for uri in ("registry.example/team/alpine", "gcr.io/team/python:3.11", "python:2.7"):
        with pytest.raises(FailedPrecondition, match="container image of its own"):
            base_of(uri)


def test_whole_numbers_inside_a_list_or_an_object_are_integers() -> None:
    given = {"n": 3.0, "rate": 0.5, "deep": [{"k": 2.0}], "yes": True}
    assert (
        str(values.as_type(given, "STRUCT", "x")) == "{'n': 3, 'rate': 0.5, 'deep': [{'k': 2}], 'yes': True}"
    )
    assert values.as_type(3.0, "NUMBER_DOUBLE", "x") == 3.0
