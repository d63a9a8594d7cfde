"""Where imported models of TensorFlow's are opened: in an environment of their own, made when the first is imported,
and confined as all code that is not ours."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from portico.ml.bqml.tensorflow import TensorFlowModel
from portico.ml.errors import DataError
from portico.sandbox import archives, environments, isolation
from portico.sandbox.isolation import Limits

_WORKER = Path(__file__).with_name("tensorflow_worker.py")
PYTHONS = ("3.11", "3.12", "3.13", "3.10")  # for which there are wheels
_MEMORY = 4 << 30  # bytes, and four times what the model's file has
_SECONDS = 600

Numbers = np.ndarray[Any, Any]


def runner(cache: Path) -> Any:
    """What opens a model's file, as `portico.ml.bqml.tensorflow.Runner` says; environments are kept under `cache`."""

    def run(
        data: bytes, kind: str, feed: dict[str, Numbers] | None
    ) -> tuple[dict[str, Any], dict[str, Numbers]]:
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder).resolve()
            _unpack(data, kind, scratch / "model")
            interpreter = environments.find_python(PYTHONS, "TensorFlow")
            python = environments.environment(TensorFlowModel.REQUIREMENTS, interpreter, cache)
            if feed is not None:
                np.savez(scratch / "feed.npz", **{name: _plain(one) for name, one in feed.items()})  # type: ignore[arg-type]
            _started(python, kind, scratch, len(data))
            told = scratch / "told.json"
            said = json.loads(told.read_text()) if told.exists() else {"error": _last(scratch / "log")}
            if "error" in said:
                what = (
                    "MODEL_PATH is no model that can be opened"
                    if feed is None
                    else "The model refused the rows"
                )
                raise DataError(f"{what}: {said['error']}")
            answers: dict[str, Numbers] = {}
            if feed is not None:
                with np.load(scratch / "answer.npz", allow_pickle=False) as found:
                    answers = {name: _texts(found[name]) for name in found}
            return said, answers

    return run


def _unpack(data: bytes, kind: str, target: Path) -> None:
    if kind == "TENSORFLOW_LITE":
        target.write_bytes(data)
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as packed:
            archives.unpack(packed, target)
    except (tarfile.TarError, OSError):
        raise DataError(
            "MODEL_PATH names no SavedModel: a folder with saved_model.pb in it, as gs://BUCKET/FOLDER/*"
        ) from None


def _started(python: Path, kind: str, scratch: Path, size: int) -> None:
    limits = Limits(memory=_MEMORY + 4 * size, seconds=_SECONDS)
    with (scratch / "log").open("wb") as log:
        process = isolation.start(
            [str(python), "-I", "-B", str(_WORKER), kind],
            readable=[_WORKER, *environments.prefixes(python)],
            scratch=scratch,
            log=log,
            limits=limits,
            environment={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
        try:
            process.communicate(timeout=limits.seconds)
        except subprocess.TimeoutExpired:
            raise DataError(f"The model did not answer within {limits.seconds} seconds") from None
        finally:
            process.kill()
            process.wait()


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "its process ended, most likely for want of memory"


def _plain(values: Numbers) -> Numbers:
    return values.astype("U") if values.dtype == object else values


def _texts(values: Numbers) -> Numbers:
    return values.astype(object) if values.dtype.kind == "U" else values
