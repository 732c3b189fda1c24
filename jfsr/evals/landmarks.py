"""How near the landmarks that a system finds in the low resolution are to the labels: NMSE of the two decodings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jfsr import geometry, metrics
from jfsr.data import heatmaps
from jfsr.evals.context import Column, Context
from jfsr.evals.faces import Faces, Line

NETWORK = ""
COLUMNS = {
    "nmse_soft": Column(
        title="NMSE %",
        digits=2,
        legend="NMSE: mean distance of the landmarks over a size of the face, heatmaps decoded by the centre of mass "
        "around the largest cell, as the authors' code does, or by that cell alone (arg-max).",
    ),
    "nmse": Column(title="NMSE % (arg-max)", digits=2),
}
# column -> the system's output that it scores
OUTPUTS = {"nmse_soft": "landmarks_soft_px", "nmse": "landmarks_px"}
# column -> of images.csv: what perfect heatmaps would score
FLOORS = {"nmse_soft": "nmse_soft_floor", "nmse": "nmse_floor"}
COUNTS = ("landmarks_found", "landmarks_labelled")  # of images.csv, where these two differ
SIGMA_PX, FLOOR = 4.0, 0.01  # of JASRNet's heatmaps, on its 128×128 faces


def run(faces: Iterable[Faces], context: Context) -> list[Line]:
    """Scores the landmarks that the system finds against the labels that are known and visible.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      context: its ``normaliser``, see :func:`jfsr.metrics.nmse`.

    Returns:
      One line per face, of the row 'ours' alone: nmse_soft and nmse in percent (NaN = no labels), and beside each its
      floor, see :func:`perfect`; nothing for a system that finds no landmarks. Where it finds other landmarks than the
      faces have, the line says how many each has instead.
    """
    lines: list[Line] = []
    for batch in faces:
        if not batch.found_px:
            continue
        found = {column: batch.found_px[output] for column, output in OUTPUTS.items()}
        counts = found["nmse"].shape[1], batch.landmarks_px.shape[1]
        if counts[0] != counts[1]:
            lines += batch.lines("ours", {key: [n] * len(batch.names) for key, n in zip(COUNTS, counts, strict=True)})
            continue
        how: dict[str, Any] = {"visible": batch.visible, "normaliser": context.normaliser, "box_px": batch.box_px}
        scores = {column: metrics.nmse(points, batch.landmarks_px, **how) for column, points in found.items()}
        for column, points in perfect(batch).items():
            scores[FLOORS[column]] = metrics.nmse(points, batch.landmarks_px, **how)
        lines += batch.lines("ours", scores)
    return lines


def perfect(batch: Faces) -> dict[str, Float[np.ndarray, "n k 2"]]:
    """Landmarks as each column decodes the labels' own heatmaps, of the size of the low resolution (JASRNet's).

    A network cannot be expected to score better: this is the error of the cells (8 px wide for 16 of them) alone.
    """
    size, image_size = batch.lr.shape[1], batch.images["original"].shape[1]
    maps = heatmaps.landmark_heatmaps(
        jnp.asarray(batch.landmarks_px),
        jnp.asarray(batch.visible),
        size=size,
        image_size=image_size,
        sigma_px=SIGMA_PX * image_size / geometry.HR_SIZE,
        floor=FLOOR,
    )
    drawn = np.asarray(heatmaps.inside(jnp.asarray(batch.landmarks_px), image_size))[..., None]
    decode = lambda soft: np.asarray(geometry.decode_heatmaps(maps, image_size=image_size, soft=soft))
    # A landmark outside the picture has no heatmap; that is no error of the decoding.
    return {key: np.where(drawn, decode(key == "nmse_soft"), batch.landmarks_px) for key in FLOORS}


def facts(lines: list[Line], context: Context) -> list[str]:
    """Failures, the area under the error curve, and the floor of each decoding, where some face has labels."""
    ours = [line for line in lines if line["row"] == "ours"]
    if other := next((line for line in ours if COUNTS[0] in line), None):
        return [
            f"Landmarks not scored: the system finds {other[COUNTS[0]]} landmarks, and these faces have "
            f"{other[COUNTS[1]]} of their own; train with model.landmarks={other[COUNTS[1]]}"
        ]
    values = {
        key: np.array([line.get(key, np.nan) for line in ours], np.float64) for key in (*FLOORS, *FLOORS.values())
    }
    errors = values["nmse_soft"]
    if not np.isfinite(errors).any():
        return []
    floor = {column: f"{np.nanmean(values[key]):.2f} %" for column, key in FLOORS.items()}
    return [
        f"Landmarks over {context.normaliser}: {metrics.failure_rate(errors):.1f} % of the faces above 10 %; area "
        f"under the curve up to 10 %: {metrics.error_auc(errors):.1f} %",
        f"Perfect heatmaps of these faces would score {floor['nmse_soft']}, and {floor['nmse']} by arg-max: what the "
        "size of their cells costs",
    ]
