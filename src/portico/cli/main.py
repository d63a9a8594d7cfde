"""The command `portico`. Every command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import atexit
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from portico.cli.audit import audit
from portico.cli.commands import home as home_commands
from portico.cli.commands import jobs, samples, stewards
from portico.cli.groups import groups
from portico.cli.identities import iam, users
from portico.cli.options import DatabaseUrl, Group, Home, Json, home_of, print_json
from portico.errors import PorticoError


class Auth(StrEnum):
    OWNER = "owner"
    REQUIRED = "required"
    OPEN = "open"


# Plain help: Typer's coloured one imports Rich, which alone takes longer than the rest of `portico --help`.
app = typer.Typer(
    name="portico",
    cls=Group,
    help="Google Cloud's machine-learning platform on your own machines.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for commands in (home_commands, jobs, samples, stewards):
    app.add_typer(commands.app)
app.add_typer(samples.samples, name="samples")
app.add_typer(stewards.labels, name="labels")
app.add_typer(audit, name="audit")
users.add_typer(groups, name="group")
app.add_typer(users, name="users")
app.add_typer(iam, name="iam")


def main() -> None:
    try:
        app()
    except PorticoError as error:
        print(f"portico: {error.message}", file=sys.stderr)
        _end(1)
    except BrokenPipeError:
        sys.stderr.close()  # `portico … | head`: nobody reads on, and Python would complain at exit
        sys.exit(1)


def _end(code: int) -> NoReturn:
    """Ends now: where what went wrong cut the reading of a file short, a thread of Arrow's may still read ahead, and
    aborts the process when Python takes itself to pieces around it."""
    atexit._run_exitfuncs()  # temporary folders
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@app.command()
def up(
    home: Home = None,
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen on. Where other machines reach it, by TLS alone, and with --auth required."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8080,
    fronts: Annotated[int, typer.Option(min=1, help="Processes that answer predictions.")] = 1,
    auth: Annotated[
        Auth,
        typer.Option(
            help="Who needs no token: the owner, who is the user of this machine that runs it; nobody, where one is "
            "required; or, with open, every user of this machine."
        ),
    ] = Auth.OWNER,
    unconfined: Annotated[
        bool, typer.Option("--unconfined", help="Run models' code with all that your user may do.")
    ] = False,
    database: DatabaseUrl = None,
    ray: Annotated[
        str | None,
        typer.Option(
            envvar="PORTICO_RAY",
            metavar="HOST:PORT",
            help="The head of a Ray cluster: custom jobs, trials, training and batch prediction run on its nodes.",
            show_default=False,
            show_envvar=False,
        ),
    ] = None,
    grpc_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where gRPC is spoken; 0 picks a free one.")
    ] = 0,
    warehouse_memory: Annotated[
        str | None,
        typer.Option(
            envvar="PORTICO_WAREHOUSE_MEMORY",
            metavar="SIZE",
            help="What BigQuery's queries may hold in memory before they go on on disk, such as 4GB; "
            "four fifths of the machine's without it.",
            show_default=False,
            show_envvar=False,
        ),
    ] = None,
    public_data: Annotated[
        bool,
        typer.Option(
            "--public-data",
            envvar="PORTICO_PUBLIC_DATA",
            help="Make stand-ins of Google's public tables (bigquery-public-data.…) at their first use.",
            show_envvar=False,
        ),
    ] = False,
    certificate: Annotated[
        Path | None,
        typer.Option(
            help="For other machines: a file with the certificate, and its chain (PEM). A self-made one without it.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="The file with its private key, where that is another.", show_default=False),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="By which other machines know this one, for the self-made certificate; repeatable.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start Portico and serve until Ctrl-C or SIGTERM."""
    from portico.cli.up import hide_password, serve

    serve(
        home_of(home),
        host,
        port,
        fronts,
        auth.value,
        unconfined,
        hide_password(database),
        ray,
        grpc_port,
        warehouse_memory,
        public_data,
        certificate,
        key,
        name or (),
    )


@app.command()
def env(home: Home = None, json: Json = False) -> None:
    """Print the settings for Google's clients: eval "$(portico env)"."""
    from portico.cli.environment import as_shell
    from portico.client import of_a_shell

    values = of_a_shell(home_of(home))
    if json:
        print_json(values)
    else:
        print(as_shell(values))


@app.command(
    name="exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    no_args_is_help=True,
)
def execute(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", show_default=False)],
    home: Home = None,
) -> None:
    """Run a command with Google's clients pointed here: portico exec -- python script.py"""
    from portico.cli.environment import replace_process

    replace_process(command, home_of(home))


@app.command()
def status(home: Home = None, json: Json = False) -> None:
    """Say what runs, what it holds, and how user code is isolated."""
    from portico.cli.status import as_text, collect

    found = collect(home_of(home))
    if json:
        print_json(found)
    else:
        print(as_text(found))


if __name__ == "__main__":
    main()
