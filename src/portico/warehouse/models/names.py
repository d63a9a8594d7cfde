"""Functions of BigQuery ML that Portico has not, by name: what is said where one is called."""

from __future__ import annotations

from portico.errors import InvalidArgument, Unimplemented
from portico.ml.bqml import free, kinds

_GOOGLES = {
    "Gemini, or another generative model": (
        "AI.GENERATE", "AI.GENERATE_TEXT", "AI.GENERATE_TABLE", "AI.GENERATE_BOOL", "AI.GENERATE_INT",
        "AI.GENERATE_DOUBLE", "AI.IF", "AI.CLASSIFY", "AI.SCORE", "AI.AGG", "AI.COUNT_TOKENS", "ML.GENERATE_TEXT",
    ),
    "an embedding model": ("AI.EMBED", "AI.SIMILARITY", "AI.SEARCH", "ML.GENERATE_TEXT_EMBEDDING"),
    "a service of Google's": (
        "ML.UNDERSTAND_TEXT", "ML.TRANSLATE", "ML.PROCESS_DOCUMENT", "ML.TRANSCRIBE", "ML.ANNOTATE_IMAGE",
        "AI.PARSE_DOCUMENT",
    ),
    "TimesFM": ("AI.FORECAST", "AI.EVALUATE", "AI.DETECT_ANOMALIES"),
    "TabFM": ("AI.PREDICT",),
}  # fmt: skip
_INSTEAD = {
    "AI.FORECAST": "; an ARIMA_PLUS model forecasts by ML.FORECAST",
    "AI.EVALUATE": "; an ARIMA_PLUS model is evaluated by ML.EVALUATE",
    "AI.DETECT_ANOMALIES": "; an ARIMA_PLUS model finds anomalies by ML.DETECT_ANOMALIES",
}
_NOT_BUILT = (
    "ML.DECODE_IMAGE", "ML.RESIZE_IMAGE", "ML.CONVERT_IMAGE_TYPE",
    "ML.CONVERT_COLOR_SPACE", "ML.DETECT_CHANGE_POINTS", "AI.CAUSAL_EFFECT",
)  # fmt: skip
OF_TABLES = {
    "ML.TRANSFORM",
    "ML.TRIAL_INFO",
    *free.FREE,
    *(name for one in kinds.KINDS.values() for name in one.functions()),
}


def check(name: str) -> None:
    """
    Raises:
        Unimplemented: BigQuery ML has this function, and Portico has not.
    """
    for model, names in _GOOGLES.items():
        if name in names:
            raise Unimplemented(
                f"{name} needs {model}, which is not on this machine{_INSTEAD.get(name, '')}."
            )
    if name in _NOT_BUILT:
        raise Unimplemented(f"{name} is not built in Portico.")


def unknown(name: str, kind: str = "Function") -> InvalidArgument:
    """That there is no such function."""
    return InvalidArgument(f"{kind} not found: {name}", reason="invalidQuery")
