"""`gsutil` and `gcloud storage` in a job, over the official client: cp, mv, rsync, ls, cat, rm, mb, stat.

It runs in the job's own environment, which may be without Portico.
"""

from __future__ import annotations

import fnmatch
import os
import sys
from typing import Any

_VALUED = (
    "-l", "-p", "-c", "--location", "--project", "--member", "--role", "--default-storage-class", "--format",
    "--filter", "--condition", "--description", "--repository-format", "--tag", "--region", "--timeout",
    "--machine-type", "--json-request", "--labels", "--limit", "--mode", "--config", "--display-name",
)  # fmt: skip
# Those that are done, or of which there is nothing to do; any other is refused.
_KNOWN = {
    "-r", "-R", "--recursive", "-rd", "-dr", "-rf", "-m", "-q", "--quiet", "-f", "-l", "-a", "-al", "-la", "-lh",
    "--long", "--all-versions", "-p", "-c", "--location", "--project", "--member", "--role", "-h",
    "--default-storage-class", "--uniform-bucket-level-access", "-b", "--no-user-output-enabled",
    "--continue-on-error", "-L", "-Lb", "-lR", "-lr", "-Rl",
}  # fmt: skip
_STAT = ("--stat", "--fetch-encrypted-object-hashes")
_NAMES = {"copy": "cp", "list": "ls", "remove": "rm", "move": "mv", "du": "ls"}


def gcloud_storage(arguments: list[str]) -> int:
    """`gcloud storage …`, without these two words."""
    words = arguments
    if words[:2] == ["buckets", "create"]:
        words = ["mb", *words[2:]]
    elif words[:2] == ["buckets", "delete"]:
        words = ["rb", *words[2:]]
    elif words[:2] == ["buckets", "add-iam-policy-binding"]:
        words = ["iam", *words[1:]]
    elif words[:2] == ["objects", "describe"] or (words[:2] == ["objects", "list"] and "--stat" in words):
        # The second is what gcloud calls `gsutil stat`.
        words = ["stat", *(one for one in words[2:] if one not in _STAT)]
    return run("gcloud storage", words)


def run(name: str, words: list[str]) -> int:
    verb = _NAMES.get(words[0], words[0]) if words else ""
    work = {"cp": _copy, "mv": _move, "rsync": _sync, "ls": _list, "cat": _cat}
    work.update(rm=_remove, mb=_make, rb=_remove_bucket, stat=_stat, iam=_bind)
    if verb not in work:
        return fail(f"{name} {verb} is not built in Portico; there are {', '.join(sorted(work))}.")
    names, options = parsed(words[1:])
    for option in options:
        if option.partition("=")[0] not in _KNOWN:
            return fail(f"{name} {verb} {option} is not built in Portico.")
    if not names and verb != "ls":
        return fail(f"{name} {verb} needs a name.")
    from google.api_core import exceptions
    from google.cloud import storage  # type: ignore[attr-defined]

    try:
        named = _value(options, "--project", "-p") or project()
        client = storage.Client(project=named) if named else storage.Client()
        return work[verb](client, names, options)
    except exceptions.GoogleAPICallError as error:
        return fail(f"{error.message}")
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        return fail(str(error))


def kept(key: str) -> str:
    """The file in which `gcloud config set` keeps a property; "" for one that is not kept, and in a job."""
    file = {"core/project": "gcloud-project", "ai/region": "gcloud-region"}.get(key, "")
    home = os.path.dirname(os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", ""))
    return os.path.join(home, file) if home and file else ""


def kept_value(key: str) -> str:
    """What `gcloud config set` was told; "" where it was not."""
    try:
        with open(kept(key)) as file:
            return file.read().strip()
    except OSError:
        return ""


def project() -> str | None:
    """The project of a command that names none."""
    return os.environ.get("GOOGLE_CLOUD_PROJECT") or kept_value("core/project") or None


def parsed(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """The names, and the options with the value that stands behind those that take one."""
    names: list[str] = []
    options: dict[str, str] = {}
    left = iter(words)
    for word in left:
        if word.startswith("-") and word != "-":
            options[word] = next(left, "") if word in _VALUED else ""
        else:
            names.append(word)
    return names, options


def _deep(options: dict[str, str]) -> bool:
    return any(
        one in ("-r", "-R", "--recursive", "-rd", "-dr", "-rf", "-lR", "-lr", "-Rl") for one in options
    )


def _value(options: dict[str, str], *names: str) -> str:
    """Of `--name=value` or `--name value`."""
    for one, value in options.items():
        name, equals, told = one.partition("=")
        if name in names:
            return told if equals else value
    return ""


def _copy(client: Any, names: list[str], options: dict[str, str]) -> int:
    *sources, target = names
    if not sources:
        return fail("cp needs a source and a destination.")
    deep = _deep(options)
    pairs = [pair for source in sources for pair in _pairs(client, source, target, deep, len(sources) > 1)]
    if not pairs:
        return fail(f"No URLs matched: {', '.join(sources)}" + ("" if deep else " (folders need -r)"))
    for source, to in pairs:
        _one(client, source, to)
    return 0


def _move(client: Any, names: list[str], options: dict[str, str]) -> int:
    failed = _copy(client, names, options)
    return failed or _remove(client, names[:-1], {"-r": ""})


def _sync(client: Any, names: list[str], options: dict[str, str]) -> int:
    source, target = names
    for found, to in _below(client, source, target):
        _one(client, found, to)
    return 0


def _list(client: Any, names: list[str], options: dict[str, str]) -> int:
    deep = _deep(options)
    long = any(one in ("-l", "-al", "-la", "-lh", "--long", "-lR", "-lr", "-Rl") for one in options)
    for name in names or ["gs://"]:
        bucket, key = _split(name)
        if not bucket:
            print("\n".join(f"gs://{one.name}/" for one in client.list_buckets()))
            continue
        if "-Lb" in options or ("-L" in options and "-b" in options):
            held = client.get_bucket(bucket)
            print(f"gs://{bucket}/ :\n\tStorage class:\t\t\t{held.storage_class}")
            print(f"\tLocation constraint:\t\t{held.location}\n\tTime created:\t\t\t{held.time_created}")
            continue
        folders: list[str] = []
        if "*" in key:
            found = _matching(client, bucket, key)
        else:
            exact = bool(key) and client.bucket(bucket).blob(key).exists()
            prefix = key if not key or key.endswith("/") or exact else key + "/"
            pages = client.list_blobs(bucket, prefix=prefix, delimiter=None if deep else "/")
            found = [blob for blob in pages if exact is False or blob.name == key or deep]
            folders = sorted(pages.prefixes)
        if not (found or folders) and key:
            return fail(f"One or more URLs matched no objects: {name}")
        for blob in found:
            told = f"{blob.size:>10}  {blob.updated:%Y-%m-%dT%H:%M:%SZ}  " if long else ""
            print(f"{told}gs://{bucket}/{blob.name}")
        for folder in folders:
            print(f"{' ' * 33 if long else ''}gs://{bucket}/{folder}")
    return 0


def _cat(client: Any, names: list[str], options: dict[str, str]) -> int:
    for name in names:
        bucket, key = _split(name)
        found = _matching(client, bucket, key)
        if not found:
            return fail(f"The following URLs matched no objects: {name}")
        for blob in found:
            sys.stdout.buffer.write(blob.download_as_bytes())
    sys.stdout.buffer.flush()
    return 0


def _remove(client: Any, names: list[str], options: dict[str, str]) -> int:
    deep = _deep(options)
    for name in names:
        if not name.startswith("gs://"):
            os.remove(name)
            continue
        bucket, key = _split(name)
        found = _matching(client, bucket, key) or (_under(client, bucket, key) if deep else [])
        for blob in found:
            blob.delete()
        if deep and not key:
            client.bucket(bucket).delete()
        elif not found:
            return fail(f"The following URLs matched no objects: {name}")
    return 0


def _make(client: Any, names: list[str], options: dict[str, str]) -> int:
    for name in names:
        print(f"Creating {name}...", file=sys.stderr)
        made = client.bucket(_split(name)[0])
        made.storage_class = _value(options, "-c", "--default-storage-class") or "STANDARD"
        client.create_bucket(made, location=_value(options, "-l", "--location") or None)
    return 0


def _remove_bucket(client: Any, names: list[str], options: dict[str, str]) -> int:
    for name in names:
        client.bucket(_split(name)[0]).delete()
    return 0


def _bind(client: Any, names: list[str], options: dict[str, str]) -> int:
    """`gcloud storage buckets add-iam-policy-binding gs://B --member=M --role=R`, `gsutil iam ch M:ROLE,… gs://B`."""
    what, *rest = names
    if what == "add-iam-policy-binding":
        pairs = [(_value(options, "--member"), _value(options, "--role"))]
    elif what == "ch" and not any(one.startswith("-") for one in options):
        *given, bucket = rest
        split = [one.rpartition(":") for one in given]
        pairs = [(member, role) for member, _, roles in split for role in roles.split(",")]
        rest = [bucket]
    else:
        return fail(f"iam {what} is not built in Portico; iam ch MEMBER:ROLE is.")
    for name in rest:
        bucket = client.bucket(_split(name)[0])
        policy = bucket.get_iam_policy(requested_policy_version=3)
        for member, role in pairs:
            whole = role if "/" in role else f"roles/storage.{role}"
            policy.bindings.append({"role": whole, "members": {member}})
        bucket.set_iam_policy(policy)
    return 0


def _stat(client: Any, names: list[str], options: dict[str, str]) -> int:
    for name in names:
        bucket, key = _split(name)
        found = _matching(client, bucket, key)
        if not found:
            return fail(f"No URLs matched: {name}")
        for blob in found:
            told = {
                "Creation Time": f"{blob.time_created:%Y-%m-%dT%H:%M:%SZ}",
                "Update Time": f"{blob.updated:%Y-%m-%dT%H:%M:%SZ}",
                "Storage Class": blob.storage_class,
                "Content-Length": blob.size,
                "Content-Type": blob.content_type,
                "Hash (CRC32C)": blob.crc32c,
                "Hash (MD5)": blob.md5_hash,
                "ETag": blob.etag,
                "Generation": blob.generation,
                "Metageneration": blob.metageneration,
            }
            lines = [f"    {key + ':':<26} {value}" for key, value in told.items() if value is not None]
            print("\n".join([f"gs://{bucket}/{blob.name}:", *lines]))
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


def fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1
