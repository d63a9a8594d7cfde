"""docs/coverage.md says what the routing table says."""

from __future__ import annotations

from pathlib import Path

from portico.host import coverage

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"


def test_the_page_is_what_the_table_says():
    assert PAGE.read_text() == coverage.current(), "run `make docs`"


def test_the_page_tells_built_from_not_built():
    coverage.current()
    from portico.doors.contract.documents import Contract, compile_documents

    found = {(m.api, m.id): m for m in coverage.covered(Contract(compile_documents()).methods)}
    assert found["aiplatform", "projects.locations.endpoints.deployModel"].built
    assert found["aiplatform", "projects.locations.endpoints.predict"].built  # by the fronts
    assert not found["aiplatform", "projects.locations.featurestores.create"].built
    assert found["aiplatform", "projects.locations.models.list"].versions == ("v1", "v1beta1")
    assert found["storage", "objects.insert"].built and not found["storage", "folders.insert"].built
