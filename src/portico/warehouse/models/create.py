"""CREATE, ALTER and DROP MODEL, as statements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlglot import exp

from portico.errors import InvalidArgument, NotFound
from portico.ml.bqml import kinds
from portico.ml.bqml.answers import standard_type
from portico.ml.bqml.model import Given, Model
from portico.ml.bqml.options import COMMON, Search
from portico.warehouse import bignumeric, catalog
from portico.warehouse.models import kept, transforms
from portico.warehouse.models.kept import Entry, Models
from portico.warehouse.models.syntax import Creation
from portico.warehouse.models.trainer import Trainer, Training, give
from portico.warehouse.models.transforms import Over


class Creator:
    """Runs CREATE MODEL.

    Args:
        cursor: on which is read, outside of any lock.
        run: a query's text to its rows; with `limit` 0 only its columns.
        value: an expression's value.
        change: the transaction in which the model's row is written.
        over: as `transforms.fit` needs it.
        file: the file of an object, by its gs:// name.
        endpoint: the resource name of the endpoint that ENDPOINT says.
        training: told of the training while it runs, so that it can be interrupted.
    """

    def __init__(
        self,
        cursor: catalog.Cursor,
        models: Models,
        trainer: Trainer,
        run: Callable[[str, bool], pa.Table],
        value: Callable[[str], Any],
        change: Callable[[], AbstractContextManager[catalog.Cursor]],
        over: Over,
        file: Callable[[str], Path],
        endpoint: Callable[[str], str],
        training: Callable[[Training | None], None],
    ) -> None:
        self._cursor, self._models, self._trainer = cursor, models, trainer
        self._run, self._value, self._change, self._over, self._training = run, value, change, over, training
        self._file, self._endpoint = file, endpoint

    def create(self, creation: Creation, place: tuple[str, str, str], *, dry: bool) -> tuple[Entry, str]:
        """Trains and keeps a model; returns it and what was done: CREATE, REPLACE or SKIP.

        Raises:
            InvalidArgument: the query, an option or the rows allow no such model. AlreadyExists: there is one.
        """
        entry = Entry(*place)
        before = kept.find(self._cursor, *place)
        catalog.require(self._cursor, *place[:2])
        if before is not None and creation.exists_ok:
            return before, "SKIP"
        if before is not None and not creation.replace:
            with self._change() as cursor:
                kept.write(cursor, entry, replace=False)  # refuses
        given = {name: self._option(text) for name, text in creation.options}
        warm = self._warm(given, before, entry)
        with kept.said():
            options = (
                kinds.read_warm_options(given, self._models.load(warm).model)
                if warm is not None
                else kinds.read_options(given, remote=bool(creation.remote))
            )
        if creation.remote:
            return self._remote(entry, creation, options, dry)
        given_to = self._imported(creation, options) or self._queried(creation, options, dry)
        transform = None
        if options["model_type"] == "TRANSFORM_ONLY" and not creation.transform:
            raise InvalidArgument("Model type TRANSFORM_ONLY needs TRANSFORM(…)", reason="invalidQuery")
        if creation.transform and not kinds.kind(options["model_type"]).TRANSFORMS:
            raise InvalidArgument(
                f"TRANSFORM is not supported for model type {options['model_type']}", reason="invalidQuery"
            )
        if creation.transform and given_to.others:
            raise InvalidArgument(
                f"TRANSFORM can't be used together with {' or '.join(given_to.others)}", reason="invalidQuery"
            )
        if dry:
            return entry, "CREATE"
        columns = given_to.rows.schema
        if warm is not None:
            given_to.before = str(self._models.path(warm.folder))
            transform = self._models.load(warm).transform
        if transform is not None:
            given_to.rows = transforms.again(self._cursor, transform, creation.transform, given_to.rows)
        elif warm is not None and creation.transform:
            raise InvalidArgument(
                f"WARM_START: the training of {entry.shown} before had no TRANSFORM; leave it out",
                reason="invalidQuery",
            )
        elif creation.transform:
            transform, given_to.rows = transforms.fit(
                self._cursor, creation.transform, given_to.rows, self._over, _labels_of(options)
            )
        with self._trained(given_to) as (folder, model):
            entry.folder = folder
            entry.body, entry.registers = body(model, options), _registers(options, entry.name)
            entry.warnings = model.run.warnings
            if warm is not None:
                entry.body["trainingRuns"][:0] = warm.body["trainingRuns"]
            if transform is not None:
                (self._models.path(folder) / transforms.FILE).write_text(json.dumps(transform.json()))
                self._models.unload(folder)
                entry.body["featureColumns"] = [_field(columns.field(one)) for one in transform.needed()]
                entry.body["transformColumns"] = [
                    {**_field(given_to.rows.schema.field(one.name)), "transformSql": one.text}
                    for one in transform.items
                ]
            return self._kept(entry, creation)

    def _warm(self, given: dict[str, Any], before: Entry | None, entry: Entry) -> Entry | None:
        """The model that WARM_START goes on with; None without it.

        Raises:
            InvalidArgument: there is none.
        """
        if given.get("warm_start") is not True:
            return None
        if before is None:
            raise InvalidArgument(
                f"WARM_START goes on with a model, and there is none: {entry.shown}", reason="invalidQuery"
            )
        return before

    def _kept(self, entry: Entry, creation: Creation) -> tuple[Entry, str]:
        """Writes down a model whose files are there. Others may have made one of its name since it was begun."""
        with self._change() as cursor:
            if creation.exists_ok and (found := kept.find(cursor, *entry.place)) is not None:
                self._models.forget(entry.folder)
                return found, "SKIP"
            before = kept.write(cursor, entry, replace=creation.replace)
        if before is not None:
            self._models.forget(before.folder)
        return entry, "REPLACE" if before else "CREATE"

    def _remote(
        self, entry: Entry, creation: Creation, options: dict[str, Any], dry: bool
    ) -> tuple[Entry, str]:
        """Keeps a model that asks an endpoint; nothing is trained."""
        if creation.query or creation.named or creation.transform:
            raise InvalidArgument("A remote model has no query and no TRANSFORM", reason="invalidQuery")
        inputs, outputs = creation.columns
        given = Given(pa.table({}), options, inputs=inputs, outputs=outputs, model_type="REMOTE")
        with kept.said():
            model = kinds.train(given)
        endpoint = options["endpoint"]
        if not endpoint:
            raise InvalidArgument("A remote model needs the option ENDPOINT", reason="invalidQuery")
        model.state |= {"connection": _connection(creation.remote), "endpoint": self._endpoint(endpoint)}
        if dry:
            return entry, "CREATE"
        entry.folder, path = self._models.new()
        try:
            model.save(path)
            entry.body = body(model, options)
            return self._kept(entry, creation)
        except BaseException:
            self._models.forget(entry.folder)
            raise

    def _queried(self, creation: Creation, options: dict[str, Any], dry: bool) -> Given:
        if any(creation.columns):
            raise InvalidArgument("INPUT and OUTPUT are only of imported models", reason="invalidQuery")
        (_, query), *named = _queries(creation, options["model_type"]).items()
        rows = kept.distinct(self._run(query, dry), "the query of CREATE MODEL")
        others = {name: kept.distinct(self._run(text, dry), f"the query of {name}") for name, text in named}
        if not dry and not rows.num_rows:
            raise InvalidArgument("The query of CREATE MODEL yields no rows", reason="invalidQuery")
        return Given(rows, options, others, options["model_type"])

    def _imported(self, creation: Creation, options: dict[str, Any]) -> Given | None:
        """What a model that is not trained is made of; None of one that is."""
        if not kinds.kind(options["model_type"]).IMPORTS:
            return None
        if creation.query or creation.named or creation.transform:
            raise InvalidArgument(
                "A model that is imported has no query and no TRANSFORM", reason="invalidQuery"
            )
        if not options["model_path"]:
            raise InvalidArgument("An imported model needs the option MODEL_PATH", reason="invalidQuery")
        data = self._file(options["model_path"]).read_bytes()
        inputs, outputs = creation.columns
        return Given(pa.table({}), options, {}, options["model_type"], data, inputs, outputs)

    @contextmanager
    def _trained(self, given: Given) -> Iterator[tuple[str, Model]]:
        """A folder with the trained model; gone where what is done with it fails."""
        name, path = self._models.new()
        try:
            given.rows = bignumeric.plain(given.rows)
            given.others = {name: bignumeric.plain(one) for name, one in given.others.items()}
            give(path, given)
            training = self._trainer.training()
            self._training(training)
            try:
                finished = training.run(path)
            finally:
                self._training(None)
            if not finished:
                from duckdb import InterruptException

                raise InterruptException("INTERRUPT Error: Interrupted!")
            yield name, self._models.load(Entry("", "", "", name)).model
        except BaseException:
            self._models.forget(name)
            raise

    def _option(self, text: str) -> Any:
        """An option's value; HPARAM_RANGE and HPARAM_CANDIDATES are searches."""
        from portico.warehouse.tokens import expression

        found = expression(text)
        if isinstance(found, exp.Anonymous) and found.name.upper() == "HPARAM_RANGE":
            bounds = [self._value(one.sql("bigquery")) for one in found.expressions]
            try:
                low, high = map(float, bounds)
            except (TypeError, ValueError):
                raise InvalidArgument("HPARAM_RANGE needs two numbers", reason="invalidQuery") from None
            return Search(low, high)
        if isinstance(found, exp.Anonymous) and found.name.upper() == "HPARAM_CANDIDATES":
            values = [self._value(one.sql("bigquery")) for one in found.expressions]
            if len(values) != 1 or not isinstance(values[0], list) or not values[0]:
                raise InvalidArgument(
                    "HPARAM_CANDIDATES needs an array of at least one value", reason="invalidQuery"
                )
            return Search(candidates=tuple(values[0]))
        return self._value(text)


def _queries(creation: Creation, model_type: str) -> dict[str, str]:
    """What a model is trained on, the training data's query first."""
    if not creation.named:
        if not creation.query:
            raise InvalidArgument("CREATE MODEL needs AS and a query", reason="invalidQuery")
        return {"": creation.query}
    known = kinds.kind(model_type).NAMED
    strange = [name for name in creation.named if name not in known]
    if strange:
        takes = f"takes {' and '.join(known)}" if known else "takes one query without a name"
        raise InvalidArgument(f"AS of a {model_type} model {takes}, not {strange[0]}", reason="invalidQuery")
    if known[0] not in creation.named:
        raise InvalidArgument(f"AS needs {known[0]} AS (…)", reason="invalidQuery")
    return {name: creation.named[name] for name in known if name in creation.named}


def _connection(text: str) -> str:
    """The name of REMOTE WITH CONNECTION as the API has it; "" of DEFAULT. It need not be made before: whoever's it is,
    the endpoint is asked as the owner of this machine's Portico.

    Raises:
        InvalidArgument: it is no name of a connection.
    """
    if text.upper() == "DEFAULT":
        return ""
    parts = text.split(".")
    if len(parts) not in (2, 3) or not all(parts):
        raise InvalidArgument(
            f"REMOTE WITH CONNECTION takes `project.location.connection` or DEFAULT, not {text!r}",
            reason="invalidQuery",
        )
    project, location, name = parts if len(parts) == 3 else ["-", *parts]
    return f"projects/{project}/locations/{location}/connections/{name}"


def _registers(options: dict[str, Any], name: str) -> dict[str, Any]:
    """As which model of Vertex AI it is registered; nothing where it is not."""
    if not (options.get("model_registry") or options.get("vertex_ai_model_id")):
        return {}
    return {
        "id": options.get("vertex_ai_model_id") or name.lower().replace(" ", "_"),
        "aliases": options.get("vertex_ai_model_version_aliases") or [],
    }


def _field(column: pa.Field) -> dict[str, Any]:
    return {"name": column.name, "type": standard_type(column.type)}


def _labels_of(options: dict[str, Any]) -> list[str]:
    """Columns that only training needs."""
    names = [*(options.get("input_label_cols") or ())]
    names += [options.get(name) for name in ("data_split_col", "instance_weight_col", "time_series_data_col")]
    return [str(one) for one in names if one]


def body(model: Model, options: dict[str, Any]) -> dict[str, Any]:
    """A model as the API shows it, without its name."""
    shown = {"location": "US", **model.described()}
    for option, name in (("description", "description"), ("friendly_name", "friendlyName")):
        if options.get(option):
            shown[name] = options[option]
    if labels := options.get("labels"):
        shown["labels"] = labels
    if expires := options.get("expiration_timestamp"):
        shown["expirationTime"] = str(expires)
    return shown


def alter(
    cursor: catalog.Cursor,
    models: Models,
    place: tuple[str, str, str],
    exists_ok: bool,
    settings: dict[str, Any],
) -> tuple[Entry, str]:
    """ALTER MODEL … SET OPTIONS; returns the model, and ALTER or SKIP. With VERTEX_AI_MODEL_ID it is registered.

    Raises:
        InvalidArgument: an option can't be set, or the model is registered already.
    """
    found = kept.find(cursor, *place)
    if found is None and exists_ok:
        return Entry(*place), "SKIP"
    found = found or kept.require(cursor, *place)
    settings, registry = dict(settings), "vertex_ai_model_id"
    option = models.load(found).model.OPTIONS.get(registry) if registry in settings else None
    if option is not None:
        if before := (found.body.get("trainingRuns") or [{}])[0].get("vertexAiModelId"):
            raise InvalidArgument(
                f"The model {found.shown} is registered in Vertex AI already, as {before}; make it anew to register it "
                "under another id",
                reason="invalidQuery",
            )
        with kept.said():
            wanted = option.read(registry, settings.pop(registry))
        found.registers = _registers({registry: wanted}, found.name)
    names = {
        "description": "description", "friendly_name": "friendlyName", "labels": "labels",
        "expiration_timestamp": "expirationTime",
    }  # fmt: skip
    for name, value in settings.items():
        if name not in names:
            raise InvalidArgument(f"ALTER MODEL can't set the option {name.upper()}", reason="invalidQuery")
        with kept.said():
            read = COMMON[name].read(name, value)
        found.body[names[name]] = str(read) if isinstance(read, int) else read
    found.body = {key: value for key, value in found.body.items() if value is not None}
    kept.write(cursor, found, replace=True)
    return found, "ALTER"


def drop(cursor: catalog.Cursor, place: tuple[str, str, str], exists_ok: bool) -> tuple[str, str]:
    """Returns DROP or SKIP, and the folder of files that nothing names any more."""
    found = kept.find(cursor, *place)
    if found is None:
        if exists_ok:
            return "SKIP", ""
        raise NotFound(f"Not found: Model {place[0]}:{place[1]}.{place[2]}", reason="notFound")
    kept.drop(cursor, found)
    return "DROP", found.folder
