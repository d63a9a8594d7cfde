"""Files of models in Cloud Storage: those that CREATE MODEL imports."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from portico.errors import InvalidArgument
from portico.services.call import Call
from portico.services.standard.sources import Source, gcs_of, pin

_PATH = re.compile(r"""\bMODEL_PATH\s*=\s*(?:r|R)?("|')(gs://[^"'\n]+)\1""", re.IGNORECASE)
_ENDINGS = (".onnx", ".json", ".ubj", ".bst", ".model", ".xgb")


@contextlib.contextmanager
def imported(call: Call, holder: str, text: str) -> Iterator[dict[str, str]]:
    """The files that MODEL_PATH names in a query's text, by their gs:// names; they stay as they are meanwhile.

    One that is not there has an empty name.

    Raises:
        InvalidArgument: a name with wildcards names several models.
    """
    uris = list(dict.fromkeys(uri for _, uri in _PATH.findall(text)))
    if not uris:
        yield {}
        return
    gcs = gcs_of(call.rooms)
    try:
        files = {}
        for uri in uris:
            try:
                found = pin(gcs, [uri], holder, "MODEL_PATH")
            except InvalidArgument:
                files[uri] = ""
            else:
                files[uri] = str(_one(uri, found).path(call.rooms.home))
        yield files
    finally:
        gcs.unpin(holder)


def _one(uri: str, found: list[Source]) -> Source:
    models = [one for one in found if one.uri.lower().endswith(_ENDINGS)]
    for chosen in (found, models):
        if len(chosen) == 1:
            return chosen[0]
    raise InvalidArgument(
        f"MODEL_PATH {uri} names {len(found)} objects; name one file, with an ending of {', '.join(_ENDINGS)}",
        reason="invalidQuery",
    )
