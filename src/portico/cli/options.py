"""What the modules of commands share: the options that many commands have, and how they print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup


class Group(TyperGroup):
    """A group whose help has each command's whole sentence, where click would cut it."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, " ".join((one.help or "").split())) for name, one in commands if one and not one.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def group(help: str) -> typer.Typer:
    """A command with commands of its own."""
    return typer.Typer(
        help=help, cls=Group, no_args_is_help=True, rich_markup_mode=None, add_completion=False
    )


Home = Annotated[
    Path | None,
    typer.Option(
        help="Where everything is kept (default: $PORTICO_HOME, or ~/.portico).", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Project = Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_PROJECT", help="Whose.")]
Location = Annotated[str, typer.Option(help="Likewise.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database",
        envvar="PORTICO_DATABASE",
        metavar="URL",
        help="postgresql://USER@HOST/DATABASE: where the rows are kept; the home remembers it (default: SQLite in the "
        "home).",
        show_default=False,
        show_envvar=False,
    ),
]


def home_of(given: Path | None) -> Path:
    from portico.host.address import default_home

    return default_home() if given is None else given.expanduser().absolute()


def print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2))
