"""`bq` as notebooks use it, against this server: cp, mk, rm, ls, query, extract and load. What is not here is refused
by name, and never asked of Google.

It runs in the caller's own Python, which may be without Portico: the standard library and Google's client.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import portico_storage_command as storage

if TYPE_CHECKING:
    from collections.abc import Callable

_VALUED = (
    "--location", "--project_id", "--description", "--max_results", "--source_format",
    "--destination_format", "--skip_leading_rows", "--field_delimiter",
)  # fmt: skip
_ALWAYS = {"--location", "--project_id", "--quiet", "-q", "--headless"}
_OPTIONS = {
    "cp": {"-n", "--no_clobber", "-f", "--force", "-a", "--append_table"},
    "mk": {"-d", "--dataset", "--dataset_id", "--description", "-f", "--force"},
    "rm": {"-r", "--recursive", "-f", "--force", "-d", "--dataset", "-t", "--table"},
    "ls": set(),
    "query": {"--use_legacy_sql", "--nouse_legacy_sql"},
    "extract": {"--destination_format", "-m", "--model"},
    "load": {"--source_format", "--skip_leading_rows", "--field_delimiter", "--autodetect", "--replace"},
}


def main(arguments: list[str]) -> int:
    words: list[str] = []
    options: dict[str, str] = {}
    left = iter(arguments)
    for word in left:
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            words.append(word)
        else:
            options[name] = value if equals else next(left, "") if name in _VALUED else ""
    verb, *names = words or [""]
    work: dict[str, Callable[..., int]] = {
        "cp": _copy, "mk": _make, "rm": _remove, "ls": _list, "query": _query, "extract": _extract, "load": _load,
    }  # fmt: skip
    if verb not in work:
        return _fail(f"bq {verb} is not built in Portico; there are {', '.join(work)}.")
    for name in sorted(options.keys() - _ALWAYS - _OPTIONS[verb]):
        return _fail(f"bq {verb} {name} is not built in Portico.")
    try:
        from google.api_core import exceptions
        from google.cloud import bigquery
    except ImportError as error:
        return _fail(f"bq needs google-cloud-bigquery in this Python: {error.msg}.")
    project = options.get("--project_id") or storage.project()
    client = bigquery.Client(project=project, location=options.get("--location") or None)
    try:
        return work[verb](client, names, options)
    except exceptions.GoogleAPICallError as error:
        return _fail(f"BigQuery error in {verb} operation: {error.message}")
    except (OSError, ValueError) as error:
        return _fail(f"BigQuery error in {verb} operation: {error}")


def _fail(message: str) -> int:
    code: int = storage.fail(message)
    return code


def _named(client: Any, names: list[str], options: dict[str, str]) -> str:
    """`[PROJECT:]DATASET[.TABLE]`, also with a dot behind a project whose name no dataset can have, with dots alone.

    Raises:
        ValueError: there is not one name.
    """
    names = names or [options[one] for one in ("--dataset_id",) if one in options]
    if len(names) != 1 or not names[0]:
        raise ValueError("give one name")
    named, colon, rest = names[0].rpartition(":")
    head, _, tail = rest.partition(".")
    if not colon and tail and ("-" in head or "." in tail):
        return names[0]
    return f"{named or client.project}.{rest}"


def _make(client: Any, names: list[str], options: dict[str, str]) -> int:
    name = _named(client, names, options)
    if name.count(".") > 1:
        return _fail("bq mk makes data sets in Portico; a table is made by a query or a load.")
    from google.cloud import bigquery

    made = bigquery.Dataset(name)
    made.description = options.get("--description") or None
    client.create_dataset(made, exists_ok="-f" in options or "--force" in options)
    print(f"Dataset '{name.replace('.', ':')}' successfully created.")
    return 0


def _remove(client: Any, names: list[str], options: dict[str, str]) -> int:
    if "-f" not in options and "--force" not in options:
        return _fail("bq rm asks nobody under Portico: give -f.")
    name = _named(client, names, options)
    if name.count(".") > 1:
        client.delete_table(name, not_found_ok=True)
    else:
        below = "-r" in options or "--recursive" in options
        client.delete_dataset(name, delete_contents=below, not_found_ok=True)
    return 0


def _list(client: Any, names: list[str], options: dict[str, str]) -> int:
    if not names:
        print("".join(f"{one.dataset_id}\n" for one in client.list_datasets()), end="")
    else:
        found = client.list_tables(_named(client, names, options))
        print("".join(f"{one.table_id}\n" for one in found), end="")
    return 0


def _query(client: Any, names: list[str], options: dict[str, str]) -> int:
    if options.get("--use_legacy_sql", "true") != "false" and "--nouse_legacy_sql" not in options:
        return _fail(
            "bq query speaks legacy SQL unless told --nouse_legacy_sql, which is not built in Portico."
        )
    rows = client.query("\n".join(names) or sys.stdin.read()).result()
    print(",".join(field.name for field in rows.schema))
    for row in rows:
        print(",".join("" if value is None else str(value) for value in row.values()))
    return 0


def _copy(client: Any, names: list[str], options: dict[str, str]) -> int:
    from google.cloud import bigquery

    if len(names) != 2:
        raise ValueError("give two tables")
    how = "WRITE_TRUNCATE" if {"-f", "--force"} & options.keys() else "WRITE_EMPTY"
    if {"-a", "--append_table"} & options.keys():
        how = "WRITE_APPEND"
    source, target = (_named(client, [one], options) for one in names)
    made: Any = bigquery.CopyJobConfig
    client.copy_table(source, target, job_config=made(write_disposition=how)).result()
    return 0


def _extract(client: Any, names: list[str], options: dict[str, str]) -> int:
    from google.cloud import bigquery

    if len(names) != 2:
        raise ValueError("give a table, or with -m a model, and a gs:// name")
    source = _named(client, names[:1], options)
    if "-m" in options or "--model" in options:
        client.extract_table(bigquery.Model(source).reference, names[1], source_type="Model").result()
    else:
        made: Any = bigquery.ExtractJobConfig
        config = made(destination_format=options.get("--destination_format") or "CSV")
        client.extract_table(source, names[1], job_config=config).result()
    return 0


def _load(client: Any, names: list[str], options: dict[str, str]) -> int:
    """`load TABLE SOURCE [name:TYPE,…]`, of gs:// names or a file."""
    from google.cloud import bigquery

    if len(names) not in (2, 3):
        raise ValueError(
            "give a table and a source, and behind them name:TYPE,… where there is no --autodetect"
        )
    config = bigquery.LoadJobConfig(source_format=options.get("--source_format") or "CSV")
    config.autodetect = "--autodetect" in options
    config.write_disposition = "WRITE_TRUNCATE" if "--replace" in options else "WRITE_APPEND"
    if "--skip_leading_rows" in options:
        config.skip_leading_rows = int(options["--skip_leading_rows"])
    if "--field_delimiter" in options:
        config.field_delimiter = options["--field_delimiter"]
    if len(names) == 3:
        fields = (one.partition(":") for one in names[2].split(","))
        config.schema = [bigquery.SchemaField(name, kind or "STRING") for name, _, kind in fields]
    table = _named(client, names[:1], options)
    if names[1].startswith("gs://"):
        client.load_table_from_uri(names[1].split(","), table, job_config=config).result()
    else:
        with open(names[1], "rb") as file:
            client.load_table_from_file(file, table, job_config=config).result()
    return 0
