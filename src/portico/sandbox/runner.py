"""A Python that waits for what it shall run: `python runner.py MODULES [SOCKET]`, already behind its walls.

It imports MODULES (names with commas between), then reads one line of JSON from its standard input, and becomes what
that says: the interpreter is there, and so are the libraries. With a SOCKET (its number) it stays: empty lines come
from there, each with three files, and a child that it forks becomes what the first holds and writes into the others;
of its end the socket gets {"code"}. A line {"import": MODULES} has it import more. It itself never computes, so that a
fork is safe. Self-contained: it runs in any environment. The line:

    command      as a shell would get it; what is `python -c`, `python -m` or a script runs here, all else is executed
    environment  all variables
    paths        for sys.path, before what is installed
    told         a file for the names of the installed modules that were imported, for the next one to begin with
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import json
import os
import sys
import threading
import traceback
import types
from typing import Any, NoReturn

_MOST = 400  # modules
# What starts threads when it is imported: each child imports it itself.
NEVER_FORKED = frozenset({"tensorflow", "jax", "ray", "pyspark"})


def main() -> None:
    if len(sys.argv) > 2:
        given = _child_of(int(sys.argv[2]))
    else:
        _import(sys.argv[1])
        given = _line()
    os.environ.clear()
    os.environ.update(given["environment"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.path[:] = [*given["paths"], *(one for one in sys.path if one != os.path.dirname(__file__))]
    atexit.register(_tell, given["told"])
    command = given["command"]
    if os.path.basename(command[0]) not in ("python", "python3", os.path.basename(sys.executable)):
        os.execvp(command[0], command)
    if len(sys.argv) > 2:
        _end(command)
    _run(command)


def _end(command: list[str]) -> NoReturn:
    """Runs it in a forked child, and ends that without taking down what it was forked with, which would take longer
    than all else of a short one."""
    code = 0
    try:
        _run(command)
    except SystemExit as exited:
        code = exited.code if isinstance(exited.code, int) else int(exited.code is not None)
        if code and not isinstance(exited.code, int):
            print(exited.code, file=sys.stderr)
    except BaseException:
        code = 1
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]  # waits for what threads do
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)


def _import(names: str) -> None:
    for name in filter(None, names.split(",")):
        with contextlib.suppress(Exception):
            __import__(name)


def _child_of(number: int) -> Any:
    """Forks whenever that is asked for; returns in each child, with what that shall run."""
    import gc
    import socket

    control = socket.socket(fileno=number)
    _put([os.open(os.devnull, os.O_WRONLY)] * 2)  # what an import prints
    _import(sys.argv[1])
    if sys.argv[1] and (threading.active_count() > 1 or not NEVER_FORKED.isdisjoint(sys.modules)):
        os.execv(sys.executable, [sys.executable, "-u", sys.argv[0], "", *sys.argv[2:]])  # without them
    gc.freeze()  # of what all children share nothing is garbage
    heard = b""
    files: list[int] = []
    while threading.active_count() == 1:  # a thread would be missing in a child
        while b"\n" not in heard:
            piece, more = _received(control)
            if not piece:
                os._exit(0)  # nobody wants it any more
            heard, files = heard + piece, files + more
        line, _, heard = heard.partition(b"\n")
        if line:
            _import(json.loads(line)["import"])
            gc.freeze()
            continue
        child = os.fork()
        if child == 0:
            control.close()
            told, *streams = files
            _put(streams)
            if "numpy.random" in sys.modules:  # each begins with chances of its own, as a new process does
                sys.modules["numpy.random"].seed()
            with open(told, "rb") as reader:
                return json.load(reader)
        for file in files:
            os.close(file)
        files = []
        status = os.waitpid(child, 0)[1]
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        control.sendall(json.dumps({"code": code}).encode() + b"\n")
    os._exit(1)


def _received(control: Any) -> tuple[bytes, list[int]]:
    """As `socket.recv_fds`, which older Pythons don't have."""
    import array
    import socket

    files = array.array("i")
    piece, ancillary, _, _ = control.recvmsg(65536, socket.CMSG_SPACE(3 * files.itemsize))
    for _, _, data in ancillary:
        files.frombytes(data[: len(data) - len(data) % files.itemsize])
    return piece, list(files)


def _put(files: list[int]) -> None:
    """In the place of the standard output and the standard error."""
    for number, file in enumerate(files, 1):
        os.dup2(file, number)
    for file in set(files):
        os.close(file)


def _line() -> Any:
    read = bytearray()
    while not read.endswith(b"\n"):
        piece = os.read(0, 65536)
        if not piece:
            os._exit(0)  # nobody wants it any more
        read += piece
    return json.loads(read)


def _run(command: list[str]) -> None:
    """Runs a command of Python's in this interpreter, as far as it is one of the plain ones."""
    arguments = command[1:]
    while arguments[:1] == ["-u"]:
        arguments.pop(0)
    if len(arguments) < 1 or (arguments[0].startswith("-") and arguments[0] not in ("-c", "-m")):
        os.execvp(command[0], command)
    kind = arguments[0]
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    try:
        if kind == "-c":
            sys.argv = ["-c", *arguments[2:]]
            sys.path.insert(0, "")
            exec(compile(arguments[1], "<string>", "exec"), module.__dict__)
        elif kind == "-m":
            import runpy

            sys.modules.pop(arguments[1], None)  # imported with what it imports
            sys.argv = [arguments[1], *arguments[2:]]
            sys.path.insert(0, os.getcwd())
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            sys.path.insert(0, os.path.dirname(os.path.abspath(kind)))
            module.__file__ = kind
            with open(kind, "rb") as file:
                exec(compile(file.read(), kind, "exec"), module.__dict__)
    except Exception as error:
        _without_this_file(error)
        traceback.print_exception(type(error), error, error.__traceback__)
        sys.exit(1)


def _without_this_file(error: BaseException) -> None:
    """Its traceback begins where the user's code does."""
    at = error.__traceback__
    while at is not None and at.tb_frame.f_code.co_filename == __file__:
        at = at.tb_next
    error.__traceback__ = at


def _tell(path: str) -> None:
    below = os.path.join(sys.prefix, "lib")
    found = [
        name
        for name, module in list(sys.modules.items())
        if name.count(".") < 2 and str(getattr(module, "__file__", "")).startswith(below)
    ]
    with contextlib.suppress(OSError), open(path, "w") as file:
        file.write(",".join(found[:_MOST]))


if __name__ == "__main__":
    main()
