"""What a program will import, as far as its text says so: a process from which trials are forked begins with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

_LONGEST = 1 << 20  # characters of a program that is read
_BLOCKS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.With, ast.If)


def modules_of(command: Sequence[str], paths: Sequence[Path | str] = ()) -> list[str]:
    """The modules that Python's `command` (`python -c TEXT`, `-m MODULE`, below one of `paths`, or a file) imports at
    its top or in a function, in their order; not what a condition or an exception decides, nor what is the program's
    own. Nothing of a text that can't be read."""
    arguments = [one for one in command[1:] if one != "-u"][:2] or [""]
    folders = [Path(path) for path in paths]
    if arguments[0] == "-c":
        text = arguments[1] if len(arguments) > 1 else ""
    else:
        file = arguments[0]
        if file == "-m" and len(arguments) > 1:
            inner = arguments[1].replace(".", "/")
            tried = [folder / name for folder in folders for name in (f"{inner}.py", f"{inner}/__main__.py")]
            file = next((str(one) for one in tried if one.is_file()), "")
        folders.append(Path(file).parent)
        text = _text(Path(file)) if file.endswith(".py") else ""
    if len(text) > _LONGEST:
        return []
    try:
        found = list(dict.fromkeys(_imported(ast.parse(text).body)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [name for name in found if not any(_is_in(folder, name) for folder in folders)]


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""


def _imported(body: Sequence[ast.stmt]) -> Iterator[str]:
    for one in body:
        if isinstance(one, ast.Import):
            yield from (alias.name for alias in one.names)
        elif isinstance(one, ast.ImportFrom):
            if one.module and not one.level:
                yield one.module
        elif isinstance(one, _BLOCKS) and (
            not isinstance(one, ast.If) or "__name__" in ast.unparse(one.test)
        ):
            yield from _imported(one.body)


def _is_in(folder: Path, name: str) -> bool:
    first = name.partition(".")[0]
    return (folder / first).is_dir() or (folder / f"{first}.py").is_file()
