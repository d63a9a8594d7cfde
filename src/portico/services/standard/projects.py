"""Projects have a number beside their id; some APIs answer with the one, some with the other."""

from __future__ import annotations

import hashlib


def project_number(project: str) -> str:
    """Twelve digits that stay the same for a project; a project given by number keeps it."""
    if project.isdigit():
        return project
    return str(10**11 + int.from_bytes(hashlib.sha256(project.encode()).digest()[:8], "big") % (9 * 10**11))
