"""What a permission is asked on, by Google's full resource names ("//aiplatform.googleapis.com/projects/p/…")."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

from portico.ids import project_number

_BUCKETS: Final = "//storage.googleapis.com/projects/_/buckets/"
_PROJECTS: Final = "//cloudresourcemanager.googleapis.com/projects/"
_FULL: Final = re.compile(r"//([a-z]+)\.googleapis\.com/(.*)", re.DOTALL)
SERVER: Final = ""
"""The name of this server itself, which is its owner's alone."""


@dataclass(frozen=True, slots=True)
class Target:
    """`relative` is its name within its service. `project` is empty where the name does not say it (a bucket's), or
    there is none. `policies`: the full names of what its policy comes from beside the project, itself first."""

    name: str
    service: str
    relative: str
    project: str
    bucket: str
    policies: tuple[str, ...]

    @property
    def object(self) -> str | None:
        """The name of an object in a bucket."""
        _, separator, name = self.relative.partition("/objects/")
        return name if self.bucket and separator else None

    @property
    def type(self) -> str:
        """As conditions call it: "aiplatform.googleapis.com/Model"."""
        parts = self.relative.split("/")
        collection = parts[-2] if len(parts) > 1 else ""
        if self.bucket:
            collection = "objects" if "/objects/" in self.relative else "buckets"
        for plural, singular in (("ies", "y"), ("xes", "x"), ("s", "")):
            if collection.endswith(plural):
                collection = collection.removesuffix(plural) + singular
                break
        return f"{self.service}.googleapis.com/{collection[:1].upper()}{collection[1:]}"


def target(name: str) -> Target:
    """The target with this full name. One that is not of the form is nobody's: no policy is its."""
    found = _FULL.fullmatch(name)
    if found is None:
        return Target(name, "", "", "", "", ())
    service, relative = found[1], found[2]
    if name.startswith(_BUCKETS):
        bucket = name.removeprefix(_BUCKETS).partition("/")[0]
        return Target(name, service, relative, "", bucket, (_BUCKETS + bucket,))
    parts = relative.split("/")
    project = parts[1] if len(parts) > 1 and parts[0] == "projects" else ""
    above = []
    while len(parts) > 2 and not (len(parts) == 4 and parts[2] == "locations"):
        own = [*parts[:-1], parts[-1].partition("@")[0]] if parts[-2] == "models" else parts
        above.append(f"//{service}.googleapis.com/{'/'.join(own)}")
        parts = parts[:-2]
    return Target(name, service, relative, project, "", tuple(above))


def project(id: str) -> str:
    """The full name of a project."""
    return _PROJECTS + id


def policy_of_project(id: str) -> str:
    """Under which the policy of a project is kept, which has an id and a number."""
    return _PROJECTS + project_number(id)


def bucket(name: str, object: str | None = None) -> str:
    return _BUCKETS + name + (f"/objects/{object}" if object is not None else "")


@functools.lru_cache(8192)
def full(api: str, relative: str) -> str:
    """The full name of what an API calls `relative`. Operations are part of what they are done to."""
    relative = relative.partition("/operations/")[0].removesuffix("/operations")
    if re.fullmatch(r"projects/[^/]+", relative):
        return project(relative.removeprefix("projects/"))
    return f"//{api}.googleapis.com/{relative}"
