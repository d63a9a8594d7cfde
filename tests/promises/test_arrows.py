"""The house's arrows: which room may import which, read from the source; and what an idle server has loaded."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import portico

SOURCE = Path(portico.__file__).parent

# cli, console, demos -> client, host -> doors -> services -> prediction, jobs, warehouse -> store. Rooms on one floor
# don't know each other, but for replicas, which are processes that `jobs` isolates and makes environments for, for the
# warehouse, whose process ends as those of `jobs` do, for served models with a TRANSFORM, which is the warehouse's SQL,
# and for the client, which asks `host` where the server runs. The demos tell in the command line's words, and are its
# commands.
FLOORS = (
    ("cli", "console", "demos"),
    ("client", "host"),
    ("doors",),
    ("services",),
    ("prediction", "jobs", "warehouse"),
    ("sandbox",),
    ("store",),
)
ON_ONE_FLOOR = {
    ("prediction", "jobs"),
    ("warehouse", "jobs"),
    ("prediction", "warehouse"),
    ("client", "host"),
    ("cli", "demos"),
    ("demos", "cli"),
}
# Inside `services`: the folders of the APIs don't know each other, and use what is below them, from the bottom up.
BELOW = ({"standard", "call"}, {"iam"}, {"audit", "alerts"}, {"registry"})
ROOTS = {"errors", "clock", "ids"}
# Nothing of these may be loaded before it is needed: fronts and services start small.
HEAVY = {
    *("lightgbm", "pandas", "sklearn", "scipy", "pyarrow", "numpy", "duckdb", "catboost", "onnxruntime"),
    *("optuna", "xgboost", "joblib", "googleapiclient", "google.api_core"),
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(tree: ast.AST, package: str) -> Iterator[tuple[str, int]]:
    """Every module that `tree` imports, wherever it does, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            yield base, node.lineno
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def allowed(room: str, other: str) -> bool:
    if other in ("", "__init__", "__version__") or room == other:
        return True
    if room in ROOTS:
        return other in ROOTS
    if room == "ml":
        return False
    if other in ROOTS or other == "ml":
        return True
    return floor(other) > floor(room) or (room, other) in ON_ONE_FLOOR


def test_imports_run_downwards_only():
    wrong = []
    for name, path in modules():
        room = name.partition(".")[0]
        if not room:
            continue
        package = f"portico.{name}" if path.name == "__init__.py" else f"portico.{name}".rpartition(".")[0]
        for imported, line in imports(ast.parse(path.read_text()), package):
            head, _, rest = imported.partition(".")
            if head == "portico" and not allowed(room, rest.partition(".")[0]):
                wrong.append(f"{path.relative_to(SOURCE)}:{line} imports {imported}")
    assert wrong == []


def service_floor(name: str) -> int:
    """Of a folder or module of `services`: what is not named stands on top, beside the others."""
    return next((number for number, names in enumerate(BELOW) if name in names), len(BELOW))


def test_services_stand_beside_each_other():
    wrong = []
    for name, path in modules():
        room, _, inside = name.partition(".")
        if room != "services" or not inside:
            continue
        own = inside.partition(".")[0]
        package = f"portico.{name}" if path.name == "__init__.py" else f"portico.{name}".rpartition(".")[0]
        for imported, line in imports(ast.parse(path.read_text()), package):
            other = imported.removeprefix("portico.services.").partition(".")[0]
            if not imported.startswith("portico.services.") or other == own:
                continue
            if service_floor(own) > service_floor(other) or {own, other} <= BELOW[0]:
                continue
            wrong.append(f"{path.relative_to(SOURCE)}:{line} imports {imported}")
    assert wrong == []


def test_all_tables_are_in_the_store():
    elsewhere = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for name, path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) == "sa.Table"
        and not name.startswith("store.tables.")
    ]
    assert elsewhere == []


def test_every_room_is_on_the_plan():
    rooms = {p.name for p in SOURCE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    planned = {room for rooms in FLOORS for room in rooms} | {"ml"}
    assert rooms <= planned
    assert {p.stem for p in SOURCE.glob("*.py")} <= ROOTS | {"__init__"}


def test_the_test_sees_an_arrow_that_runs_upwards():
    tree = ast.parse("def f():\n    from portico.services import call\n    from ..doors import app\n")
    found = {name for name, _ in imports(tree, "portico.store")}
    assert "portico.services.call" in found and "portico.doors.app" in found
    assert (
        not allowed("store", "services") and not allowed("ml", "errors") and not allowed("jobs", "prediction")
    )
    assert allowed("cli", "host") and allowed("services", "ml") and not allowed("store", "jobs")


def test_an_idle_server_has_loaded_nothing_heavy():
    """In a fresh interpreter: what the supervisor imports before it forks fronts, control and scheduler."""
    import json
    import subprocess
    import sys

    code = (
        "import json, sys\n"
        "from portico.host import supervisor, control, scheduling, wiring\n"
        "from portico.doors.connections import serve_control\n"
        "from portico.prediction.front.process import run_front\n"
        "wiring.import_services()\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "portico.services.aiplatform.endpoints" in loaded
    assert {name for name in HEAVY if name in loaded} == set()


def test_a_running_server_has_mapped_nothing_heavy(portico_at_rest):
    """Whatever the processes did to become ready and to answer small requests: no big library's code is mapped."""
    libraries = (
        "lightgbm",
        "pandas",
        "sklearn",
        "pyarrow",
        "duckdb",
        "catboost",
        "onnxruntime",
        "scipy",
        "numpy",
    )
    for pid in portico_at_rest.pids():
        mapped = Path(f"/proc/{pid}/maps").read_text()
        found = [name for name in libraries if f"/site-packages/{name}" in mapped]
        assert found == [], f"process {pid}"
