"""`gsutil` and `gcloud storage` in a job, over the official client: cp, mv, rsync, ls, cat, rm, mb, stat.

It runs in the job's own environment, which may be without Portico.
"""

from __future__ import annotations

import fnmatch
import os
import sys
from typing import Any

_NAMES = {"copy": "cp", "list": "ls", "remove": "rm", "move": "mv", "du": "ls"}


def gsutil(arguments: list[str]) -> int:
    return _run("gsutil", [one for one in arguments if one not in ("-m", "-q")])


def gcloud(arguments: list[str]) -> int:
    words = [one for one in arguments if one not in ("--quiet", "-q") and not one.startswith("--project")]
    if words[:1] != ["storage"]:
        return _fail(f"gcloud {' '.join(words[:2])} is not built in Portico's jobs; gcloud storage is.")
    words = words[1:]
    if words[:2] == ["buckets", "create"]:
        words = ["mb", *(word for word in words[2:] if word.startswith("gs://"))]
    return _run("gcloud storage", words)


def _run(name: str, words: list[str]) -> int:
    verb = _NAMES.get(words[0], words[0]) if words else ""
    work = {"cp": _copy, "mv": _move, "rsync": _sync, "ls": _list, "cat": _cat}
    work.update(rm=_remove, mb=_make, stat=_stat)
    if verb not in work:
        return _fail(f"{name} {verb} is not built in Portico's jobs; there are {', '.join(sorted(work))}.")
    options = [one for one in words[1:] if one.startswith("-") and one != "-"]
    names = [one for one in words[1:] if not one.startswith("-") or one == "-"]
    deep = any(one in ("-r", "-R", "--recursive", "-rd", "-dr") for one in options)
    if not names:
        return _fail(f"{name} {verb} needs a name.")
    from google.api_core import exceptions
    from google.cloud import storage  # type: ignore[attr-defined]

    try:
        return work[verb](storage.Client(), names, deep)
    except exceptions.GoogleAPICallError as error:
        return _fail(f"{error.message}")
    except (OSError, ValueError) as error:
        return _fail(str(error))


def _copy(client: Any, names: list[str], deep: bool) -> int:
    *sources, target = names
    if not sources:
        return _fail("cp needs a source and a destination.")
    pairs = [pair for source in sources for pair in _pairs(client, source, target, deep, len(sources) > 1)]
    if not pairs:
        return _fail(f"No URLs matched: {', '.join(sources)}" + ("" if deep else " (folders need -r)"))
    for source, to in pairs:
        _one(client, source, to)
    return 0


def _move(client: Any, names: list[str], deep: bool) -> int:
    failed = _copy(client, names, deep)
    return failed or _remove(client, names[:-1], True)


def _sync(client: Any, names: list[str], deep: bool) -> int:
    source, target = names
    for found, to in _below(client, source, target):
        _one(client, found, to)
    return 0


def _list(client: Any, names: list[str], deep: bool) -> int:
    for name in names:
        bucket, key = _split(name)
        if not bucket:
            print("\n".join(f"gs://{one.name}/" for one in client.list_buckets()))
            continue
        if "*" in key:
            found = [f"gs://{bucket}/{blob.name}" for blob in _matching(client, bucket, key)]
        else:
            exact = bool(key) and client.bucket(bucket).blob(key).exists()
            prefix = key if not key or key.endswith("/") or exact else key + "/"
            pages = client.list_blobs(bucket, prefix=prefix, delimiter=None if deep else "/")
            found = [
                f"gs://{bucket}/{blob.name}" for blob in pages if exact is False or blob.name == key or deep
            ]
            found += [f"gs://{bucket}/{folder}" for folder in sorted(pages.prefixes)]
        if not found and key:
            return _fail(f"One or more URLs matched no objects: {name}")
        print("".join(f"{one}\n" for one in found), end="")
    return 0


def _cat(client: Any, names: list[str], deep: bool) -> int:
    for name in names:
        bucket, key = _split(name)
        sys.stdout.buffer.write(client.bucket(bucket).blob(key).download_as_bytes())
    return 0


def _remove(client: Any, names: list[str], deep: bool) -> int:
    for name in names:
        if not name.startswith("gs://"):
            os.remove(name)
            continue
        bucket, key = _split(name)
        for blob in _matching(client, bucket, key) or (_under(client, bucket, key) if deep else []):
            blob.delete()
    return 0


def _make(client: Any, names: list[str], deep: bool) -> int:
    for name in names:
        client.create_bucket(_split(name)[0])
    return 0


def _stat(client: Any, names: list[str], deep: bool) -> int:
    for name in names:
        bucket, key = _split(name)
        blob = client.bucket(bucket).get_blob(key)
        if blob is None:
            return _fail(f"No URLs matched: {name}")
        print(f"{name}:\n    Content-Length: {blob.size}\n    Generation: {blob.generation}")
    return 0


def _pairs(client: Any, source: str, target: str, deep: bool, several: bool) -> list[tuple[str, str]]:
    """What is copied where, as names."""
    into = several or target.endswith("/") or (not target.startswith("gs://") and os.path.isdir(target))
    if source.startswith("gs://"):
        bucket, key = _split(source)
        if deep and "*" in key:
            return _with_folders(client, bucket, key, target)
        found = [f"gs://{bucket}/{blob.name}" for blob in _matching(client, bucket, key)]
        folder = not found
    else:
        import glob

        found = [one for one in glob.glob(source) if os.path.isfile(one)] if source != "-" else ["-"]
        folder = os.path.isdir(source)
    if folder:
        name = "" if not into and not target.startswith("gs://") else source.rstrip("/").rpartition("/")[2]
        below = _join(target, name) if into or _has(client, target) else target
        return _below(client, source, below) if deep else []
    into = into or len(found) > 1 or _is_bucket(target)
    return [(one, _join(target, one.rpartition("/")[2]) if into else target) for one in found]


def _with_folders(client: Any, bucket: str, key: str, target: str) -> list[tuple[str, str]]:
    """What is copied where of objects, and of all below folders, that match a pattern."""
    depth = key.count("/")
    pairs = []
    for blob in client.list_blobs(bucket, prefix=key.partition("*")[0].partition("?")[0]):
        steps = blob.name.split("/")
        if steps[-1] and fnmatch.fnmatchcase("/".join(steps[: depth + 1]), key):
            pairs.append((f"gs://{bucket}/{blob.name}", _join(target, "/".join(steps[depth:]))))
    return pairs


def _below(client: Any, source: str, target: str) -> list[tuple[str, str]]:
    if source.startswith("gs://"):
        bucket, key = _split(source)
        start = len(key.rstrip("/")) + 1 if key else 0
        blobs = _under(client, bucket, key)
        return [
            (f"gs://{bucket}/{b.name}", _join(target, b.name[start:]))
            for b in blobs
            if not b.name.endswith("/")
        ]
    files = [os.path.join(folder, name) for folder, _, names in os.walk(source) for name in sorted(names)]
    return [(one, _join(target, os.path.relpath(one, source))) for one in files]


def _one(client: Any, source: str, target: str) -> None:
    print(f"Copying {source} to {target}", file=sys.stderr)
    if source.startswith("gs://") and target.startswith("gs://"):
        (bucket, key), (to, name) = _split(source), _split(target)
        client.bucket(bucket).copy_blob(client.bucket(bucket).blob(key), client.bucket(to), name)
    elif source.startswith("gs://"):
        bucket, key = _split(source)
        blob = client.bucket(bucket).blob(key)
        if target == "-":
            sys.stdout.buffer.write(blob.download_as_bytes())
            return
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        blob.download_to_filename(target)
    elif target.startswith("gs://"):
        bucket, key = _split(target)
        blob = client.bucket(bucket).blob(key)
        if source == "-":
            blob.upload_from_string(sys.stdin.buffer.read())
        else:
            blob.upload_from_filename(source)
    else:
        raise ValueError(f"{source} and {target} are both files here.")


def _matching(client: Any, bucket: str, key: str) -> list[Any]:
    if "*" in key or "?" in key:
        prefix = key.partition("*")[0].partition("?")[0]
        return [
            blob
            for blob in client.list_blobs(bucket, prefix=prefix)
            if fnmatch.fnmatchcase(blob.name, key) and ("**" in key or blob.name.count("/") == key.count("/"))
        ]
    blob = client.bucket(bucket).get_blob(key) if key and not key.endswith("/") else None
    return [blob] if blob is not None else []


def _under(client: Any, bucket: str, key: str) -> list[Any]:
    return list(client.list_blobs(bucket, prefix=key if not key or key.endswith("/") else key + "/"))


def _has(client: Any, target: str) -> bool:
    if not target.startswith("gs://"):
        return os.path.isdir(target)
    bucket, key = _split(target)
    below = client.list_blobs(bucket, prefix=key.rstrip("/") + "/", max_results=1)
    return _is_bucket(target) or any(True for _ in below)


def _is_bucket(name: str) -> bool:
    return name.startswith("gs://") and not _split(name)[1]


def _split(name: str) -> tuple[str, str]:
    if not name.startswith("gs://"):
        raise ValueError(f"{name} is no gs:// name.")
    bucket, _, key = name[5:].partition("/")
    return bucket, key


def _join(folder: str, name: str) -> str:
    return folder.rstrip("/") + "/" + name if name else folder.rstrip("/")


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1
