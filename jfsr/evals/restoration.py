"""How near a restored face is to the original: PSNR and SSIM of the 8-bit images, in RGB and in Y."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from jfsr import metrics
from jfsr.evals.faces import Faces


def run(faces: Iterable[Faces], protocol: Any) -> list[dict[str, Any]]:
    """Scores the bicubic enlargement and ours against the original.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      protocol: reads ``border`` (pixels left out on each side) and ``region``: ``'full'``, or ``'face_box'``, the
        smallest box around the 68 landmarks.

    Returns:
      One row per face and method: position, name, method, psnr, ssim, psnr_y, ssim_y, and unscored, the reason why
      the scores are NaN, or ''.
    """
    rows: list[dict[str, Any]] = []
    for some in faces:
        hr = metrics.from_8bit(some.images["original"])
        boxes = None
        if protocol.region == "face_box":
            boxes = metrics.landmark_boxes(some.landmarks_px, size=hr.shape[1])
        where = {"border": protocol.border, "boxes": boxes}
        for method in ("bicubic", "ours"):
            image = metrics.from_8bit(some.images[method])
            scores = {
                "psnr": metrics.psnr(image, hr, **where),
                "ssim": metrics.ssim(image, hr, **where),
                "psnr_y": metrics.psnr(image, hr, colour="y", **where),
                "ssim_y": metrics.ssim(image, hr, colour="y", **where),
            }
            for i, name in enumerate(some.names):
                row: dict[str, Any] = {"position": int(some.position[i]), "name": name, "method": method}
                row |= {key: float(values[i]) for key, values in scores.items()}
                row["unscored"] = "no face box of 11 pixels or more" if np.isnan(row["ssim"]) else ""
                rows.append(row)
    return rows
