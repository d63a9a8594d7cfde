"""What runs and has run: jobs, pipelines, their logs, costs and lineage."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from portico.cli.options import Home, Json, Location, Project, home_of, print_json

app = typer.Typer()
Within = Annotated[str, typer.Option("--project", help="Only what is in this project.", show_default=False)]


@app.command()
def logs(
    job: Annotated[
        str, typer.Argument(help="A job's id, a resource's name or its last part, or RUN/TASK of a pipeline.")
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    project: Within = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """Print the log of a job: a training, a batch prediction, an import …; of an endpoint, what serving left too."""
    from portico.cli.logs import as_json, show

    if json:
        print_json(as_json(home_of(home), job, follow, project))
    else:
        show(home_of(home), job, follow, project)


@app.command()
def jobs(project: Within = "", home: Home = None, json: Json = False) -> None:
    """Say which jobs run and which wait, and for what."""
    from portico.cli.jobs import in_lines, unended

    found = unended(home_of(home), project)
    if json:
        print_json(found)
    else:
        print("\n".join(in_lines(found)) or "No job runs or waits.")


@app.command()
def cost(
    by: Annotated[str, typer.Option(help="resource, model, sku, day, month or label:KEY.")] = "resource",
    start: Annotated[str, typer.Option(help="The first day, 2026-11-01; the first of this month.")] = "",
    end: Annotated[str, typer.Option(help="The last day; today.")] = "",
    project: Project = "portico",
    home: Home = None,
    json: Json = False,
) -> None:
    """Say what was used, and what it would have cost on Google Cloud: an estimate."""
    from portico.cli.cost import found, in_lines
    from portico.client.api import Client

    told = found(Client(home=home_of(home)), project, start, end, by)
    if json:
        print_json(told)
    else:
        print("\n".join(in_lines(told)))


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

    client = Client(home=home_of(home), project=project, location=location)
    if not run:
        some = shown.runs(client)
        if json:
            print_json(some)
        else:
            none = f"No pipeline has run in {client.parent}; --project and --location name another place."
            print("\n".join(shown.in_lines(some)) or none)
            if len(some) == shown.MOST:
                print(f"These are the newest {shown.MOST}.")
        return
    found = shown.follow(client, run) if follow and not json else shown.run(client, run)
    if json:
        print_json(found)
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

    some = found(Client(home=home_of(home), project=project, location=location), trigger)
    if json:
        print_json(some)
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
            help="A model, dataset, endpoint or pipeline's run (projects/P/locations/L/…), gs://BUCKET/OBJECT, a run's "
            "id, or an artifact's display name."
        ),
    ],
    svg: Annotated[
        Path | None, typer.Option(help="Draw it into this file instead.", show_default=False)
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            envvar="GOOGLE_CLOUD_PROJECT",
            help="Where to look for what NAME does not place; in all projects where none is named.",
            show_default=False,
        ),
    ] = None,
    location: Annotated[str, typer.Option(help="Likewise.")] = "us-central1",
    home: Home = None,
    json: Json = False,
) -> None:
    """Draw what something came from and what was made of it: data, trainings, models, endpoints."""
    from portico.cli.lineage import tree
    from portico.cli.lineage_svg import drawing
    from portico.client.api import Client
    from portico.client.lineage import anywhere, around

    if project is None:
        graph = anywhere(home_of(home), location, name)
    else:
        graph = around(Client(home=home_of(home), project=project, location=location), name)
    if svg is not None:
        svg.expanduser().write_text(drawing(graph))
    if json:
        print_json(graph.as_json())
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

    found = repeat(home_of(home), job, project, location, follow=not json)
    if json:
        print_json(found)
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

    show(home_of(home), name)
