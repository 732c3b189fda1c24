"""Pictures of synthetic heads with exact labels: camera, rasteriser, light, background.

``render(index, split=...)`` is a pure function of (split, index). The mesh of :mod:`head_model` is projected without
perspective, so that only the pose changes a shape. Then it is rasterised with a depth buffer at 3 samples per 2 pixels,
painted per sample by :mod:`head_paint`, lit, averaged down and set before a blurred background.

This module uses NumPy and PIL only, so that processes which render start quickly.
"""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import os
import threading

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from jfsr.data.datasets import head_model, head_paint, head_people
from jfsr.data.datasets.head_model import Head
from jfsr.data.datasets.head_people import Expression, Identity

# Each split has its own people: its identity labels and its random streams start at this number.
SPLITS = {"train": 0, "validation": 1_000_000, "test": 2_000_000}
IMAGES_PER_IDENTITY = 8
SIZE = 128  # jfsr.geometry.HR_SIZE, which cannot be imported here without JAX
# Samples per pixel and axis: 3 samples for 2 pixels. 2 for each pixel look hardly better and take 1.5 times as long.
_SS = 1.5
_DOWN = np.array([[2, 1, 0], [0, 1, 2]], np.float32) / 3


@dataclasses.dataclass(frozen=True)
class View:
    """Camera, light and background of one picture."""

    pose_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    margin: float = 1.42  # side of the crop over the longer side of the landmark box
    shift: tuple[float, float] = (0.0, -0.13)  # from box centre to crop centre, in sides; negative y keeps the hair
    light: tuple[float, float, float] = (0.3, -0.5, 0.8)  # direction to the key light: x right, y down, z to the viewer
    key: float = 0.85
    ambient: float = 0.4
    warmth: float = 0.0  # colour of the key light: > 0 warm, < 0 cold; the fill light is the opposite
    exposure: float = 1.0
    saturation: float = 1.0
    noise: float = 0.0  # standard deviation of the sensor noise, in [0, 1] display units
    seed: int = 0  # background, clothes and noise


def rotation(pose_deg: tuple[float, float, float]) -> Float[np.ndarray, "3 3"]:
    """R = Rx(pitch) Ry(-yaw) Rz(roll): :func:`jfsr.geometry.rotation_from_pose` without JAX (tests hold them equal)."""
    yaw, pitch, roll = np.deg2rad(pose_deg)
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(-yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    rx = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return rx @ ry @ rz


def sample_view(rng: np.random.Generator) -> View:
    """Draws a view: poses spread like 300W-LP's (yaw to the profile, pitch and roll mostly within 30 deg)."""
    u, n = rng.uniform, rng.normal
    yaw = n(0, 30) if u() < 0.5 else u(-90, 90)
    azimuth, height = np.deg2rad(n(0, 40)), np.deg2rad(np.clip(n(28, 18), -10, 70))
    return View(
        pose_deg=(
            float(np.clip(yaw, -90, 90)),
            float(np.clip(n(-3, 15), -45, 45)),
            float(np.clip(n(0, 13), -40, 40)),
        ),
        margin=float(u(1.34, 1.48)),
        shift=(float(n(0, 0.012)), float(-0.12 + n(0, 0.015))),
        light=(np.sin(azimuth) * np.cos(height), -np.sin(height), np.cos(azimuth) * np.cos(height)),
        key=float(u(0.55, 1.1)),
        ambient=float(u(0.22, 0.6)),
        warmth=float(n(0, 0.08)),
        exposure=float(np.exp(n(0, 0.14))),
        saturation=float(u(0.75, 1.15)) if u() > 0.03 else 0.0,
        noise=float(u(0.002, 0.014)),
        seed=int(rng.integers(1 << 31)),
    )


def identity_of(index: int) -> int:
    """Number of the person in picture `index` of a split: every 64 pictures show 8 people in turn, 8 times each."""
    return 8 * (index // (8 * IMAGES_PER_IDENTITY)) + index % 8


def render(index: int, *, split: str = "train", size: int = SIZE) -> dict:
    """Picture `index` of a split with its labels: a pure function of its arguments.

    Args:
      index: 0, 1, 2, ... without an upper limit.
      split: one of SPLITS; no person appears in two.
      size: side in pixels, even.

    Returns:
      dict(image uint8 [size, size, 3], pose_deg float32 [3], identity int32, landmarks_px float32 [68, 2],
      visible bool [68], name str).

    Raises:
      ValueError: an unknown split, a negative index or an odd size.
    """
    if split not in SPLITS or index < 0:
        raise ValueError(f"picture {index} of split {split!r}: want an index >= 0 of one of {', '.join(SPLITS)}")
    first, person = SPLITS[split], identity_of(index)
    identity = head_people.sample_identity(np.random.default_rng([0, first, person]))
    rng = np.random.default_rng([1, first, index])
    expression = head_people.sample_expression(rng)
    record = render_head(identity, expression, sample_view(rng), size=size)
    return {**record, "identity": np.int32(first + person), "name": f"{split}-{index:05d}"}


def render_head(identity: Identity, expression: Expression, view: View, *, size: int = SIZE) -> dict:
    """A person with an expression in a view: image, pose_deg, landmarks_px and visible, as from :func:`render`."""
    if size % 2 or size < 2:
        raise ValueError(f"heads are rendered at even sizes, not {size}")
    head = Head(identity, expression)
    R = rotation(view.pose_deg)
    marks = head.landmarks() @ R.T
    low, high = marks[:, :2].min(0), marks[:, :2].max(0)
    side = view.margin * (high - low).max()
    scale = size / side  # pixels per unit
    corner = 0.5 * (low + high) + side * (np.asarray(view.shift) - 0.5)

    points, u, y = head.mesh()
    flat = points.reshape(-1, 3).astype(np.float32)
    # Sample i of the fine grid is at pixel (i + 0.5) / _SS - 0.5, along either axis.
    cam = flat @ R.T.astype(np.float32)
    fine = round(size * _SS)
    cam[:, :2] = (cam[:, :2] - corner.astype(np.float32)) * np.float32(scale * _SS) - 0.5
    normals = R.astype(np.float32) @ _normals(points).T
    chart_x = (head.base(u, y) * np.sin(u)).astype(np.float32)
    attributes = np.concatenate([normals, chart_x.reshape(1, -1), y.reshape(1, -1), u.reshape(1, -1)])
    where, depth, values = _rasterise(cam, attributes, head_model.triangles(), fine)

    rng = np.random.default_rng(view.seed)
    albedo, gloss = head_paint.paint(head, *values[3:])
    samples = np.zeros((4, fine * fine), np.float32)
    samples[:3, where] = _light(albedo, gloss, values[:3], view)
    samples[3, where] = 1
    samples = samples.reshape(4, size // 2, 3, size // 2, 3)
    sheet = np.einsum("jr,cyrxs,is->cyjxi", _DOWN, samples, _DOWN, optimize=True).reshape(4, size, size)
    neck = (np.array([0, 1.75, -0.2]) @ R.T)[:2] - corner
    back = _background(rng, size, neck * scale, float(scale), view)
    picture = sheet[:3] + (1 - sheet[3:]) * back

    landmarks = ((marks[:, :2] - corner) * scale - 0.5).astype(np.float32)
    return {
        "image": _develop(picture, rng, view),
        "pose_deg": np.asarray(view.pose_deg, np.float32),
        "landmarks_px": landmarks,
        "visible": _visible(landmarks, marks[:, 2], where, depth, size),
    }


def _normals(points: Float[np.ndarray, "r c 3"]) -> Float[np.ndarray, "n 3"]:
    """Outward unit normals of a grid surface whose first and last columns are the same meridian."""
    p = points.astype(np.float32)
    down = np.empty_like(p)
    down[1:-1], down[0], down[-1] = p[2:] - p[:-2], p[1] - p[0], p[-1] - p[-2]
    right = np.empty_like(p)
    right[:, 1:-1] = p[:, 2:] - p[:, :-2]
    right[:, 0] = right[:, -1] = p[:, 1] - p[:, -2]
    n = np.cross(right, down)
    return (n / (np.linalg.norm(n, axis=-1, keepdims=True) + 1e-9)).reshape(-1, 3)


def _rasterise(
    cam: Float[np.ndarray, "v 3"], attributes: Float[np.ndarray, "k v"], tris: Int[np.ndarray, "t 3"], size: int
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, "k n"]]:
    """The front-most surface at each pixel of a size x size image whose pixel centres are integers.

    All triangles are cut into rows at once, then all rows into fragments. The depth test packs (depth, fragment) into
    one integer and keeps the largest per pixel.

    Returns:
      Flat indices of the covered pixels, the depth at each (larger is nearer), the attributes at each.
    """
    a, b, c = (cam[tris[:, k]] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    keep = np.flatnonzero(area < -1e-6)  # y points down, so front faces have a negative area
    a, b, c, area, tris = a[keep], b[keep], c[keep], area[keep], tris[keep]
    # Barycentric weights of b and c are affine in the pixel: w = wx px + wy py + w0; a's weight is 1 minus both.
    inv = 1 / area
    w1x, w1y = (c[:, 1] - a[:, 1]) * inv, (a[:, 0] - c[:, 0]) * inv
    w2x, w2y = (a[:, 1] - b[:, 1]) * inv, (b[:, 0] - a[:, 0]) * inv
    w10, w20 = -w1x * a[:, 0] - w1y * a[:, 1], -w2x * a[:, 0] - w2y * a[:, 1]
    # Rows of each triangle.
    top = np.ceil(np.minimum(np.minimum(a[:, 1], b[:, 1]), c[:, 1])).clip(0)
    rows = (np.floor(np.maximum(np.maximum(a[:, 1], b[:, 1]), c[:, 1])).clip(None, size - 1) - top + 1).clip(0)
    rows = rows.astype(np.int64)
    tri = np.repeat(np.arange(keep.size), rows)
    py = (top - (np.cumsum(rows) - rows)).astype(np.float32)[tri] + np.arange(tri.size, dtype=np.float32)
    # Each condition w >= 0 bounds x from below if wx > 0, from above if wx < 0.
    left, right = np.zeros(tri.size, np.float32), np.full(tri.size, size - 1, np.float32)
    for wx, wy, w0 in ((w1x, w1y, w10), (w2x, w2y, w20), (-w1x - w2x, -w1y - w2y, 1 - w10 - w20)):
        safe = np.where(np.abs(wx) < 1e-9, np.float32(1e-9), wx)
        cut = (-wy / safe)[tri] * py + (-w0 / safe)[tri]
        lower = (safe > 0)[tri]
        left = np.maximum(left, np.where(lower, cut, 0))
        right = np.minimum(right, np.where(lower, size, cut))
    first = np.ceil(left - 1e-3)
    count = (np.floor(right + 1e-3) - first + 1).clip(0).astype(np.int64)
    span = np.repeat(np.arange(tri.size), count)
    px = (first - (np.cumsum(count) - count)).astype(np.float32)[span] + np.arange(span.size, dtype=np.float32)
    zx = w1x * (b[:, 2] - a[:, 2]) + w2x * (c[:, 2] - a[:, 2])
    zy = w1y * (b[:, 2] - a[:, 2]) + w2y * (c[:, 2] - a[:, 2])
    z = (a[:, 2] - zx * a[:, 0] - zy * a[:, 1])[tri] + zy[tri] * py
    z = z[span] + zx[tri][span] * px
    pix = (py * size)[span] + px
    key = (((z + 8) * 65536).astype(np.int64) << 24) | np.arange(z.size)
    best = np.full(size * size, -1, np.int64)
    np.maximum.at(best, pix.astype(np.int64), key)
    where = np.flatnonzero(best >= 0)
    win = best[where] & ((1 << 24) - 1)
    row = span[win]
    t, px, py = tri[row], px[win], py[row]
    w1, w2 = w1x[t] * px + w1y[t] * py + w10[t], w2x[t] * px + w2y[t] * py + w20[t]
    values = np.empty((attributes.shape[0], t.size), np.float32)
    ta, tb, tc = (tris[t, k] for k in range(3))
    for value, at in zip(values, attributes, strict=True):
        va = at[ta]
        value[:] = va + w1 * (at[tb] - va) + w2 * (at[tc] - va)
    return where, z[win], values


def _light(
    albedo: Float[np.ndarray, "3 n"], gloss: Float[np.ndarray, " n"], normals: Float[np.ndarray, "3 n"], view: View
) -> Float[np.ndarray, "3 n"]:
    """Linear RGB of lit samples: a key light with a soft terminator, fill light from sky and ground, a highlight."""
    n = normals * (1 / np.sqrt(normals[0] ** 2 + normals[1] ** 2 + normals[2] ** 2 + 1e-12))
    light = np.asarray(view.light, np.float32)
    light = light / np.linalg.norm(light)
    half = light + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    key = view.key * np.clip((light[0] * n[0] + light[1] * n[1] + light[2] * n[2] + 0.2) * (1 / 1.2), 0, None)
    fill = view.ambient * (0.8 - 0.2 * n[1]) * (0.55 + 0.45 * np.clip(n[2], 0, 1))
    shine = np.clip(half[0] * n[0] + half[1] * n[1] + half[2] * n[2], 0, 1) ** 2
    shine = shine**2
    shine = shine**2
    shine = (0.20 * view.key) * gloss * shine**3
    lit = np.empty_like(albedo)
    for channel, warm in enumerate((1 + view.warmth, 1.0, 1 - view.warmth)):
        lit[channel] = albedo[channel] * (key * warm + fill * (2 - warm)) + shine * warm
    return lit


def _background(
    rng: np.random.Generator, size: int, neck_px: Float[np.ndarray, "2"], scale: float, view: View
) -> Float[np.ndarray, "3 s s"]:
    """A blurred room (a gradient, soft blobs, sometimes stripes) and the person's shoulders before it."""
    grid = 32
    v, h = np.mgrid[0:grid, 0:grid].astype(np.float32) / np.float32(grid - 1)

    def colour() -> np.ndarray:  # mostly dull, sometimes vivid
        grey = rng.uniform(0.02, 0.8)
        return (grey + rng.uniform(0, 1) ** 2 * (rng.uniform(0, 0.8, 3) - grey)).astype(np.float32)[:, None, None]

    def ramp() -> np.ndarray:
        turn = float(rng.uniform(0, 6.3))
        return h * math.cos(turn) + v * math.sin(turn)

    r = ramp()
    one, two = colour(), colour()
    room = one + (two - one) * ((r - r.min()) / np.ptp(r))
    if rng.uniform() < 0.35:
        room = room * (1 + float(rng.uniform(0.1, 0.5)) * np.tanh(2 * np.sin(float(rng.uniform(4, 25)) * ramp())))
    for _ in range(rng.integers(0, 8)):
        cx, cy, sx, sy = rng.uniform([0, 0, 0.05, 0.05], [1, 1, 0.3, 0.3]).astype(np.float32)
        blob = 1 / (1 + (((h - cx) / sx) ** 2 + ((v - cy) / sy) ** 2) ** 2)
        room = room + blob * float(rng.uniform(0.3, 1)) * (colour() - room)
    room = np.stack([np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC)) for c in room])
    py, px = np.mgrid[0:size, 0:size].astype(np.float32)
    dx, dy = (px - float(neck_px[0])) / scale, (py - float(neck_px[1])) / scale
    slope = 0.10 + 0.28 * np.clip(np.abs(dx) - 0.35, 0, None) ** 1.4 - 0.25 * np.exp(-((dx / 0.4) ** 2))
    torso = np.clip((dy - slope) * scale + 0.5, 0, 1)
    fold = 1 + 0.12 * np.sin(dx * float(rng.uniform(3, 9)) + float(rng.uniform(0, 6))) - 0.15 * np.abs(dx)
    return room + torso * (colour() * fold * (view.ambient + 0.6 * view.key) - room)


def _develop(picture: Float[np.ndarray, "3 s s"], rng: np.random.Generator, view: View) -> UInt8[np.ndarray, "s s 3"]:
    """8-bit display values of linear light: exposure, saturation, a soft shoulder, gamma, sensor noise."""
    c = np.clip(picture * view.exposure, 0, None)
    grey = 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]
    c = np.clip(grey + view.saturation * (c - grey), 0, None)
    c = np.where(c > 0.7, 0.7 + 0.3 * np.tanh((c - 0.7) * (1 / 0.3)), c) ** (1 / 2.2)
    if view.noise:
        c = c + view.noise * rng.standard_normal(c.shape, np.float32)
    return np.ascontiguousarray((np.clip(c, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))


def _visible(
    landmarks_px: Float[np.ndarray, "68 2"],
    z: Float[np.ndarray, "68"],
    where: Int[np.ndarray, " n"],
    depth: Float[np.ndarray, " n"],
    size: int,
) -> Bool[np.ndarray, "68"]:
    """True for landmarks that lie in the picture and that no other surface covers.

    The sample at a landmark on the outline is often one of the background. So the deepest of the 3 x 3 samples around a
    landmark decides, with a tolerance of 0.08 units (a tenth of half a head's width).
    """
    fine = round(size * _SS)
    buffer = np.full(fine * fine, -9.0, np.float32)
    buffer[where] = depth
    buffer = np.pad(buffer.reshape(fine, fine), 1, constant_values=-9.0)
    at = np.rint((landmarks_px + 0.5) * _SS - 0.5).astype(int)
    inside = np.all((landmarks_px >= -0.5) & (landmarks_px < size - 0.5), axis=1)
    at = np.clip(at, 0, fine - 1) + 1
    around = np.stack([buffer[at[:, 1] + j, at[:, 0] + i] for j in (-1, 0, 1) for i in (-1, 0, 1)])
    return inside & (around.min(0) <= z + 0.08)


def end_with_parent() -> None:
    """In a rendering process: it ends when the one that started it does, also by a signal.

    Otherwise it would wait for ever for its next heads: each of several such processes keeps the queue open for all.
    """
    if (parent := multiprocessing.parent_process()) is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
