"""Plots by matplotlib: distributions and curves, one colour a method; uint8 pictures, no files, no window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jfsr.figures import LABELS, Picture
from jfsr.geometry import POSE_NAMES

COLOURS = {"original": "#4d4d4d", "bicubic": "#c95d3c", "ours": "#1f6fb5"}


def error_distribution(errors_deg: Mapping[str, Float[np.ndarray, "n 3"]], *, limit_deg: float = 40.0) -> Picture:
    """Distribution of the pose errors of yaw, pitch and roll by method (Fig. 9): density above, cumulative below.

    Args:
      errors_deg: absolute errors by method ('original', 'bicubic', 'ours'); rows with NaN are left out.
      limit_deg: right end of the axis; what lies beyond is counted in the cumulative curves, and piled up in the
        last bin of the densities.
    """
    figure = canvas(10, 5)
    axes = figure.subplots(2, 3, sharex=True, sharey="row")
    edges = np.linspace(0.0, limit_deg, 21)
    for k, angle in enumerate(POSE_NAMES):
        density, cumulative = axes[:, k]
        for method, errors in errors_deg.items():
            values = errors[np.isfinite(errors).all(-1), k]
            if not len(values):
                continue
            share = np.histogram(np.minimum(values, limit_deg), edges)[0] / len(values)
            density.stairs(100 * share, edges, **style(method))
            density.stairs(100 * share, edges, fill=True, color=COLOURS[method], alpha=0.10)
            x = np.concatenate([[0.0], np.sort(values), [max(limit_deg, values.max())]])
            share = 100 * np.minimum(np.arange(len(x)), len(values)) / len(values)
            cumulative.step(x, share, where="post", **style(method), label=LABELS[method])
        density.set_title(angle, fontsize=11)
        cumulative.set(xlabel="absolute error, °", xlim=(0, limit_deg), ylim=(0, 100))
    axes[0, 0].set_ylabel(f"faces per {edges[1]:g}°, %")
    axes[1, 0].set_ylabel("faces with less, %")
    if axes[1, 2].lines:
        axes[1, 2].legend(frameon=False, loc="lower right", fontsize=9)
    return render(figure)


def roc(curves: Mapping[str, tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]]) -> Picture:
    """ROC curves by method: true accepts over false accepts, the latter on a log scale.

    Args:
      curves: (false accept rate, true accept rate) by method, as of :func:`jfsr.verification.roc`.
    """
    figure = canvas(6, 4.5)
    panel = figure.subplots()
    least = min(float(far[far > 0].min()) for far, _ in curves.values())
    for method, (far, tar) in curves.items():
        panel.step(np.maximum(far, least), 100 * tar, where="post", label=LABELS[method], **style(method))
    panel.set(xscale="log", xlim=(least, 1), ylim=(0, 100))
    panel.set(xlabel="false accepts", ylabel="true accepts, %")
    panel.legend(frameon=False, loc="lower right", fontsize=9)
    return render(figure)


def similarities(scores: Mapping[str, tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]]) -> Picture:
    """Distributions of the pairs' cosines, one panel a method: the same person filled, two people as an outline.

    Args:
      scores: (similarity, same) by method.
    """
    figure = canvas(3.4 * len(scores), 3.2)
    panels = np.atleast_1d(figure.subplots(1, len(scores), sharex=True, sharey=True))
    low = min(float(similarity.min()) for similarity, _ in scores.values())
    edges = np.linspace(min(low, 0.0), 1.0, 41)
    for panel, (method, (similarity, same)) in zip(panels, scores.items(), strict=True):
        for kind, filled, label in ((same, True, "same person"), (~same, False, "two people")):
            share = np.histogram(similarity[kind], edges)[0] / max(int(kind.sum()), 1)
            look = {"fill": filled, "color": COLOURS[method], "alpha": 0.45 if filled else 1.0}
            panel.stairs(100 * share, edges, label=label, **look)
        panel.set_title(LABELS[method], fontsize=11)
        panel.set_xlabel("cosine")
        panel.legend(frameon=False, fontsize=8)
    panels[0].set_ylabel("pairs, %")
    return render(figure)


def style(method: str) -> dict[str, Any]:
    """Colour and width of a method's line."""
    return {"color": COLOURS[method], "lw": 2.0 if method == "ours" else 1.5}


def canvas(width: float, height: float) -> Any:
    """An empty matplotlib figure, in inches; no pyplot: no state, no window."""
    import matplotlib.figure

    return matplotlib.figure.Figure(figsize=(width, height), dpi=110, layout="constrained")


def render(figure: Any) -> Picture:
    """The figure's pixels, its panels without boxes and with a light grid."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for panel in figure.axes:
        panel.grid(alpha=0.25, lw=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    drawn = FigureCanvasAgg(figure)
    drawn.draw()
    return np.ascontiguousarray(np.asarray(drawn.buffer_rgba())[..., :3])
