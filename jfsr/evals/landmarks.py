"""How near the landmarks that a system finds in the low resolution are to the labels: NMSE of the two decodings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from jfsr import metrics
from jfsr.evals.context import Column, Context
from jfsr.evals.faces import Faces, Line

NETWORK = ""
COLUMNS = {
    "nmse": Column(
        title="NMSE %",
        digits=2,
        legend="NMSE: mean distance of the landmarks over a size of the face, heatmaps decoded by arg-max or by centre "
        "of mass.",
    ),
    "nmse_soft": Column(title="NMSE % (soft)", digits=2),
}
# column -> the system's output that it scores
OUTPUTS = {"nmse": "landmarks_px", "nmse_soft": "landmarks_soft_px"}


def run(faces: Iterable[Faces], context: Context) -> list[Line]:
    """Scores the landmarks that the system finds against the labels that are known and visible.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      context: its ``normaliser``, see :func:`jfsr.metrics.nmse`.

    Returns:
      One line per face, of the row 'ours' alone: nmse, by arg-max, and nmse_soft, in percent (NaN = no labels); nothing
      for a system that finds no landmarks.
    """
    lines: list[Line] = []
    for batch in faces:
        if not batch.found_px:
            continue
        how: dict[str, Any] = {"visible": batch.visible, "normaliser": context.normaliser}
        scores = {
            column: metrics.nmse(batch.found_px[output], batch.landmarks_px, **how)
            for column, output in OUTPUTS.items()
        }
        lines += batch.lines("ours", scores)
    return lines


def facts(lines: list[Line], context: Context) -> list[str]:
    """The share of failures and the area under the error curve, where some face has labels."""
    errors = np.array([line.get("nmse", np.nan) for line in lines if line["row"] == "ours"], np.float64)
    if not np.isfinite(errors).any():
        return []
    return [
        f"Landmarks by arg-max, over {context.normaliser}: {metrics.failure_rate(errors):.1f} % of the faces "
        f"above 10 %; area under the curve up to 10 %: {metrics.error_auc(errors):.1f} %"
    ]
