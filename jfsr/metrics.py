"""Metrics: pure functions on the host, in float64, one value per image.

Each looks at one image at a time, so that a score cannot depend on batch size, padding or the number of devices. Images
are [b, h, w, 3] RGB in [0, 1]; the caller rounds them to 8 bits first (:func:`to_8bit`), as a file would.

Image metrics share three options. ``colour`` is ``'rgb'`` or ``'y'``. ``boxes`` gives each image one rectangle
(x0, y0, x1, y1) in whole pixels, half open; it is cropped before anything is computed. ``masks`` gives each image the
pixels that count.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from jfsr import geometry
from jfsr.geometry import POSE_LIMIT_DEG

Colour = Literal["rgb", "y"]
Normaliser = Literal["outer_eyes", "pupils", "box_sqrt", "given_box_sqrt"]

YAW_EDGES_DEG = (0.0, 15.0, 30.0, 45.0, 60.0, POSE_LIMIT_DEG)


def to_8bit(images: Shaped[np.ndarray, "*b h w 3"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """Clips to [0, 1] and rounds to levels 0 … 255, as a PNG file holds them; uint8 passes through."""
    if images.dtype == np.uint8:
        return images
    return np.round(255.0 * np.clip(images, 0.0, 1.0)).astype(np.uint8)


def from_8bit(images: UInt8[np.ndarray, "*b h w 3"]) -> Float[np.ndarray, "*b h w 3"]:
    """Levels 0 … 255 to float32 in [0, 1], the input of the metrics here."""
    return images.astype(np.float32) / np.float32(255.0)


def luma(images: Float[np.ndarray, "*b h w 3"]) -> Float[np.ndarray, "*b h w 1"]:
    """Y of ITU-R BT.601 with studio swing, as in Matlab's rgb2ycbcr: [0, 1] RGB to [16/255, 235/255], not rounded.

    Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255.
    """
    weights = np.array([65.481, 128.553, 24.966])
    return ((16.0 + images.astype(np.float64) @ weights) / 255.0)[..., None]


def psnr(
    a: Float[np.ndarray, "b h w 3"],
    b: Float[np.ndarray, "b h w 3"],
    *,
    colour: Colour = "rgb",
    border: int = 0,
    boxes: Int[np.ndarray, "b 4"] | None = None,
    masks: Bool[np.ndarray, "b h w"] | None = None,
) -> Float[np.ndarray, " b"]:
    """Peak signal-to-noise ratio in dB for a peak of 1; +inf for equal images, NaN for an empty region.

    Args:
      a, b: the two sets of images.
      colour: 'rgb' averages the squared error over R, G and B; 'y' takes it on :func:`luma`.
      border: pixels to leave out on each side, after ``boxes``.
      boxes: region of each image to score.
      masks: the pixels that count, inside the region; None: all.
    """
    out = np.empty(len(a))
    for i, (x, y, counted) in enumerate(_pairs(a, b, colour, border, boxes, masks)):
        mse = np.mean(np.square(x - y)[counted]) if counted.any() else np.nan
        out[i] = np.inf if mse == 0 else -10.0 * np.log10(mse)
    return out


def ssim(
    a: Float[np.ndarray, "b h w 3"],
    b: Float[np.ndarray, "b h w 3"],
    *,
    colour: Colour = "rgb",
    border: int = 0,
    boxes: Int[np.ndarray, "b 4"] | None = None,
    masks: Bool[np.ndarray, "b h w"] | None = None,
) -> Float[np.ndarray, " b"]:
    """Structural similarity of Wang et al. 2004: 11×11 Gaussian window of sigma 1.5, population covariance.

    K1 = 0.01, K2 = 0.03, range 1. The score is the mean of the SSIM map over pixels and channels; the map has only
    windows that lie inside the region ('valid'), and whose pixels all count. NaN for a region under 11 pixels.
    Arguments as in :func:`psnr`.
    """
    out = np.empty(len(a))
    for i, (x, y, counted) in enumerate(_pairs(a, b, colour, border, boxes, masks)):
        whole = min(x.shape[:2]) >= 11 and np.lib.stride_tricks.sliding_window_view(counted, (11, 11)).all((2, 3))
        out[i] = np.mean(_ssim_map(x, y)[whole]) if np.any(whole) else np.nan
    return out


def _ssim_map(x: Float[np.ndarray, "h w c"], y: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "H W c"]:
    maps = np.stack([x, y, x * x, y * y, x * y])
    mx, my, xx, yy, xy = _window(_window(maps, axis=1), axis=2)
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
    return numerator / ((mx * mx + my * my + c1) * (xx - mx * mx + yy - my * my + c2))


def _window(maps: np.ndarray, *, axis: int) -> np.ndarray:
    """Gaussian-weighted means along one axis, at the positions where the window fits."""
    taps = np.exp(-0.5 * np.square(np.arange(-5, 6) / 1.5))
    return np.lib.stride_tricks.sliding_window_view(maps, 11, axis=axis) @ (taps / taps.sum())


def _pairs(
    a: np.ndarray, b: np.ndarray, colour: Colour, border: int, boxes: np.ndarray | None, masks: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields the region to score of both images, float64, and which of its pixels count, one pair at a time."""
    if a.shape != b.shape:
        raise ValueError(f"the images to compare differ in shape: {a.shape} and {b.shape}")
    for i in range(len(a)):
        x0, y0, x1, y1 = (0, 0, a.shape[2], a.shape[1]) if boxes is None else (int(v) for v in boxes[i])
        region = np.s_[y0 + border : max(y0, y1 - border), x0 + border : max(x0, x1 - border)]
        x, y = a[i][region], b[i][region]
        counted = np.ones(x.shape[:2], bool) if masks is None else masks[i][region]
        x, y = (luma(x), luma(y)) if colour == "y" else (x.astype(np.float64), y.astype(np.float64))
        yield x, y, counted


def landmark_boxes(landmarks_px: Float[np.ndarray, "b n 2"], *, size: int) -> Int[np.ndarray, "b 4"]:
    """Smallest boxes of whole pixels around the known landmarks, clipped to the image; (0, 0, 0, 0) if none is known.

    A landmark belongs to the pixel with the nearest centre.
    """
    out = np.zeros((len(landmarks_px), 4), np.int64)
    for i, points in enumerate(landmarks_px):
        points = points[np.isfinite(points).all(-1)]
        if len(points):
            low, high = np.floor(points.min(0) + 0.5), np.floor(points.max(0) + 0.5) + 1
            out[i] = np.clip([*low, *high], 0, size)
    return out


def nmse(
    predicted_px: Float[np.ndarray, "b n 2"],
    true_px: Float[np.ndarray, "b n 2"],
    *,
    visible: Bool[np.ndarray, "b n"] | None = None,
    normaliser: Normaliser = "outer_eyes",
    box_px: Float[np.ndarray, "b 4"] | None = None,
) -> Float[np.ndarray, " b"]:
    """Mean distance between predicted and true landmarks, as a percentage of the true face's size (JASRNet's NMSE).

    Args:
      predicted_px: (x, y) of all points.
      true_px: (x, y), NaN where unknown; unknown points do not count.
      visible: hidden points do not count either, but may be needed for the size of the face; None: all are visible.
      normaliser: the size of the face. 'outer_eyes': the distance between the outer eye corners, points 37 and 46 of
        iBUG's 68 (300W). 'pupils': the distance between the two eyes, each the mean of its six points of the 68.
        'box_sqrt': the square root of the area of the box around the known points (HELEN-194). 'given_box_sqrt': that
        of ``box_px``, the face's box as the data set gives it (AFLW).
      box_px: (x0, y0, x1, y1), NaN = unknown; only 'given_box_sqrt' reads it.

    Returns:
      One value per image; NaN where no landmark is known, or where the size of the face is unknown.

    Raises:
      ValueError: the normaliser is unknown, or a distance of eyes and the landmarks are not the 68.
    """
    if normaliser in ("outer_eyes", "pupils") and true_px.shape[1] != 68:
        raise ValueError(
            f"normaliser {normaliser!r} is a distance among the 68 landmarks, and these faces have {true_px.shape[1]}; "
            "use 'box_sqrt' or 'given_box_sqrt'"
        )
    out = np.full(len(true_px), np.nan)
    for i, (guess, points) in enumerate(zip(predicted_px.astype(np.float64), true_px.astype(np.float64), strict=True)):
        known = np.isfinite(points).all(-1)
        size = _face_size(points, known, normaliser, np.full(4, np.nan) if box_px is None else box_px[i])
        counted = known if visible is None else known & visible[i]
        if counted.any() and size > 0:
            out[i] = 100.0 * np.linalg.norm(guess[counted] - points[counted], axis=-1).mean() / size
    return out


def _face_size(points: np.ndarray, known: np.ndarray, normaliser: Normaliser, box: np.ndarray) -> float:
    """Size of the face in pixels; NaN if a point that it needs is unknown."""
    if normaliser == "outer_eyes":
        return float(np.linalg.norm(points[36] - points[45]))
    if normaliser == "pupils":
        return float(np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0)))
    if normaliser == "box_sqrt":
        return float(np.sqrt(np.prod(np.ptp(points[known], axis=0)))) if known.any() else np.nan
    if normaliser == "given_box_sqrt":
        return float(np.sqrt(np.prod(np.maximum(box[2:] - box[:2], 0.0))))
    raise ValueError(f"normaliser {normaliser!r} is unknown; choose one of {', '.join(get_args(Normaliser))}")


def failure_rate(errors: Float[np.ndarray, " n"], *, limit: float = 10.0) -> float:
    """Percentage of the known errors (not NaN) above ``limit``, in the unit of the errors; NaN if none is known."""
    errors = errors[~np.isnan(errors)]
    return float(100.0 * np.mean(errors > limit)) if len(errors) else np.nan


def error_auc(errors: Float[np.ndarray, " n"], *, limit: float = 10.0) -> float:
    """Area under the cumulative distribution of the known errors from 0 to ``limit``, in percent; no error gives 100.

    NaN if no error is known.
    """
    errors = errors[~np.isnan(errors)]
    return float(100.0 * np.mean(np.maximum(0.0, 1.0 - errors / limit))) if len(errors) else np.nan


def pose_errors(
    predicted_deg: Float[np.ndarray, "b 3"], true_deg: Float[np.ndarray, "b 3"]
) -> Float[np.ndarray, "b 3"]:
    """Absolute errors of yaw, pitch and roll in degrees, [0, 180]; NaN where an angle is unknown.

    Only the difference is wrapped. Angles are not folded at 90 degrees: that would hide flipped faces.
    """
    return np.abs(geometry.wrap_deg(predicted_deg.astype(np.float64) - true_deg.astype(np.float64)))


def pose_geodesic(
    predicted_deg: Float[np.ndarray, "b 3"], true_deg: Float[np.ndarray, "b 3"]
) -> Float[np.ndarray, " b"]:
    """Angle in degrees of the rotation between the two poses, [0, 180]; NaN if an angle is unknown."""
    return np.asarray(geometry.geodesic_deg(jnp.asarray(predicted_deg), jnp.asarray(true_deg)), np.float64)


def pose_dropped_by(pose_deg: Float[np.ndarray, "b 3"]) -> list[str]:
    """Why each face is left out of the pose scores; '' if it is kept.

    'no pose label': an angle is unknown. '|angle| > 99°': the pose bins end there, and all pose papers drop such faces.
    """
    known, kept = np.isfinite(pose_deg).all(-1), geometry.pose_in_range(pose_deg)
    beyond = f"|angle| > {POSE_LIMIT_DEG:g}°"
    return ["" if k else beyond if n else "no pose label" for n, k in zip(known, kept, strict=True)]


class Interval(NamedTuple):
    """A mean and its confidence interval."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap(
    values: Float[np.ndarray, " n"], *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Mean of the known values with its percentile bootstrap interval; the same seed gives the same numbers.

    NaN values are left out. If no value is left, mean and interval are NaN; if one is left, the interval is that value.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(np.nan, np.nan, np.nan, 0)
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(resamples)])
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(means, [tail, 100.0 - tail]) if np.isfinite(values).all() else (np.nan, np.nan)
    return Interval(float(values.mean()), float(low), float(high), len(values))


def yaw_bins(yaw_deg: Float[np.ndarray, " n"]) -> dict[str, Bool[np.ndarray, " n"]]:
    """Label of each bin of |yaw| -> the faces in it; the last bin includes its upper edge, the others do not."""
    size, out = np.abs(yaw_deg), {}
    for low, high in itertools.pairwise(YAW_EDGES_DEG):
        inside = (size >= low) & ((size <= high) if high == YAW_EDGES_DEG[-1] else (size < high))
        out[f"{low:g}–{high:g}°"] = inside
    return out
