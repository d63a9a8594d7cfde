"""Python environments of models and of users' code: the same for all servers and all runs of the tests."""

from __future__ import annotations

from pathlib import Path

# A file lock keeps builders apart.
ENVIRONMENTS = Path(__file__).parents[1] / ".pytest_cache" / "envs"


def share(home: Path) -> None:
    """The server of `home`, which need not be there yet, takes its environments from those that all share."""
    if not (home / "envs").exists():
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        (home / "envs").symlink_to(ENVIRONMENTS)
