"""What keeps a home: copies of it, a look whether it is whole, and what may go."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from portico.cli.options import DatabaseUrl, Home, Json, home_of, print_json

app = typer.Typer()


@app.command()
def backup(
    target: Annotated[
        Path, typer.Argument(metavar="DEST", help="The new folder to write.", show_default=False)
    ],
    home: Home = None,
    json: Json = False,
) -> None:
    """Copy the home, whole and at one moment, also while the server runs."""
    from portico.cli.keeping import backup, copied_text

    found = backup(home_of(home), target.expanduser().absolute())
    if json:
        print_json(found)
    else:
        print(copied_text(found))


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A backup's folder.", show_default=False)],
    home: Home = None,
    database: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Make a new home from a backup."""
    from portico.cli.keeping import copied_text, restore
    from portico.cli.up import hide_password

    found = restore(source.expanduser().absolute(), home_of(home), hide_password(database))
    if json:
        print_json(found)
    else:
        print(copied_text(found).replace(str(found["backup"]), str(found["home"])))


@app.command()
def check(
    accept: Annotated[
        bool, typer.Option("--accept", help="Take a database that `up` refuses as it is. Deletes nothing.")
    ] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Check the database, and that each file it names is there and whole; the exit code is 1 where one is not."""
    from portico.cli.keeping import check, check_text, is_well

    found = check(home_of(home), accept)
    if json:
        print_json(found)
    else:
        print(check_text(found))
    sys.exit(0 if is_well(found) else 1)


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Remove what ended work has left and nothing needs; the server does it by itself every hour."""
    from portico.cli.keeping import gc, gc_text

    found = gc(home_of(home), dry_run)
    if json:
        print_json(found)
    else:
        print(gc_text(found))
