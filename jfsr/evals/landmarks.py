"""How near the landmarks that a system finds in the low resolution are to the labels: NMSE of the two decodings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jfsr import metrics
from jfsr.evals.faces import Faces

# column -> the system's output; the first is the one that papers report
DECODINGS = {"nmse": "landmarks_px", "nmse_soft": "landmarks_soft_px"}


def run(faces: Iterable[Faces], protocol: Any) -> list[dict[str, Any]]:
    """Scores the found landmarks against those labels that are known and visible.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      protocol: reads ``normaliser``, see :func:`jfsr.metrics.nmse`.

    Returns:
      One row per face for the method 'ours' alone: position, name, method; nmse, by arg-max, and nmse_soft, in percent
      (NaN = no labels); nothing for a system that finds no landmarks.
    """
    rows: list[dict[str, Any]] = []
    for some in faces:
        if not some.found_px:
            continue
        how = {"visible": some.visible, "normaliser": protocol.normaliser}
        scores = {
            column: metrics.nmse(some.found_px[output], some.landmarks_px, **how)
            for column, output in DECODINGS.items()
        }
        for i, name in enumerate(some.names):
            row: dict[str, Any] = {"position": int(some.position[i]), "name": name, "method": "ours"}
            rows.append(row | {column: float(values[i]) for column, values in scores.items()})
    return rows
