"""Gives up what this process may do, and becomes the command that is to do without: limits, seccomp, Landlock.

Self-contained, for it runs as a program of its own (`python -I -S confine.py SETTINGS command ...`): nothing is
confined in the process that starts it. SETTINGS is JSON:

    limits      {"memory", "files", "file_size"}: bytes of memory, open files, bytes of one file
    network     whether it may open sockets
    walls       false: the limits only
    processes   whether it may start others, which then are behind the same walls
    landlock    null, or {"read": [...], "write": [...], "devices": [...]}: all that it may open

What the kernel does not offer ends it with a message and the exit status 70: nothing runs with half its walls.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import struct
import sys
from typing import Any, NoReturn

_LIBC = ctypes.CDLL(None, use_errno=True)
_ABOVE = 4 << 30  # bytes of addresses beyond the memory: libraries, stacks, what is reserved and never used

# linux/prctl.h
_PDEATHSIG, _SECCOMP, _CAPBSET_DROP, _NO_NEW_PRIVS, _CAP_AMBIENT = 1, 22, 24, 38, 47

# linux/landlock.h: the rights of files (bits 0 to 15), those that a file and not a folder can have
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_MAKE_CHAR, _MAKE_BLOCK, _TRUNCATE, _IOCTL_DEV = 1 << 6, 1 << 11, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every machine

# What is refused to confined code: (on x86_64, on aarch64). Above all what Landlock does not see (sockets by path,
# modes and owners of files) and what reaches other processes of the same user.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsmount": (432, 432), "mount_setattr": (442, 442),
    "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "quotactl": (179, 60), "acct": (163, 89), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "fanotify_init": (300, 262), "open_by_handle_at": (304, 265),
    # memory that no limit counts
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "truncate": (76, 45),
}  # fmt: skip
# Modes, owners and times of files, which may be others' as well.
_MARKS: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setxattrat": (463, 463), "removexattrat": (466, 466), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88),
}  # fmt: skip
_FORKS: dict[str, tuple[int | None, int | None]] = {"fork": (57, None), "vfork": (58, None)}
_INTERNET = (2, 10)  # AF_INET, AF_INET6
_NETLINK, _NETLINK_ROUTE = 16, 0  # linux/netlink.h
_SOCKET, _CLONE, _CLONE3 = (41, 198), (56, 220), (435, 435)
_SET_SCHEDULER, _SCHED_OTHER = (144, 119), 0
_KILL, _TKILL, _TGKILL, _PRLIMIT = (62, 129), (200, 130), (234, 131), (302, 261)
_CLONE_THREAD = 0x10000
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, linux/audit.h


def main() -> None:
    settings, command = json.loads(sys.argv[1]), sys.argv[2:]
    try:
        _limit(settings["limits"])
        if settings["walls"]:
            _wall(settings)
    except OSError as error:
        _fail(str(error))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        _fail(f"{command[0]} can't be run: {error.strerror}")


def _wall(settings: dict[str, Any]) -> None:
    _prctl(_NO_NEW_PRIVS, 1)
    if settings["landlock"] is not None:
        _landlock(settings["landlock"], settings["network"])
    _drop_capabilities()
    _seccomp(settings["network"], settings["processes"], alone=settings["landlock"] is None)
    _prctl(_PDEATHSIG, signal.SIGKILL)


def wall_in(data: list[str]) -> None:
    """Puts this process, and the threads that it starts from now on, behind walls: it reads what is in `data` and does
    nothing else outside itself: no network, no other process, nothing to write or to execute.

    Raises:
        OSError: the kernel does not offer that.
    """
    _prctl(_NO_NEW_PRIVS, 1)
    _landlock(
        {"data": data, "devices": ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"]}, network=False
    )
    _drop_capabilities()
    _seccomp(network=False, processes=False, alone=False)


def _limit(limits: dict[str, int]) -> None:
    wanted = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, limits["memory"]),
        (resource.RLIMIT_AS, limits["memory"] + _ABOVE),
        (resource.RLIMIT_NOFILE, limits["files"]),
        (resource.RLIMIT_FSIZE, limits["file_size"]),
    ]
    for kind, most in wanted:
        _, hard = resource.getrlimit(kind)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))


def _drop_capabilities() -> None:
    for number in range(64):
        _LIBC.prctl(_CAPBSET_DROP, number, 0, 0, 0)  # refused to who has none to drop
    _LIBC.prctl(_CAP_AMBIENT, 4, 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL
    header, none = struct.pack("=Ii", 0x20080522, 0), bytes(24)  # linux/capability.h, version 3
    if _LIBC.capset(header, none):
        raise _error("capabilities can't be dropped")


def landlock_abi() -> int:
    """The version of Landlock that this kernel has; 0 where it has none."""
    return max(0, int(_LIBC.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


def _landlock(allowed: dict[str, list[str]], network: bool) -> None:
    abi = landlock_abi()
    if abi < 1:
        raise OSError("this kernel has no Landlock")
    rights = (1 << 13) - 1
    for since, right in ((2, 1 << 13), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        rights |= right if abi >= since else 0
    handled = struct.pack("=QQQ", rights, 0 if network else 3, 3)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    rules = _LIBC.syscall(_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    if rules < 0:
        raise _error("Landlock takes no rules")
    reading = _EXECUTE | _READ_FILE | _READ_DIR
    for kind, granted in (
        ("read", reading),
        ("data", reading & ~_EXECUTE),
        ("write", rights & ~(_MAKE_CHAR | _MAKE_BLOCK)),
        ("devices", _READ_FILE | _WRITE_FILE | _IOCTL_DEV),
    ):
        for path in allowed.get(kind, []):
            _allow(rules, path, granted & rights)
    _allow(rules, f"/proc/{os.getpid()}", _READ_FILE | _READ_DIR)
    if _LIBC.syscall(_RESTRICT_SELF, rules, 0):
        raise _error("Landlock does not restrict")
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no right
    if not os.path.isdir(path):
        rights &= _OF_FILES
    rule = struct.pack("=Qi", rights, place)
    failed = _LIBC.syscall(_ADD_RULE, rules, 1, rule, 0)
    os.close(place)
    if failed:
        raise _error(f"Landlock takes no rule for {path}")


def _seccomp(network: bool, processes: bool, *, alone: bool) -> None:
    """`alone`: it sees no files and no processes but its own, as under bubblewrap.

    Who may not start processes is one, so its limits are those of the whole. Who may can also change the modes and
    times of its files, or is told that it did where those of others can't be told from them.
    """
    machine = os.uname().machine
    if machine not in _MACHINES:
        raise OSError(f"system calls of {machine} are not known here")
    column, architecture = _MACHINES[machine]
    allow, refuse = 0x7FFF0000, 0x00050000 | errno.EPERM
    program: list[tuple[int, int, int, int]] = []

    def load(offset: int) -> None:
        program.append((0x20, 0, 0, offset))

    def answer(code: int) -> None:
        program.append((0x06, 0, 0, code))

    def equal(value: int, skip: int) -> None:
        """Goes on where the loaded word is `value`, else `skip` steps further."""
        program.append((0x15, 0, skip, value))

    load(4)
    equal(architecture, 1)
    program.append((0x05, 0, 0, 1))  # to what follows the next
    answer(0x80000000)  # another machine's calls: the process is ended
    load(0)
    if machine == "x86_64":
        program.append((0x35, 0, 1, 0x40000000))  # the x32 calls
        answer(refuse)
    marks = () if processes and alone else _MARKS.values()
    for both, code in [
        *((both, refuse) for both in _REFUSED.values()),
        *((both, 0x00050000 if processes else refuse) for both in marks),
        *((both, refuse) for both in (() if processes else _FORKS.values())),
    ]:
        number = both[column]
        if number is not None:
            equal(number, 1)
            answer(code)
    # A thread is as the others already, which is what ZeroMQ asks for of each of its own, and ends where it is refused.
    equal(_SET_SCHEDULER[column], 4)
    load(24)
    equal(_SCHED_OTHER, 1)
    answer(0x00050000)
    answer(refuse)
    families = () if not network else (1, *_INTERNET) if alone else _INTERNET
    routes = network and processes  # jobs ask which interfaces there are, as torch.distributed does
    equal(_SOCKET[column], 2 + 2 * len(families) + 5 * routes)
    load(16)
    for family in families:
        equal(family, 1)
        answer(allow)
    if routes:
        equal(_NETLINK, 4)
        load(32)
        equal(_NETLINK_ROUTE, 1)
        answer(allow)
        answer(refuse)
    answer(refuse)
    equal(_CLONE3[column], 1)
    answer(0x00050000 | errno.ENOSYS)  # its flags can't be seen; the C library then calls clone
    if not processes:
        equal(_CLONE[column], 4)
        load(16)
        program.append((0x45, 0, 1, _CLONE_THREAD))
        answer(allow)
        answer(refuse)
    kills = ((_KILL, os.getpid()), (_TKILL, os.getpid()), (_TGKILL, os.getpid()))
    # Landlock lets signals reach its own since its sixth version.
    own_only = () if processes and (alone or landlock_abi() >= 6) else kills
    for numbers, own in (*own_only, (_PRLIMIT, 0)):
        equal(numbers[column], 4)
        load(16)
        equal(own, 1)
        answer(allow)
        answer(refuse)
    answer(allow)
    steps = b"".join(struct.pack("=HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(steps, len(steps))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer)))
    if _LIBC.prctl(_SECCOMP, 2, ctypes.byref(head), 0, 0):
        raise _error("the kernel takes no seccomp filter")


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0):
        raise _error(f"prctl {option} failed")


def _error(what: str) -> OSError:
    return OSError(f"{what}: {os.strerror(ctypes.get_errno())}")


def _fail(message: str) -> NoReturn:
    print(f"confine: {message}", file=sys.stderr, flush=True)
    os._exit(70)


if __name__ == "__main__":
    main()
