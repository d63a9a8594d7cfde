"""The command `portico`. Every command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from portico.errors import PorticoError


class _Group(TyperGroup):
    """A group whose help has each command's whole sentence, where click would cut it."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, " ".join((one.help or "").split())) for name, one in commands if one and not one.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


# Plain help: Typer's coloured one imports Rich, which alone takes longer than the rest of `portico --help`.
app = typer.Typer(
    name="portico",
    cls=_Group,
    help="Google Cloud's machine-learning platform on your own machines.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
samples = typer.Typer(
    help="Public data sets to try things on.",
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
app.add_typer(samples, name="samples")
labels = typer.Typer(
    help="The truth about predictions.",
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
app.add_typer(labels, name="labels")

Home = Annotated[
    Path | None,
    typer.Option(
        help="Where everything is kept (default: $PORTICO_HOME, or ~/.portico).", show_default=False
    ),
]
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
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def main() -> None:
    try:
        app()
    except PorticoError as error:
        _fail(error.message, 1)
    except BrokenPipeError:
        sys.stderr.close()  # `portico … | head`: nobody reads on, and Python would complain at exit
        sys.exit(1)


@app.command()
def up(
    home: Home = None,
    host: Annotated[str, typer.Option(help="The loopback address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8080,
    fronts: Annotated[int, typer.Option(min=1, help="Processes that answer predictions.")] = 1,
    open: Annotated[
        bool, typer.Option("--open", help="Let every user of this machine in without a token.")
    ] = False,
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
) -> None:
    """Start Portico and serve until Ctrl-C or SIGTERM."""
    from portico.cli.up import hide_password, serve

    serve(
        _home(home),
        host,
        port,
        fronts,
        open,
        unconfined,
        hide_password(database),
        ray,
        grpc_port,
        warehouse_memory,
        public_data,
    )


@app.command()
def env(home: Home = None, json: Json = False) -> None:
    """Print the settings for Google's clients: eval "$(portico env)"."""
    from portico.cli.environment import as_shell
    from portico.client import of_a_shell

    values = of_a_shell(_home(home))
    if json:
        _print_json(values)
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

    replace_process(command, _home(home))


@app.command()
def status(home: Home = None, json: Json = False) -> None:
    """Say what runs, what it holds, and how user code is isolated."""
    from portico.cli.status import as_text, collect

    found = collect(_home(home))
    if json:
        _print_json(found)
    else:
        print(as_text(found))


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

    found = backup(_home(home), target.expanduser().absolute())
    if json:
        _print_json(found)
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

    found = restore(source.expanduser().absolute(), _home(home), hide_password(database))
    if json:
        _print_json(found)
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

    found = check(_home(home), accept)
    if json:
        _print_json(found)
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

    found = gc(_home(home), dry_run)
    if json:
        _print_json(found)
    else:
        print(gc_text(found))


@app.command()
def logs(
    job: Annotated[
        str, typer.Argument(help="A job's id, a resource's name or its last part, or RUN/TASK of a pipeline.")
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Print the log of a job: a training, a batch prediction, an import …"""
    from portico.cli.logs import as_json, show

    if json:
        _print_json(as_json(_home(home), job, follow))
    else:
        show(_home(home), job, follow)


@app.command()
def jobs(home: Home = None, json: Json = False) -> None:
    """Say which jobs run and which wait, and for what."""
    from portico.cli.jobs import in_lines, unended

    found = unended(_home(home))
    if json:
        _print_json(found)
    else:
        print("\n".join(in_lines(found)) or "No job runs or waits.")


Project = Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_PROJECT", help="Whose.")]
Location = Annotated[str, typer.Option(help="Likewise.")]


@app.command()
def pipelines(
    run: Annotated[
        str,
        typer.Argument(help="A run: its id, the beginning of one, or its resource name.", show_default=False),
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    graph: Annotated[bool, typer.Option("--graph", help="Show what waits for what instead.")] = False,
    project: Project = "portico",
    location: Location = "us-central1",
    home: Home = None,
    json: Json = False,
) -> None:
    """List the runs of pipelines, or show one task by task, with times; `portico logs RUN/TASK` has a task's log."""
    from portico.cli import pipelines as shown
    from portico.client.api import Client

    client = Client(home=_home(home), project=project, location=location)
    if not run:
        some = shown.runs(client)
        if json:
            _print_json(some)
        else:
            none = f"No pipeline has run in {client.parent}; --project and --location name another place."
            print("\n".join(shown.in_lines(some)) or none)
            if len(some) == shown.MOST:
                print(f"These are the newest {shown.MOST}.")
        return
    found = shown.follow(client, run) if follow and not json else shown.run(client, run)
    if json:
        _print_json(found)
    else:
        print("\n".join(shown.graph(found) if graph else shown.as_text(found)))


@app.command()
def triggers(
    trigger: Annotated[str, typer.Argument(help="One, whose runs to show.", show_default=False)] = "",
    project: Project = "portico",
    location: Location = "us-central1",
    home: Home = None,
    json: Json = False,
) -> None:
    """List what starts pipelines by itself, or what one trigger has started, and why."""
    from portico.cli.triggers import found, in_lines
    from portico.client.api import Client

    some = found(Client(home=_home(home), project=project, location=location), trigger)
    if json:
        _print_json(some)
    else:
        print("\n".join(in_lines(some)) or "There is none.")


@app.command(name="ci")
def run_ci(
    file: Annotated[Path, typer.Argument(help="What the repository declares.", metavar="FILE")] = Path(
        "portico-ci.yaml"
    ),
    out: Annotated[
        Path, typer.Option(help="The folder for verdict.md, verdict.xml and the evaluations.")
    ] = Path("portico-ci"),
    unconfined: Annotated[
        bool, typer.Option("--unconfined", help="Run components' code with all that your user may do.")
    ] = False,
) -> None:
    """Compile a repository's pipeline, test its components, run it on a sample, and hold its model to the one deployed.

    The exit code is 0 where all passed, 1 where a test or a gate failed, 2 where it could not be run.
    """
    import signal

    from portico.cli.ci.run import run
    from portico.cli.progress import telling

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what it has started is ended then, too
    with telling() as tell:
        found = run(file, out, unconfined, tell)
    print(found.markdown())
    sys.exit(found.code)


@app.command()
def lineage(
    name: Annotated[
        str,
        typer.Argument(
            help="A model, dataset or endpoint (projects/P/locations/L/…), gs://BUCKET/OBJECT, or an artifact's "
            "display name."
        ),
    ],
    svg: Annotated[
        Path | None, typer.Option(help="Draw it into this file instead.", show_default=False)
    ] = None,
    project: Annotated[
        str, typer.Option(envvar="GOOGLE_CLOUD_PROJECT", help="Where to look for what NAME does not place.")
    ] = "portico",
    location: Annotated[str, typer.Option(help="Likewise.")] = "us-central1",
    home: Home = None,
    json: Json = False,
) -> None:
    """Draw what something came from and what was made of it: data, trainings, models, endpoints."""
    from portico.cli.lineage import around, tree
    from portico.cli.lineage_svg import drawing
    from portico.client.api import Client

    graph = around(Client(home=_home(home), project=project, location=location), name)
    if svg is not None:
        svg.expanduser().write_text(drawing(graph))
    if json:
        _print_json(graph.as_json())
    elif svg is None:
        print("\n".join(tree(graph)))


@app.command()
def rerun(
    job: Annotated[
        str,
        typer.Argument(help="A training pipeline, a custom job or a trial's: its name, id or resource name."),
    ],
    project: Annotated[
        str, typer.Option(envvar="GOOGLE_CLOUD_PROJECT", help="Where to look for a JOB that is only named.")
    ] = "portico",
    location: Annotated[str, typer.Option(help="Likewise.")] = "us-central1",
    home: Home = None,
    json: Json = False,
) -> None:
    """Repeat a training from its pins, and compare its files with the first's; the exit code is 1 where one differs."""
    from portico.cli.rerun import as_text, repeat

    found = repeat(_home(home), job, project, location, follow=not json)
    if json:
        _print_json(found)
    else:
        print(as_text(found))
    sys.exit(0 if found.get("identical") else 1)


@app.command(name="tensorboard")
def show_tensorboard(
    name: Annotated[
        str, typer.Argument(help="projects/P/locations/L/tensorboards/T, or an experiment: …/experiments/E")
    ],
    home: Home = None,
) -> None:
    """Start TensorBoard on what runs have written, until Ctrl-C."""
    from portico.cli.tensorboard import show

    show(_home(home), name)


@app.command(name="demo")
def run_demo(
    name: Annotated[str, typer.Argument(help="bikes, fairness, employment or training.")] = "bikes",
    home: Home = None,
    json: Json = False,
) -> None:
    """Show Portico on real data: models' lives under a steward, or (training) your own code from run to rerun."""
    from portico.demos.run import main as demo

    sys.exit(demo(None if home is None else home.expanduser().absolute(), json, name))


@samples.command(name="list")
def list_samples(json: Json = False) -> None:
    """Name the data sets that there are."""
    from portico.sandbox.samples import list_samples

    rows = [
        {"name": s.name, "sentence": s.sentence, "package": f"{s.package} {s.version}"}
        for s in list_samples()
    ]
    if json:
        _print_json(rows)
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(f"{row['name']:<{width}}  {row['sentence']}")


@samples.command()
def fetch(name: str, json: Json = False) -> None:
    """Download a data set, once, and print the path of its file."""
    from portico.cli.progress import telling
    from portico.sandbox.samples import path

    with telling() as tell:
        file = path(name, tell)
    if json:
        _print_json({"name": name, "path": str(file)})
    else:
        print(file)


@samples.command()
def public(
    tables: Annotated[
        list[str] | None, typer.Argument(help="DATASET.TABLE; all of them where none is named.")
    ] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Make stand-ins for Google's public tables, under their names in the project bigquery-public-data."""
    from portico.cli.progress import telling
    from portico.client import settings
    from portico.warehouse.client import warehouse
    from portico.warehouse.public.tables import PROJECT, TABLES

    settings(_home(home))  # refuses where nothing runs
    made = []
    with telling() as tell:
        for name in tables or list(TABLES):
            tell(f"Making {PROJECT}.{name}")
            rows = warehouse(_home(home)).ask("make_public_table", name=name)
            made.append({"table": f"{PROJECT}.{name}", "rows": rows})
    if json:
        _print_json(made)
        return
    for one in made:
        print(f"{one['table']}  {one['rows']} rows")


@labels.command(name="add")
def add_labels(
    endpoint: Annotated[str, typer.Argument(help="projects/P/locations/L/endpoints/E")],
    file: Annotated[
        str, typer.Argument(help="CSV, JSON lines or Parquet; a gs:// name is read by the server.")
    ],
    truth: Annotated[str, typer.Option(help="The column with what was true.")] = "truth",
    request_id: Annotated[str, typer.Option(help="The column with the predictions' request ids.")] = "",
    index: Annotated[str, typer.Option(help="The column with the instance's place in the request.")] = "",
    key: Annotated[
        list[str] | None, typer.Option(help="A column that identifies an instance; repeatable.")
    ] = None,
    time: Annotated[str, typer.Option(help="With a key: the newest prediction at or before this time.")] = "",
    observed: Annotated[str, typer.Option(help="The column with when the truth was observed.")] = "",
    influenced: Annotated[
        str,
        typer.Option(
            help="The column that says whether the prediction changed its own truth: true or false."
        ),
    ] = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """Take labels from a file, by request id or by key."""
    from portico.cli.labels import add, as_text
    from portico.cli.progress import telling
    from portico.ml.label_rows import Columns

    columns = Columns(truth, request_id, index, tuple(key or ()), time, observed, influenced)
    with telling() as tell:
        found = add(_home(home), endpoint, file, columns, tell)
    if json:
        _print_json(found)
    else:
        print(as_text(found))


@app.command()
def log(
    endpoint: Annotated[str, typer.Argument(help="projects/P/locations/L/endpoints/E")],
    last: Annotated[
        int | None, typer.Option(min=1, help="So many requests (default: 20, or with --since all).")
    ] = None,
    since: Annotated[str, typer.Option(help="Only predictions made at or after this time.")] = "",
    out: Annotated[Path | None, typer.Option(help="Write them to this file, .parquet or .csv.")] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Show an endpoint's logged predictions, the newest first, with the truth where it is known."""
    from portico.cli.predictions import as_lines, read, write
    from portico.cli.progress import telling

    found = read(_home(home), endpoint, last, since)
    if out is not None:
        with telling() as tell:
            tell(f"writing {out}")
            count = write(out, found)
        print(f"{count:,} requests in {out}")
    elif json:
        _print_json(list(found))
    else:
        for line in as_lines(found):
            print(line)


File = Annotated[
    Path, typer.Option("--file", "-f", help="A steward's or a trigger's YAML file.", show_default=False)
]
Episode = Annotated[str, typer.Argument(help="STEWARD/EPISODE, or the resource name.", show_default=False)]


@app.command()
def apply(file: File, home: Home = None) -> None:
    """Make a steward or a trigger as a file says; the second time nothing changes."""
    from portico.cli.progress import telling
    from portico.cli.stewards import applied

    with telling() as tell:
        text = applied(_home(home), file, tell)
    print(text)


@app.command()
def diff(file: File, home: Home = None) -> None:
    """Say what `portico apply` would change; the exit code is 1 where it would."""
    from portico.cli.stewards import diffed

    lines = diffed(_home(home), file)
    print("\n".join(lines) or "no difference")
    sys.exit(1 if lines else 0)


@app.command()
def get(
    name: Annotated[
        str, typer.Argument(help="STEWARD, STEWARD/episodes, STEWARD/alerts, STEWARD/EPISODE, or nothing.")
    ] = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """Show stewards, or one, or its episodes or alerts, or one episode."""
    from portico.cli.stewards import as_text, found

    value = found(_home(home), name)
    if json:
        _print_json(value)
    else:
        print(as_text(value))


@app.command()
def delete(
    name: Annotated[str, typer.Argument(help="STEWARD, or triggers/TRIGGER.")], home: Home = None
) -> None:
    """Take a model out of its steward's care, and leave the endpoint as it is; or delete a trigger."""
    from portico.cli.stewards import deleted

    print(f"{deleted(_home(home), name)} {name.rpartition('/')[2]}: deleted")


@app.command()
def replay(episode: Episode, home: Home = None, json: Json = False) -> None:
    """Compute an episode's decisions again from its evidence; the exit code is 1 where one differs."""
    from portico.cli.progress import telling
    from portico.cli.stewards import replay_text, replayed

    with telling() as tell:
        tell("computing the decisions again")
        answer = replayed(_home(home), episode)
    if json:
        _print_json(answer)
    else:
        print(replay_text(answer))
    sys.exit(0 if answer.get("agrees") else 1)


@app.command()
def report(
    model: Annotated[str, typer.Argument(help="A model's display name, id or resource name.")],
    out: Annotated[Path, typer.Option(help="The folder to write into.")] = Path(),
    home: Home = None,
) -> None:
    """Write a model card with its history: HTML with pictures, and Markdown."""
    from portico.cli.progress import telling
    from portico.cli.report import write
    from portico.client.api import Client

    with telling() as tell:
        tell("writing the card")
        paths = list(write(Client(home=_home(home)), model, out))
    for path in paths:
        print(path)


Comment = Annotated[str, typer.Option(help="Why; it is kept in the episode.")]


@app.command()
def approve(episode: Episode, comment: Comment = "", home: Home = None) -> None:
    """Let the challenger of an episode that awaits approval go on."""
    from portico.cli.stewards import as_text, decided

    print(as_text(decided(_home(home), episode, True, comment)))


@app.command()
def reject(episode: Episode, comment: Comment = "", home: Home = None) -> None:
    """Stop the challenger of an open episode."""
    from portico.cli.stewards import as_text, decided

    print(as_text(decided(_home(home), episode, False, comment)))


def _home(given: Path | None) -> Path:
    from portico.host.address import default_home

    return default_home() if given is None else given.expanduser().absolute()


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2))


def _fail(message: str, code: int) -> None:
    print(f"portico: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
