"""Shows a command folders at paths that this machine has not: `/gcs`, for one. In a mount namespace of its own.

Self-contained, for `keeper` imports it where nothing else of Portico is.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEWNS, _NEWUSER = 0x20000, 0x10000000  # linux/sched.h
_RDONLY, _NOSUID, _NODEV, _REMOUNT = 1, 2, 4, 32  # linux/mount.h
_BIND, _REC, _PRIVATE = 4096, 16384, 1 << 18
_LOCKED = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC  # what a mount in a user namespace may not lose
TMP, SHARED = "/tmp", "/dev/shm"


def show_layered(lower: str, upper: str, work: str, merged: str) -> None:
    """Mounts at `merged` what `lower` holds, of which nothing is ever changed: changes go to `upper`.

    Raises:
        OSError: this machine does not let us.
    """
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    _mount(
        "overlay",
        merged,
        "overlay",
        0,
        options if os.geteuid() == 0 and not _in_user else f"{options},userxattr",
    )


_in_user = False


def own_namespace() -> None:
    """From here on this process, and what it starts, has mounts of its own; without root in a user namespace.

    Raises:
        OSError: this machine does not let us.
    """
    global _in_user
    user, group = os.geteuid(), os.getegid()
    _in_user = user != 0
    if _LIBC.unshare(_NEWNS | (_NEWUSER if _in_user else 0)):
        raise _error("a namespace of its own")
    if _in_user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _mount("none", "/", "", _REC | _PRIVATE, "")


def own_tmp(folder: str, read: Sequence[str], written: Sequence[str]) -> None:
    """Gives this process, and what it starts, a /tmp of its own, which is `folder`. Of what was below the other it goes
    on to see what it `read`s, which can't be written there, and what is `written`.

    Raises:
        OSError: this machine does not let us.
    """
    here = os.getcwd()
    if _LIBC.unshare(_NEWNS):
        raise _error("mounts of its own")
    own = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    seen = {
        path: os.open(path, os.O_PATH | os.O_CLOEXEC)
        for path in sorted({*read, *written})
        if path.startswith(f"{TMP}/")
        and os.path.exists(path)
        and not any(path.startswith(f"{above}/") for above in written)
    }
    _mount(f"/proc/self/fd/{own}", TMP, "", _BIND, "")
    for path, descriptor in seen.items():
        source = f"/proc/self/fd/{descriptor}"
        if os.path.isdir(source):
            os.makedirs(path, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC))
        _mount(source, path, "", _BIND, "")
        if path not in written:
            _mount("", path, "", _REMOUNT | _BIND | _RDONLY | (os.statvfs(path).f_flag & _LOCKED), "")
    for descriptor in (own, *seen.values()):
        os.close(descriptor)
    os.chdir(here)


def own_shared_memory(most: int) -> None:
    """Gives this process, which has mounts of its own, and what it starts a /dev/shm of its own, of at most `most`
    bytes. It goes with the last of them: what is left in the machine's takes its memory until somebody looks.

    Raises:
        OSError: this machine does not let us.
    """
    _mount("portico", SHARED, "tmpfs", _NOSUID | _NODEV, f"mode=1777,size={most}")


def join(process: int, root: str | None) -> None:
    """From here on this process sees the mounts of another one, and `root` as its root where that has made one.

    Raises:
        OSError: this machine does not let us.
    """
    here = os.getcwd()
    kinds = ["mnt"] if os.geteuid() == 0 else ["user", "mnt"]
    opened = [os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY) for kind in kinds]
    for descriptor in opened:
        if _LIBC.setns(descriptor, 0):
            raise _error("the namespace of another")
        os.close(descriptor)
    if root:
        os.chroot(root)
    os.chdir(here)


def add_to_root(root: str, folders: dict[str, str]) -> None:
    """Makes `root`, an empty folder, this process's root: all of `/`, and beside it each of `folders` (name in the new
    root, as "gcs" or "var/hypertune" -> the folder that is seen there).

    Raises:
        OSError: this machine does not let us.
    """
    here = os.getcwd()
    _mount("portico", root, "tmpfs", 0, "mode=755")
    _mirror("/", root, folders)
    os.chroot(root)
    os.chdir(here)


def _mirror(source: str, target: str, folders: dict[str, str]) -> None:
    """Shows the folders of `source` in `target`, and beside them, or in their place, each of `folders`."""
    left = dict(folders)
    for entry in os.scandir(source):
        at = os.path.join(target, entry.name)
        inside = {name: left.pop(name) for name in folders if name.startswith(f"{entry.name}/")}
        if entry.name in folders:
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), at)
        elif entry.is_dir():
            os.mkdir(at)
            if inside:
                _mirror(entry.path, at, {name.partition("/")[2]: folder for name, folder in inside.items()})
            else:
                _mount(entry.path, at, "", _BIND | _REC, "")
    for name, folder in left.items():
        at = os.path.join(target, name)
        os.makedirs(at)
        _mount(folder, at, "", _BIND | _REC, "")


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    told = (os.fsencode(one) or None for one in (source, target, kind))
    if _LIBC.mount(*told, ctypes.c_ulong(flags), os.fsencode(options) or None):
        raise _error(f"mounting {target}")


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
