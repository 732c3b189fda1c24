"""Plots by matplotlib: distributions and curves, one colour a row; uint8 pictures, no files, no window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jfsr import metrics
from jfsr.drawing.figures import LABELS, Picture
from jfsr.geometry import POSE_NAMES

COLOURS = {"original": "#4d4d4d", "bicubic": "#c95d3c", "nearest": "#b79b2e", "ours": "#1f6fb5"}
OTHERS = ("#3b8f5a", "#8659a8", "#c2569a", "#2d9a9a", "#7a5a3a")  # further systems, in their order


def error_distribution(errors_deg: Mapping[str, Float[np.ndarray, "n 3"]], *, limit_deg: float = 40.0) -> Picture:
    """Distribution of the pose errors of yaw, pitch and roll by row (Fig. 9): density above, cumulative below.

    Args:
      errors_deg: absolute errors by row; rows with NaN are left out.
      limit_deg: right end of the axis; what lies beyond is counted in the cumulative curves, and piled up in the
        last bin of the densities.
    """
    figure = canvas(10.0, 5.0)
    axes = figure.subplots(2, 3, sharex=True, sharey="row")
    edges, looks = np.linspace(0.0, limit_deg, 21), styles(errors_deg)
    for k, angle in enumerate(POSE_NAMES):
        density, cumulative = axes[:, k]
        for row, errors in errors_deg.items():
            values = errors[np.isfinite(errors).all(-1), k]
            if not len(values):
                continue
            share = np.histogram(np.minimum(values, limit_deg), edges)[0] / len(values)
            density.stairs(100 * share, edges, **looks[row])
            density.stairs(100 * share, edges, fill=True, color=looks[row]["color"], alpha=0.10)
            x = np.concatenate([[0.0], np.sort(values), [max(limit_deg, values.max())]])
            share = 100 * np.minimum(np.arange(len(x)), len(values)) / len(values)
            cumulative.step(x, share, where="post", **looks[row], label=label(row))
        density.set_title(angle, fontsize=11)
        cumulative.set(xlabel="absolute error, °", xlim=(0, limit_deg), ylim=(0, 100))
    axes[0, 0].set_ylabel(f"faces per {edges[1]:g}°, %")
    axes[1, 0].set_ylabel("faces with less, %")
    if axes[1, 2].lines:
        axes[1, 2].legend(frameon=False, loc="lower right", fontsize=9)
    return render(figure)


def roc(curves: Mapping[str, tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]]) -> Picture:
    """ROC curves by row: true accepts over false accepts, the latter on a log scale.

    Args:
      curves: (false accept rate, true accept rate) by row, as of :func:`jfsr.recognition.roc`.
    """
    figure = canvas(6.0, 4.5)
    panel = figure.subplots()
    looks, least = styles(curves), min(float(far[far > 0].min()) for far, _ in curves.values())
    for row, (far, tar) in curves.items():
        panel.step(np.maximum(far, least), 100 * tar, where="post", label=label(row), **looks[row])
    panel.set(xscale="log", xlim=(least, 1), ylim=(0, 100))
    panel.set(xlabel="false accepts", ylabel="true accepts, %")
    panel.legend(frameon=False, loc="lower right", fontsize=9)
    return render(figure)


def similarities(scores: Mapping[str, tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]]) -> Picture:
    """Distributions of the pairs' cosines, one panel a row: the same person filled, two people as an outline.

    Args:
      scores: (similarity, same) by row.
    """
    figure = canvas(3.4 * len(scores), 3.2)
    panels = np.atleast_1d(figure.subplots(1, len(scores), sharex=True, sharey=True))
    low = min(float(similarity.min()) for similarity, _ in scores.values())
    edges, looks = np.linspace(min(low, 0.0), 1.0, 41), styles(scores)
    for panel, (row, (similarity, same)) in zip(panels, scores.items(), strict=True):
        for kind, filled, who in ((same, True, "same person"), (~same, False, "two people")):
            share = np.histogram(similarity[kind], edges)[0] / max(int(kind.sum()), 1)
            look = {"fill": filled, "color": looks[row]["color"], "alpha": 0.45 if filled else 1.0}
            panel.stairs(100 * share, edges, label=who, **look)
        panel.set_title(label(row), fontsize=11)
        panel.set_xlabel("cosine")
        panel.legend(frameon=False, fontsize=8)
    panels[0].set_ylabel("pairs, %")
    return render(figure)


def densities(panels: Mapping[str, Mapping[str, Float[np.ndarray, " _"]]], *, xlabel: str) -> Picture:
    """Distributions of one number by row, with their means dotted; panels share bins and axes.

    Args:
      panels: title -> row -> values.
      xlabel: what the number is.
    """
    figure, axes = _panels(len(panels), width=4.6, height=3.6)
    values = np.concatenate([x for of in panels.values() for x in of.values()]).astype(np.float64)
    low, high = float(np.min(values)), float(np.max(values))
    most = max(len(x) for of in panels.values() for x in of.values())
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges, highest = np.linspace(low, high, int(np.clip(2 * np.sqrt(most), 10, 50)) + 1), 0.0
    for panel, (title, of) in zip(axes, panels.items(), strict=True):
        for row, look in styles(of).items():
            share = 100 * np.histogram(of[row], edges)[0] / len(of[row])
            highest = max(highest, float(share.max()))
            panel.stairs(share, edges, label=label(row), **look)
            panel.stairs(share, edges, fill=True, color=look["color"], alpha=0.10)
            panel.axvline(float(of[row].mean()), ymax=0.77, ls=":", **{**look, "lw": 1.2})
        panel.set_title(title, fontsize=11)
        panel.set_xlabel(xlabel)
        panel.legend(frameon=False, fontsize=9, ncols=2, loc="upper center")
    axes[0].set(ylabel="share, %", ylim=(0, 1.3 * highest))  # room for the legend
    return render(figure)


def spectra(panels: Mapping[str, Mapping[str, Float[np.ndarray, " _"]]], *, ylabel: str) -> Picture:
    """Falling spectra by row on a log scale (MSGAN Fig. 14); what is 0 has no place on it and is left out.

    Args:
      panels: title -> row -> values, the first being the largest.
      ylabel: what the values are.
    """
    figure, axes = _panels(len(panels), width=4.8, height=3.8)
    for panel, (title, of) in zip(axes, panels.items(), strict=True):
        for row, look in styles(of).items():
            values = np.where(of[row] > 0, of[row], np.nan)
            panel.plot(np.arange(1, len(values) + 1), values, label=label(row), **look)
        panel.set(yscale="log", xlabel="dimension, by size")
        panel.set_title(title, fontsize=11)
        panel.legend(frameon=False, fontsize=9, loc="lower left")
    axes[0].set_ylabel(ylabel)
    return render(figure)


def against_size(sizes_px: Sequence[int], curves: Mapping[str, Float[np.ndarray, "n s"]]) -> Picture:
    """Numbers of faces against the input's size, a panel each (IAFSR Fig. 2): mean, and the middle half as a band.

    Args:
      sizes_px: of the inputs.
      curves: what a number is -> its values, one row a face and one column a size.
    """
    figure, axes = _panels(len(curves), width=3.7, height=3.4, one_y=False)
    for panel, (what, values) in zip(axes, curves.items(), strict=True):
        low, high = np.percentile(values, [25, 75], axis=0)
        panel.fill_between(sizes_px, low, high, color=COLOURS["ours"], alpha=0.15, lw=0)
        panel.plot(sizes_px, values.mean(axis=0), marker="o", ms=4, **styles(["ours"])["ours"])
        panel.set_xscale("log", base=2)
        panel.set_xticks(sizes_px, labels=[str(s) for s in sizes_px], fontsize=8)
        panel.minorticks_off()
        panel.set(xlabel="input, px", ylabel=what)
    return render(figure)


def bars(groups: Mapping[str, Mapping[str, Float[np.ndarray, " _"]]]) -> Picture:
    """Mean of a number by row with its 95 % bootstrap interval, a panel each (IAFSR Fig. 5).

    Args:
      groups: what a number is -> row -> values, one a face.
    """
    figure, axes = _panels(len(groups), width=4.2, height=3.4, one_x=False, one_y=False)
    for panel, (what, of) in zip(axes, groups.items(), strict=True):
        for i, (row, look) in enumerate(styles(of).items()):
            mean, low, high, _ = metrics.bootstrap(of[row])
            panel.bar(i, mean, width=0.65, color=look["color"], alpha=0.85)
            panel.errorbar(i, mean, [[mean - low], [high - mean]], color="#24242b", lw=1.2, capsize=3)
            panel.annotate(f"{mean:.3g}", (i, high), (0, 3), textcoords="offset points", ha="center", fontsize=9)
        panel.set_xticks(range(len(of)), labels=[label(m) for m in of], fontsize=9)
        panel.margins(y=0.15)
        panel.set_ylabel(what)
    return render(figure)


def sweeps(
    panels: Mapping[str, Float[np.ndarray, "_ 3"]],
    *,
    baseline: Mapping[str, float],
    log: Sequence[str] = (),
    ylabel: str = "accuracy, %",
) -> Picture:
    """A score against a weight, a panel for each weight (IAFSR Fig. 4); a panel without runs says so.

    Args:
      panels: the weight's name -> (weight, score, standard error) of each run.
      baseline: by panel, the score that a dotted line shows.
      log: panels whose weights stand on a log scale.
      ylabel: what the score is.
    """
    figure, axes = _panels(len(panels), width=4.2, height=3.4, one_x=False)
    for panel, (weight, points) in zip(axes, panels.items(), strict=True):
        weights, score, error = points[np.argsort(points[:, 0])].T
        if weight in baseline:
            panel.axhline(baseline[weight], ls=":", color=COLOURS["original"], lw=1.5)
        panel.errorbar(weights, score, error, marker="o", ms=5, capsize=3, **styles(["ours"])["ours"])
        if weight in log and len(weights):
            panel.set_xscale("log")
        if not len(weights):
            panel.text(0.5, 0.5, "no run", transform=panel.transAxes, ha="center", color=COLOURS["original"])
        panel.set_xlabel(weight)
    axes[0].set_ylabel(ylabel)
    return render(figure)


def label(row: str) -> str:
    """What people read: our name of a row, or a further system's own."""
    return LABELS.get(row, row)


def styles(rows: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and width of each row's line, the same in every figure; further systems take theirs in order."""
    rows = list(rows)
    others = [row for row in rows if row not in COLOURS]
    colours = COLOURS | {row: OTHERS[i % len(OTHERS)] for i, row in enumerate(others)}
    return {row: {"color": colours[row], "lw": 2.0 if row == "ours" else 1.5} for row in rows}


def _panels(count: int, *, width: float, height: float, one_x: bool = True, one_y: bool = True) -> tuple[Any, Any]:
    """A figure with panels side by side, of so many inches each; one axis for all of them, or one each."""
    figure = canvas(width * count, height)
    figure.get_layout_engine().set(w_pad=0.12)
    return figure, figure.subplots(1, count, sharex=one_x, sharey=one_y, squeeze=False)[0]


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
