"""Attributions of an image as Vertex AI shows them: a picture, `{"b64_jpeg": ...}`, as the input's `visualization` says
(ExplanationMetadata.InputMetadata.Visualization). Imported by `worker_gradients` alone.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import tensorflow as tf

_UPPER, _LOWER = 99.9, 62.0  # percents, Google's defaults
# For attributions against and for the output, red, green and blue.
_MAPS = {
    "PINK_GREEN": ((197, 27, 125), (77, 146, 33)),
    "PINK_WHITE_GREEN": ((197, 27, 125), (77, 146, 33)),
    "RED_GREEN": ((215, 48, 39), (26, 152, 80)),
    "RED": ((215, 48, 39), (215, 48, 39)),
    "GREEN": ((26, 152, 80), (26, 152, 80)),
}
_VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


class NoPicture(Exception):
    """What is attributed is no image."""


def shown(sums: Any, picture: Any, looks: dict[str, Any], *, xrai: bool) -> dict[str, str]:
    """`sums` are the attributions, of height × width or also of the channels of `picture`, which is height × width ×
    1 or 3; `looks` is the Visualization (JSON)."""
    if picture.ndim != 3 or picture.shape[-1] not in (1, 3):
        raise NoPicture(
            f"an input of the modality image is height × width × 1 or 3; this one is {list(picture.shape)}"
        )
    flat = sums.sum(-1) if sums.ndim == 3 else sums
    strength, sign = _strength(flat, looks)
    if looks.get("type") == "OUTLINES" and not xrai:
        strength = _outlines(strength)
    colours = _coloured(strength, sign, looks.get("colorMap") or ("VIRIDIS" if xrai else "PINK_GREEN"))
    mixed = _over(colours, strength, _original(picture), looks.get("overlayType") or "NONE")
    jpeg = tf.io.encode_jpeg(tf.constant(np.clip(mixed, 0, 255).astype(np.uint8)), quality=95)
    return {"b64_jpeg": base64.b64encode(jpeg.numpy()).decode()}


def _strength(flat: Any, looks: dict[str, Any]) -> tuple[Any, Any]:
    """From 0 to 1 how much each pixel is highlighted, and whether for or against the output."""
    polarity = looks.get("polarity") or "POSITIVE"
    kept = np.abs(flat) if polarity == "BOTH" else np.maximum(-flat if polarity == "NEGATIVE" else flat, 0)
    low = np.percentile(kept, float(looks.get("clipPercentLowerbound", _LOWER)))
    high = np.percentile(kept, float(looks.get("clipPercentUpperbound") or _UPPER))
    span = high - low
    strength = np.clip((kept - low) / span, 0, 1) if span > 0 else (kept > low).astype(float)
    return strength, np.sign(flat)


def _outlines(strength: Any) -> Any:
    """The edges of the regions that are highlighted."""
    inside = strength > 0
    edged = np.pad(inside, 1)
    within = edged[:-2, 1:-1] & edged[2:, 1:-1] & edged[1:-1, :-2] & edged[1:-1, 2:]
    return (inside & ~within).astype(float)


def _coloured(strength: Any, sign: Any, name: str) -> Any:
    if name == "VIRIDIS":
        stops = np.linspace(0, 1, len(_VIRIDIS))
        return np.stack([np.interp(strength, stops, channel) for channel in np.transpose(_VIRIDIS)], -1)
    against, supporting = (np.array(one, float) for one in _MAPS.get(name, _MAPS["PINK_GREEN"]))
    return np.where((sign < 0)[..., None], against, supporting)


def _over(colours: Any, strength: Any, original: Any, overlay: str) -> Any:
    """The colours over black, the original, or its shades of grey; or the original where it is highlighted."""
    share = strength[..., None]
    if overlay == "MASK_BLACK":
        return original * share
    below = np.zeros_like(original)
    if overlay == "ORIGINAL":
        below = original
    elif overlay == "GRAYSCALE":
        below = np.repeat(original.mean(-1, keepdims=True), 3, -1)
    return colours * share + below * (1 - share)


def _original(picture: Any) -> Any:
    low, high = float(picture.min()), float(picture.max())
    scaled = (picture - low) / ((high - low) or 1.0) * 255
    return np.repeat(scaled, 3, -1) if scaled.shape[-1] == 1 else scaled
