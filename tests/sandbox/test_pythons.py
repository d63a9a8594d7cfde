"""How the Pythons of this machine are found."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from portico.sandbox.environments import find_python


def test_a_program_goes_before_a_script_which_would_have_to_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As beside pyenv, whose scripts come first on the PATH and take half a second each."""
    shims, programs = tmp_path / "shims", tmp_path / "programs"
    shims.mkdir()
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{shims}{os.pathsep}{programs}")
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    script = shims / "python9.9"
    script.write_text(f"#!/bin/sh\necho run >> {tmp_path}/asked\necho 9.9\n")
    script.chmod(0o755)
    assert find_python(["9.9"]) == str(script) and (tmp_path / "asked").exists()
    (tmp_path / "asked").unlink()
    (programs / "python9.9").symlink_to(os.path.realpath(sys.executable))
    assert find_python(["9.9"]) == os.path.realpath(sys.executable)
    assert not (tmp_path / "asked").exists()
