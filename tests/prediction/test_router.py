from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fronts import NAME, endpoint, lightgbm_model

from portico.errors import FailedPrecondition, InvalidArgument
from portico.ids import project_number
from portico.prediction.front.loading import Loader
from portico.prediction.front.router import (
    EXPLAIN,
    PREDICT,
    RAW_PREDICT,
    Deployed,
    Router,
    Target,
    endpoint_name,
)
from portico.store import served
from portico.store.database import Database
from portico.store.served import ServedEndpoint, ServedModel


def target(split: dict[str, int]) -> Target:
    models = [ServedModel(i, "m", "1", "d", "lightgbm") for i in split]
    return Target(ServedEndpoint(NAME, models, split), [Deployed(m, NAME) for m in models])


def test_paths_of_both_versions_and_all_methods() -> None:
    router = Router([target({"5": 100})])
    for version in ("v1", "v1beta1"):
        for name, method in (("predict", PREDICT), ("streamRawPredict", RAW_PREDICT), ("explain", EXPLAIN)):
            route = router.exact(f"/{version}/{NAME}:{name}".encode())
            assert route is not None and route.method == method and route.target.name == NAME
    assert router.exact(f"/v2/{NAME}:predict".encode()) is None
    assert router.find(f"/v1/{NAME}%3Apredict".encode()) is router.exact(f"/v1/{NAME}:predict".encode())
    assert router.find(f"/v1/{NAME}4:predict".encode()) is None
    numbered = NAME.replace("/p/", f"/{project_number('p')}/")
    assert numbered != NAME
    assert router.exact(f"/v1/{numbered}:explain".encode()) == router.exact(f"/v1/{NAME}:explain".encode())
    assert router.named(f"/v1beta1/{numbered}%3Aexplain".encode()) == f"/v1/{NAME}:explain".encode()
    assert router.named(f"/v1beta1/{NAME}%3Aexplain".encode()) == f"/v1beta1/{NAME}%3Aexplain".encode()
    assert endpoint_name(f"/v1beta1/{NAME}%3Apredict".encode()) == NAME


def test_traffic_is_split_as_asked() -> None:
    shared = target({"a": 80, "b": 20, "c": 0})
    drawn = Counter(shared.pick().served.id for _ in range(20_000))
    assert set(drawn) == {"a", "b"}
    assert 0.78 < drawn["a"] / 20_000 < 0.82  # five standard deviations are 1.4%
    assert shared.chosen("c").served.id == "c"
    with pytest.raises(InvalidArgument, match="no deployed model 'd'"):
        shared.chosen("d")


@pytest.mark.parametrize("split", [{}, {"a": 0}])
def test_without_traffic_there_is_no_model(split: dict[str, int]) -> None:
    with pytest.raises(FailedPrecondition, match=f"{NAME} has no deployed model"):
        target(split).pick()


@pytest.fixture
def database(tmp_path: Path) -> Any:
    database = Database(tmp_path)
    database.create_tables()
    yield database
    database.close()


def put(database: Database, served_endpoint: ServedEndpoint) -> int:
    with database.write() as connection:
        return served.put(connection, served_endpoint)


def test_the_served_table_round_trips(database: Database) -> None:
    model = ServedModel("5", "m", "2", "é", "replica", replicas=["/a"], explain=True, explanation={"a": [1]})
    first = ServedEndpoint(NAME, [model], {"5": 100}, 0.5)
    assert put(database, ServedEndpoint(NAME)) == 1
    assert put(database, first) == 2
    with database.read() as connection:
        assert served.load_all(connection) == [first]
    with database.write() as connection:
        assert served.delete(connection, NAME) == 3
        assert served.load_all(connection) == []


def test_unchanged_models_are_kept_and_broken_ones_change_nothing(
    database: Database, boosters: dict[str, Path], tmp_path: Path
) -> None:
    one, two = lightgbm_model(boosters["binary"], "1"), lightgbm_model(boosters["regression"], "2")
    loader = Loader(database)
    put(database, endpoint(one))
    router = loader.load()[1]
    assert router is not None and loader.load() == (1, None)
    before = router.targets[NAME].deployed["1"]
    put(database, endpoint(one, two, split={"1": 50, "2": 50}))
    router = loader.load()[1]
    assert router is not None and router.targets[NAME].deployed["1"] is before
    broken = lightgbm_model(tmp_path / "nothing", "3")
    version = put(database, endpoint(broken))
    router = loader.load()[1]
    assert router is not None and loader.version == version
    assert list(router.targets[NAME].deployed) == ["1", "2"]
    assert "model.txt" in loader.errors()[NAME]["3"]
    put(database, endpoint(two))
    router = loader.load()[1]
    assert router is not None and list(router.targets[NAME].deployed) == ["2"] and not loader.errors()


def test_what_could_not_be_loaded_is_tried_again_later_each_time(
    database: Database, boosters: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    tried: list[tuple[str, float]] = []
    whole = Loader._loaded

    def loaded(self: Loader, model: ServedModel) -> Any:
        tried.append((model.id, now))
        return whole(self, model)

    monkeypatch.setattr(Loader, "_loaded", loaded)
    sound, broken = lightgbm_model(boosters["binary"], "1"), lightgbm_model(tmp_path / "later", "2")
    version = put(database, endpoint(sound, broken, split={"1": 50, "2": 50}))
    loader = Loader(database, clock=lambda: now)
    router = loader.load()[1]
    assert router is not None
    [unloaded] = router.unloaded()
    assert unloaded["deployedModel"] == "2" and "model.txt" in unloaded["reason"]
    kept = router.targets[NAME].deployed["1"]
    while now < 1000.0:
        now += 1.0
        loader.load()
    assert [at for id, at in tried if id == "2"] == [0.0, 30.0, 90.0, 210.0, 450.0, 930.0]
    assert [id for id, _ in tried].count("1") == 1
    (tmp_path / "later").symlink_to(boosters["regression"])
    now += 600.0
    found, router = loader.load()
    assert found == version and router is not None and router.unloaded() == []
    assert list(router.targets[NAME].deployed) == ["1", "2"] and router.targets[NAME].deployed["1"] is kept
    now += 600.0
    assert loader.load() == (version, None)
