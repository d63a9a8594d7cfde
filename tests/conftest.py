"""A running Portico for tests: the real command's processes, on a free port and a home of its own."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import HealthCheck, settings

from portico.sandbox.isolation import walls
from portico.store import backend
from tests import environments, zygote
from tests.postgresql import Server
from tests.ray_cluster import Cluster

# Where the servers that tests start have their rows, unless a test says so itself.
STORE = os.environ.get("PORTICO_TESTS_STORE", "sqlite")

os.environ.setdefault(
    "GRPC_ENABLE_FORK_SUPPORT", "0"
)  # tests start servers while clients of gRPC's are there
# The files that take longest, the longest first: begun early, so that no process is left alone with one at the end.
LONGEST = (
    "test_components.py", "test_console_browser.py", "test_manager.py", "test_kills.py", "test_bigquery_monitoring.py",
    "test_models_kept.py", "test_steward_pipeline.py", "test_declaration.py", "test_own_components.py",
    "test_lost_writes.py", "test_pipelines.py", "test_exec_server.py", "test_pipeline_templates.py",
    "test_bigquery.py", "test_job_identity.py", "test_steward.py", "test_prebuilt_components.py", "test_ci.py",
    "test_replica_models.py", "test_state_machine.py", "test_retention.py", "test_fuzz.py", "test_postgresql_home.py",
    "test_diagnose.py", "test_auth.py", "test_classifier.py", "test_alerts.py", "test_training_images.py",
    "test_pipeline_progress.py", "test_learn_plan.py", "test_storage_write.py", "test_query_jobs.py", "test_users.py",
    "test_workers.py",
)  # fmt: skip

# How long an example takes is the machine's business. CI has the same examples each time, others find new ones.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("any machine")

# Trainings count iterations here, also those of the servers: what comes out does not depend on the machine's speed.
os.environ.setdefault("PORTICO_ITERATIONS_A_NODE_SECOND", "80")
# Threads that wait for each other on busy cores wait for all that runs there.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PORTICO_NICE", "1")  # they end beside other busy programs, too


@dataclass
class Portico:
    """A server that a test started. `kill` and `start` play a crash and the next start on the same home."""

    home: Path
    port: int = 0
    fronts: int = 1
    process: zygote.Started | None = None
    url: str = ""
    options: tuple[str, ...] = ()
    _log: IO[str] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> Portico:
        self.home.mkdir(parents=True, exist_ok=True)
        environments.share(self.home)
        self._log = (self.home.parent / f"{self.home.name}.log").open("a")
        arguments = ["up", "--home", str(self.home), "--port", str(self.port)]
        arguments += ["--fronts", str(self.fronts), *self.options]
        if walls().name == "none" and "--unconfined" not in self.options:
            arguments.append("--unconfined")
        self.process = zygote.Started(arguments, self._log)
        line = self.process.stdout.readline()
        if "ready at" not in line:
            self.stop()
            raise RuntimeError(f"the server did not start: {line!r}\n{self.log()}")
        self.url = line.split()[-1]
        self.port = int(self.url.rpartition(":")[2])
        return self

    def log(self) -> str:
        return (self.home.parent / f"{self.home.name}.log").read_text()

    def pids(self) -> list[int]:
        """Every process of this server, the supervisor first."""
        import psutil

        try:
            parent = psutil.Process(self.pid)
            return [self.pid, *(child.pid for child in parent.children(recursive=True))]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """SIGKILL to every process at once, as a crash of the machine does; none is left when this returns."""
        import psutil

        killed = []
        for pid in self.pids():
            try:
                killed.append(psutil.Process(pid))
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, psutil.NoSuchProcess):
                pass
        assert self.process is not None
        self.process.wait()
        psutil.wait_procs(killed, timeout=240)

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=240)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            if self._log:
                self._log.close()
        return code


def pytest_configure() -> None:
    # What is collected and imported stays: to look at it again and again is in vain.
    gc.set_threshold(100_000, 20, 20)


def pytest_collection_finish() -> None:
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session")
def new_portico(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Portico]:
    """Makes servers of a test's own, which it starts and stops itself; `store`: "sqlite" or "postgresql"."""

    def make(fronts: int = 1, store: str = STORE) -> Portico:
        made = Portico(tmp_path_factory.mktemp("own") / "home", fronts=fronts)
        if store == "postgresql":
            made.options = ("--database", request.getfixturevalue("postgresql").database())
        return made

    return make


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Cluster]:
    """Two nodes of four cores each, as they say themselves, and a head."""
    cluster = Cluster()
    try:
        yield cluster.start(4, 4)
    finally:
        cluster.stop()


@pytest.fixture(scope="session", autouse=True)
def _stay_here() -> None:
    """Keeps google-auth from asking iamcredentials.googleapis.com about every service account."""
    from google.auth import credentials

    for cls in list(vars(credentials).values()):
        if "_maybe_start_regional_access_boundary_refresh" in getattr(cls, "__dict__", {}):
            cls._maybe_start_regional_access_boundary_refresh = lambda self, request, url: None


@pytest.fixture(scope="session", autouse=True)
def _ask_often() -> None:
    """Google's clients ask after an operation or a job a second, or five, later: here what they wait for is done."""
    from google.api_core.future import polling

    polling.DEFAULT_POLLING._initial, polling.DEFAULT_POLLING._maximum = 0.05, 0.5


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A server of PostgreSQL's, started by the first test that asks for it."""
    server = Server()
    yield server
    server.remove()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def either_store(request: pytest.FixtureRequest) -> Iterator[str]:
    """A module that uses it runs twice: the homes that it makes have their rows in SQLite, and in PostgreSQL."""
    yield from _homes_in(request)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def either_store_in_time(request: pytest.FixtureRequest) -> Iterator[str]:
    """The same for a long module: over PostgreSQL it is one of the long checks."""
    yield from _homes_in(request)


def _homes_in(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield request.param
        return
    postgresql = request.getfixturevalue("postgresql")
    original = backend.of

    def of(home: Path) -> Any:
        if backend.url_of(home) is None:
            backend.choose(home, postgresql.database())
        return original(home)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "of", of)
        yield request.param


@pytest.fixture(scope="session")
def portico(new_portico: Callable[..., Portico]) -> Iterator[Portico]:
    """One server for all tests of a worker that don't need one of their own."""
    server = new_portico().start()
    os.environ["STORAGE_EMULATOR_HOST"] = server.url
    os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(server.home / "credentials.json")
    yield server
    server.stop()


@pytest.fixture
def aiplatform(portico: Portico) -> Any:
    """The official client, pointed at the server; it asks a job's state ten times a second, not every five."""
    from google.cloud import aiplatform
    from google.cloud.aiplatform import jobs, training_jobs

    jobs._JOB_WAIT_TIME = training_jobs._JOB_WAIT_TIME = 0.1
    aiplatform.initializer.global_config._credentials = None  # it keeps those of the server before
    aiplatform.init(
        project="test-project",
        location="us-central1",
        api_endpoint=portico.url,
        api_transport="rest",
        staging_bucket="gs://staging",
    )
    return aiplatform


@pytest.fixture
def bucket(portico: Portico) -> Any:
    """A fresh bucket, by the official client."""
    from google.cloud import storage

    name = f"test-{time.time_ns()}"
    return storage.Client(project="test-project").create_bucket(name)
