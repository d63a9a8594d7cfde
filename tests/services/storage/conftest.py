"""Clients and buckets for Cloud Storage's tests, against the running Portico of the tests."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.conftest import STORE, Portico

_names = itertools.count()


@pytest.fixture(scope="session")
def server(portico: Portico) -> Portico:
    return portico


@pytest.fixture(scope="session")
def client(server: Portico) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    return storage.Client(project="portico", credentials=AnonymousCredentials())


@pytest.fixture
def make_bucket(client: Any) -> Callable[..., Any]:
    def make(**settings: object) -> Any:
        bucket = client.bucket(f"bucket-{os.getpid()}-{next(_names)}")
        for name, value in settings.items():
            setattr(bucket, name, value)
        bucket.create(location="US")
        return bucket

    return make


@pytest.fixture
def bucket(make_bucket: Callable[..., Any]) -> Any:
    return make_bucket()


@pytest.fixture
def own_server(request: pytest.FixtureRequest, new_portico: Callable[..., Portico]) -> Iterator[Portico]:
    """A server of one test's own, to kill; a parameter says where it has its rows."""
    running = new_portico(store=getattr(request, "param", STORE)).start()
    yield running
    running.stop()
