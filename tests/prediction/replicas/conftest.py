from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.environments import ENVIRONMENTS, share
from tests.waiting import until

from portico.clock import SystemClock
from portico.prediction.replicas.manager import ReplicaManager
from portico.prediction.replicas.replica import Replica
from portico.sandbox import environments
from portico.sandbox.isolation import Limits
from portico.services.aiplatform.images import Serving, resolve
from portico.store.database import Database
from portico.store.replicas import ReplicaSet

LIMITS = Limits(2 << 30)
FIT = """
import sys, joblib, pickle, numpy, pandas
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
out = sys.argv[1]
dice = numpy.random.RandomState(0)
x = dice.rand(200, 3)
joblib.dump(LinearRegression().fit(x, x @ [1.0, 2.0, 3.0] + 4.0), out + "/linear.joblib")
joblib.dump(LogisticRegression().fit(x, numpy.where(x[:, 0] > 0.5, "yes", "no")), out + "/labels.joblib", 3)
frame = pandas.DataFrame(x, columns=["a", "b", "c"])
joblib.dump(LinearRegression().fit(frame, x @ [1.0, 2.0, 3.0]), out + "/named.joblib")
frame["city"] = numpy.where(x[:, 2] > 0.5, "Rome", "Bern")
numbers, texts = ["a", "b", "c"], ["city"]
columns = make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(), texts))
piped = make_pipeline(columns, LinearRegression()).fit(frame, x[:, 0] + (x[:, 2] > 0.5))
with open(out + "/piped.pkl", "wb") as file:
    pickle.dump(piped, file)
texts = make_pipeline(CountVectorizer(), LogisticRegression())
joblib.dump(texts.fit(["good", "so good", "bad", "so bad"], ["+", "+", "-", "-"]), out + "/texts.joblib")
dicts = make_pipeline(DictVectorizer(), LinearRegression())
joblib.dump(dicts.fit([{"city": "Rome"}, {"city": "Bern"}], [1, 2]), out + "/dicts.joblib")
"""


@pytest.fixture(scope="session")
def environments_folder() -> Path:
    """Kept between test runs."""
    return ENVIRONMENTS


@pytest.fixture(scope="session")
def image() -> Serving:
    found = resolve("us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest")
    # The version that models below are made with, so that one environment does for all tests.
    return replace(found, requirements=("scikit-learn==1.6.1", *found.requirements[1:]))


@pytest.fixture(scope="session")
def sklearn_python(image: Serving) -> Path:
    """The Python of the image's environment, kept between test runs."""
    return environments.environment(image.requirements, environments.find_python(image.pythons), ENVIRONMENTS)


@pytest.fixture(scope="session")
def models(sklearn_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models that this environment's scikit-learn has fitted."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([str(sklearn_python), "-c", FIT, str(folder)], check=True)
    return folder


@contextmanager
def started(
    python: Path, file: Path, folder: Path, framework: str = "sklearn", limits: Limits = LIMITS
) -> Iterator[Replica]:
    made = Replica(
        0,
        path=str(folder / "0.sock"),
        folder=folder,
        python=python,
        framework=framework,
        file=file,
        model_dir=file.parent,
        since=0.0,
        limits=limits,
    )
    try:

        def settled() -> bool:
            ended = made.ended()
            made.look()
            return bool(made.ready or made.error or ended)

        until(settled, "the replica is ready or has ended")
        yield made
    finally:
        made.kill()
        made.dispose()


@pytest.fixture(scope="session")
def replica():
    """Starts a replica as a context manager; it is ready, has an error or has ended."""
    return started


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(tmp_path / "home")
    made.create_tables()
    yield made
    made.close()


@pytest.fixture
def manager(tmp_path: Path, database: Database, sklearn_python: Path) -> ReplicaManager:
    home = tmp_path / "home"
    share(home)
    made = ReplicaManager(home, database, SystemClock())
    yield made
    made.close()


@pytest.fixture
def replica_set(image: Serving, models: Path):
    def make(
        id: str = "1", file: str = "linear.joblib", folder: Path | None = None, count: int = 1
    ) -> ReplicaSet:
        return ReplicaSet(
            id=id,
            image=image.image,
            framework=image.framework,
            version=image.version,
            requirements=list(image.requirements),
            pythons=list(image.pythons),
            artifacts=[file],
            model_dir=str(folder or models),
            count=count,
        )

    return make
