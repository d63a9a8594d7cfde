"""The care for deployed models: labels, the prediction log, stewards, episodes and model cards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from portico.cli.options import Home, Json, group, home_of, print_json

app = typer.Typer()
labels = group("The truth about predictions.")


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
        found = add(home_of(home), endpoint, file, columns, tell)
    if json:
        print_json(found)
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

    found = read(home_of(home), endpoint, last, since)
    if out is not None:
        with telling() as tell:
            tell(f"writing {out}")
            count = write(out, found)
        print(f"{count:,} requests in {out}")
    elif json:
        print_json(list(found))
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
        text = applied(home_of(home), file, tell)
    print(text)


@app.command()
def diff(file: File, home: Home = None) -> None:
    """Say what `portico apply` would change; the exit code is 1 where it would."""
    from portico.cli.stewards import diffed

    lines = diffed(home_of(home), file)
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

    value = found(home_of(home), name)
    if json:
        print_json(value)
    else:
        print(as_text(value))


@app.command()
def delete(
    name: Annotated[str, typer.Argument(help="STEWARD, or triggers/TRIGGER.")], home: Home = None
) -> None:
    """Take a model out of its steward's care, and leave the endpoint as it is; or delete a trigger."""
    from portico.cli.stewards import deleted

    print(f"{deleted(home_of(home), name)} {name.rpartition('/')[2]}: deleted")


@app.command()
def replay(episode: Episode, home: Home = None, json: Json = False) -> None:
    """Compute an episode's decisions again from its evidence; the exit code is 1 where one differs."""
    from portico.cli.progress import telling
    from portico.cli.stewards import replay_text, replayed

    with telling() as tell:
        tell("computing the decisions again")
        answer = replayed(home_of(home), episode)
    if json:
        print_json(answer)
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
        paths = list(write(Client(home=home_of(home)), model, out))
    for path in paths:
        print(path)


Comment = Annotated[str, typer.Option(help="Why; it is kept in the episode.")]


@app.command()
def approve(episode: Episode, comment: Comment = "", home: Home = None) -> None:
    """Let the challenger of an episode that awaits approval go on."""
    from portico.cli.stewards import as_text, decided

    print(as_text(decided(home_of(home), episode, "approve", comment)))


@app.command()
def reject(episode: Episode, comment: Comment = "", home: Home = None) -> None:
    """Stop the challenger of an open episode."""
    from portico.cli.stewards import as_text, decided

    print(as_text(decided(home_of(home), episode, "reject", comment)))


@app.command("roll-back")
def roll_back(episode: Episode, comment: Comment = "", home: Home = None) -> None:
    """Undo the promotion of an episode: deploy its champion again, and take its challenger out of service."""
    from portico.cli.stewards import as_text, decided

    print(as_text(decided(home_of(home), episode, "roll_back", comment)))
