"""How near a restored face is to the original: PSNR and SSIM of the 8-bit images, in RGB and in Y, and LPIPS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jfsr import metrics
from jfsr.evals.faces import Faces, in_chunks

Distance = Callable[[UInt8[np.ndarray, "n h w 3"], UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, " n"]]
CHUNK = 16  # pairs of faces per call: LPIPS keeps five layers of each


def distance(network: Any, variables: Any) -> Distance:
    """A function that gives the perceptual distance of 8-bit faces of one size.

    Args:
      network: a perceptual :class:`jfsr.frozen.zoo.FrozenNetwork`, e.g. LPIPS.
      variables: its variables, an argument of the compiled program.

    Raises:
      ValueError: a frozen network of another kind.
    """
    if network.kind != "perceptual":
        raise ValueError(f"{network.name} reads {network.kind}, no perceptual distance; give lpips_alex or lpips_vgg")
    program = jax.jit(network.distance)

    def measure(a: UInt8[np.ndarray, "n h w 3"], b: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, " n"]:
        return in_chunks(lambda *full: program(variables, *full), a, b, width=(), chunk=CHUNK)

    return measure


def run(faces: Iterable[Faces], protocol: Any, perceptual: Distance | None = None) -> list[dict[str, Any]]:
    """Scores the baselines' enlargements and ours against the original.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      protocol: reads ``border`` (pixels left out on each side) and ``region``: ``'full'``, or ``'face_box'``, the
        smallest box around the 68 landmarks.
      perceptual: from :func:`distance`; always taken over the whole image.

    Returns:
      One row per face and method: position, name, method, psnr, ssim, psnr_y, ssim_y, unscored, the reason why the
      scores are NaN, or '', and lpips where there is a network for it.
    """
    rows: list[dict[str, Any]] = []
    for some in faces:
        hr = metrics.from_8bit(some.images["original"])
        boxes = None
        if protocol.region == "face_box":
            boxes = metrics.landmark_boxes(some.landmarks_px, size=hr.shape[1])
        where = {"border": protocol.border, "boxes": boxes}
        for method in list(some.images)[1:]:
            image = metrics.from_8bit(some.images[method])
            scores = {
                "psnr": metrics.psnr(image, hr, **where),
                "ssim": metrics.ssim(image, hr, **where),
                "psnr_y": metrics.psnr(image, hr, colour="y", **where),
                "ssim_y": metrics.ssim(image, hr, colour="y", **where),
            }
            if perceptual:
                scores["lpips"] = perceptual(some.images[method], some.images["original"])
            for i, name in enumerate(some.names):
                row: dict[str, Any] = {"position": int(some.position[i]), "name": name, "method": method}
                row |= {key: float(values[i]) for key, values in scores.items()}
                row["unscored"] = "no face box of 11 pixels or more" if np.isnan(row["ssim"]) else ""
                rows.append(row)
    return rows
