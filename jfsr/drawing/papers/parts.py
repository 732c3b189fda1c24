"""Figs. 3 to 5 of MTUN (Yu et al., 2018), Figs. 1 and 4 of JASRNet (Yin et al., 2020): faces, and their parts.

MTUN's Fig. 1 is its Fig. 5 with one more column, the training faces whose low resolution is nearest; it is not drawn.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jfsr import metrics
from jfsr.data import heatmaps
from jfsr.drawing import figures, plots
from jfsr.drawing.papers.msgan import comparison
from jfsr.drawing.papers.scene import OURS, SHOWN, Drawing, Figure, Scene, absent
from jfsr.evals import Context, landmarks
from jfsr.evals.faces import Faces, Line
from jfsr.tables import protocols


def components(scene: Scene) -> Drawing:
    """Input, original, true heatmaps, ours, and ours under the estimated heatmaps (MTUN Fig. 3)."""
    some, _ = scene.sheet_of(scene.choose(SHOWN))
    if some.components is None:
        raise ValueError(
            f"{scene.protocol.name} needs a system that estimates heatmaps: an mtun with weights.heatmap > 0"
        )
    sigma = scene.systems[OURS].config.heatmap.sigma_px
    true = true_components(some, size=some.components.shape[1], sigma_px=sigma)
    picture = figures.component_comparison(some.lr, some.images["ours"], some.images["original"], some.components, true)
    lines: list[Line] = []
    for i, name in enumerate(some.names):
        for k, part in enumerate(heatmaps.COMPONENTS):
            line: dict[str, Any] = {"name": name, "component": part}
            for kind, maps in (("estimated", some.components), ("true", true)):
                x, y, value = centre(maps[i, ..., k], image_size=some.images["ours"].shape[1])
                line |= {f"{kind}_x_px": x, f"{kind}_y_px": y, f"{kind}_peak": value}
            lines.append(line)
    notes = ["Eyes red, nose green, mouth blue, chin yellow; hidden components have no heatmap"]
    if not np.isfinite(some.landmarks_px).any():
        notes.append("The true heatmaps are black: these faces have no landmarks")
    return Drawing(picture, lines, notes)


def true_components(some: Faces, *, size: int, sigma_px: float) -> Float[np.ndarray, "n m m 4"]:
    """Heatmaps of the labels, as in training: hidden points left out."""
    visible = heatmaps.self_occluded(jnp.asarray(some.visible), jnp.asarray(some.pose_deg))
    points, side = jnp.asarray(some.landmarks_px), some.images["original"].shape[1]
    maps = heatmaps.component_heatmaps(points, visible, size=size, image_size=side, sigma_px=sigma_px)
    return np.asarray(maps)


def centre(heat: Float[np.ndarray, "m m"], *, image_size: int) -> tuple[float, float, float]:
    """Where a component is, in pixels of the image, and its heatmap's largest value; NaN where nothing is above 0.

    That is the centre of mass of what is above half of the largest value: between the eyes for the two of them.
    """
    top = float(heat.max())
    if top <= 0:
        return np.nan, np.nan, 0.0
    mass = np.where(heat >= 0.5 * top, heat, 0.0).astype(np.float64)
    cells = (np.arange(len(heat)) + 0.5) * image_size / len(heat) - 0.5
    return float(mass.sum(0) @ cells / mass.sum()), float(mass.sum(1) @ cells / mass.sum()), top


def restored_landmarks(scene: Scene) -> Drawing:
    """LR, bicubic, further systems, ours with the landmarks found, the original with the true ones (JASRNet 1, 4)."""
    some, images = scene.sheet_of(scene.choose(SHOWN))
    found = some.found_px.get("landmarks_soft_px")
    cell = 256
    rivals = {label: x for label, x in images.items() if label != OURS}
    columns: dict[str, list[figures.Picture]] = {f"LR {some.lr.shape[1]} px": list(some.lr)}
    columns |= {plots.label(m): list(x) for m, x in {"bicubic": some.images["bicubic"], **rivals}.items()}
    columns["Ours"] = list(some.images["ours"])
    columns["Original"] = list(some.images["original"])
    if found is not None:
        true = np.where(some.visible[..., None], some.landmarks_px, np.nan)
        nothing = np.full((0, 2), np.nan, np.float32)
        columns["Ours"] = [figures.draw_landmarks(x, p, size=cell) for x, p in zip(images[OURS], found, strict=True)]
        columns["Original"] = [
            figures.draw_landmarks(x, nothing, true_px=p, size=cell)
            for x, p in zip(some.images["original"], true, strict=True)
        ]
    lines = [
        {"name": name, "row": row, "psnr_y": float(value)}
        for row, x in {"bicubic": some.images["bicubic"], **images}.items()
        for name, value in zip(some.names, _psnr_y(scene, some, x), strict=True)
    ]
    scored = landmarks.run([some], Context(normaliser=scene.protocol.normaliser))
    errors = {line["name"]: line["nmse_soft"] for line in scored}
    lines = [line | ({"nmse_soft": errors.get(line["name"], np.nan)} if line["row"] == OURS else {}) for line in lines]
    notes = ["Faces chosen by a seed"]
    notes += ["Green: landmarks found in the low resolution; red: the labels"] if found is not None else []
    notes += [] if found is not None else ["this system finds no landmarks; a jasrnet does"]
    notes += [] if rivals else absent("the other methods", "their runs, or folders of their images")
    return Drawing(figures.sheet(columns, cell=cell), lines, notes)


def _psnr_y(scene: Scene, some: Faces, images: np.ndarray) -> np.ndarray:
    """On Y, inside the landmarks' box where the protocol says so and a face has landmarks."""
    hr = metrics.from_8bit(some.images["original"])
    boxes = metrics.landmark_boxes(some.landmarks_px, size=hr.shape[1]) if scene.protocol.region == "face_box" else None
    return metrics.psnr(metrics.from_8bit(images), hr, colour="y", boxes=boxes)


def _of(table: str, name: str, title: str) -> protocols.Protocol:
    return dataclasses.replace(
        protocols.TABLES[table], name=name, title=title, paper=(), extra=(), note="", residual=""
    )


_RIVALS = "other methods' faces: runs, or folders of their images"

FIGURES = {
    figure.protocol.name: figure
    for figure in (
        Figure(_of("mtun/t1", "mtun/f3", "MTUN Fig. 3: heatmaps of facial components"), components),
        Figure(
            _of("mtun/t1", "mtun/f4", "MTUN Fig. 4: faces by loss"),
            comparison,
            beside="runs of the other losses: p, pf, pfu, ph, pfh",
        ),
        Figure(_of("mtun/t1", "mtun/f5", "MTUN Fig. 5: faces by method"), comparison, beside=_RIVALS),
        Figure(
            _of("jasrnet/t1-300w", "jasrnet/f1", "JASRNet Fig. 1: faces by two rivals and ours, and their landmarks"),
            restored_landmarks,
            beside=_RIVALS,
        ),
        Figure(
            _of("jasrnet/t1-300w", "jasrnet/f4", "JASRNet Fig. 4: faces by method, and their landmarks"),
            restored_landmarks,
            beside=_RIVALS,
        ),
    )
}
