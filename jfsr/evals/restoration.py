"""How near a restored face is to the original: PSNR and SSIM of the 8-bit images, in RGB and in Y, and LPIPS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jfsr import metrics
from jfsr.evals.context import Column, Context
from jfsr.evals.faces import Faces, Line, in_chunks

NETWORK = "perceptual"  # for LPIPS alone
_MEANS = "PSNR and SSIM: means of the faces' values."
COLUMNS = {
    "psnr": Column(title="PSNR", digits=2, legend=_MEANS, colour="rgb"),
    "ssim": Column(title="SSIM", digits=3, colour="rgb"),
    "psnr_y": Column(title="PSNR Y", digits=2, legend=_MEANS, colour="y"),
    "ssim_y": Column(title="SSIM Y", digits=3, colour="y"),
    "lpips": Column(title="LPIPS", digits=3),
    "psnr_seen": Column(
        title="PSNR seen",
        digits=2,
        legend="Seen: over the pixels that the misaligned input shows; what left the picture is black in the "
        "turned-back baselines, and unknown to all. SSIM: over the windows of such pixels alone.",
        colour="rgb",
    ),
    "ssim_seen": Column(title="SSIM seen", digits=3, colour="rgb"),
    "seen": Column(title="seen %", digits=1, colour="rgb"),
}

# Two stacks of 8-bit faces -> the perceptual distance of each pair.
DistanceProgram = Callable[[UInt8[np.ndarray, "n h w 3"], UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, " n"]]
CHUNK = 16  # pairs of faces per call: LPIPS keeps five layers of each


def program(network: Any, variables: Any) -> DistanceProgram:
    """A compiled function that gives the perceptual distance of 8-bit faces of one size.

    Args:
      network: a perceptual :class:`jfsr.frozen.network.FrozenNetwork`, e.g. LPIPS.
      variables: its variables, an argument of the compiled program.

    Raises:
      ValueError: a network of another kind.
    """
    if network.kind != "perceptual":
        raise ValueError(f"{network.name} reads {network.kind}, no perceptual distance; give lpips_alex or lpips_vgg")
    compiled = jax.jit(network.distance)

    def measure(a: UInt8[np.ndarray, "n h w 3"], b: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, " n"]:
        return in_chunks(lambda *full: compiled(variables, *full), a, b, width=(), chunk=CHUNK)

    return measure


def run(faces: Iterable[Faces], context: Context) -> list[Line]:
    """Scores the enlargements and ours against the original.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      context: its ``border`` (pixels left out on each side) and ``region``: ``'full'``, or ``'face_box'``, the smallest
        box around the 68 landmarks; its program ``'restoration'``, which is always taken over the whole image.

    Returns:
      One line per face and row: psnr, ssim, psnr_y, ssim_y, lpips where there is a program for it; of misaligned input
      psnr_seen and ssim_seen (RGB) and seen, the share of pixels that they are taken over, in percent; and unscored,
      the reason why the others are NaN, or ''.
    """
    measure = context.programs.get("restoration")
    lines: list[Line] = []
    for batch in faces:
        hr = metrics.from_8bit(batch.images["original"])
        boxes = None
        if context.region == "face_box":
            boxes = metrics.landmark_boxes(batch.landmarks_px, size=hr.shape[1])
        where: dict[str, Any] = {"border": context.border, "boxes": boxes}
        for row in list(batch.images)[1:]:
            image = metrics.from_8bit(batch.images[row])
            scores: dict[str, Any] = {
                "psnr": metrics.psnr(image, hr, **where),
                "ssim": metrics.ssim(image, hr, **where),
                "psnr_y": metrics.psnr(image, hr, colour="y", **where),
                "ssim_y": metrics.ssim(image, hr, colour="y", **where),
            }
            if measure:
                scores["lpips"] = measure(batch.images[row], batch.images["original"])
            if batch.seen is not None:
                scores["psnr_seen"] = metrics.psnr(image, hr, masks=batch.seen, **where)
                scores["ssim_seen"] = metrics.ssim(image, hr, masks=batch.seen, **where)
                scores["seen"] = 100.0 * batch.seen.mean((1, 2))
            scores["unscored"] = ["no face box of 11 pixels or more" if np.isnan(x) else "" for x in scores["ssim"]]
            lines += batch.lines(row, scores)
    return lines
