"""The colour of a synthetic head: skin, eyes, brows, lips, beard, glasses and hair, painted per pixel in the chart.

Colours are linear RGB. Every function takes chart points (see :mod:`head_model`) and paints them. So an iris or a lid
is as sharp as the picture allows, independent of the mesh.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float

from jfsr.data.datasets.head_model import Head, Points

_HAIR_FRAY = 0.06  # single strands end up to this far from the hairline
_EDGE = 0.008  # softness of painted edges in chart units, about half a pixel at 128


@functools.cache
def _noise() -> Float[np.ndarray, "256 256"]:
    """A fixed tile of smooth noise in [-1, 1], correlated over about 4 cells."""
    rng = np.random.default_rng(7)
    freq = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None])
    tile = np.fft.ifft2(np.fft.fft2(rng.normal(size=(256, 256))) * np.exp(-((freq * 12) ** 2) / 2)).real
    return np.clip(tile / (2.2 * tile.std()), -1, 1).astype(np.float32)


def noise(a: Points, b: Points) -> Points:
    """Smooth noise in [-1, 1] at (a, b); one unit is a cell, features are about 4 cells wide."""
    return _noise()[a.astype(np.int32) & 255, b.astype(np.int32) & 255]


def _rgb(colour: tuple[float, ...]) -> Float[np.ndarray, "3"]:
    return np.asarray(colour, np.float32)


def _soft(t: Points, width: float = _EDGE) -> Points:
    """0 for t < -width, 1 for t > width, a ramp between."""
    return np.clip(0.5 + t / (2 * width), 0, 1)


def _blend(colour: Float[np.ndarray, "3 n"], where: np.ndarray, mask: Points, other: np.ndarray) -> None:
    """Moves colour[where] towards other by mask, in place."""
    other = other[:, None] if other.ndim == 1 else other
    part = colour[:, where]
    part += mask * (other - part)
    colour[:, where] = part


def _darken(colour: Float[np.ndarray, "3 n"], where: np.ndarray, by: Points) -> None:
    colour[:, where] *= 1 - by


def paint(head: Head, x: Points, y: Points, u: Points) -> tuple[Float[np.ndarray, "3 n"], Points]:
    """Albedo and gloss of surface points.

    Args:
      head: the head whose surface is painted.
      x, y: chart points.
      u: azimuth of the same points.

    Returns:
      Albedo in linear RGB, and gloss, the strength of the highlight in [0, 1].
    """
    lift = head.hair_lift(u, y)
    colour, gloss = np.zeros((3, x.size), np.float32), np.zeros_like(x)
    bare = np.flatnonzero(lift < _HAIR_FRAY + 0.01)  # the rest lies under hair
    colour[:, bare], gloss[bare] = _bare_head(head, x[bare], y[bare], u[bare])
    if head.id.hair:
        _hair(head, colour, gloss, y, u, lift)
    if head.id.glasses:
        near = np.flatnonzero((np.abs(u) < 1.75) & (np.abs(y) < 0.3) & ((lift < 0.03) | (np.abs(u) < 0.9)))
        _glasses(head, colour, gloss, near, x[near], y[near])
    return colour, gloss


def _bare_head(head: Head, x: Points, y: Points, u: Points) -> tuple[Float[np.ndarray, "3 n"], Points]:
    """Albedo and gloss of a head without hair and glasses."""
    i, k = head.id, head.id.noise_offset
    shade = 1 + 0.05 * noise(x * 60 + k, y * 60 + 300) + 0.06 * noise(x * 14 + 500, y * 14 + k)
    colour = _rgb(i.skin_rgb)[:, None] * shade
    gloss = np.full_like(x, 0.45)
    front = np.abs(u) < 1.5
    edge = head.jaw_edge(u)
    face = np.flatnonzero(front & (y < edge + 0.1) & (y > -0.6))
    _skin(head, colour, face, x[face], y[face])
    for side in (-1, 1):
        near = np.flatnonzero(front & (np.abs(side * x - i.eye_x) < 0.33) & (y > -0.42) & (y < 0.22))
        _brow(head, colour, near, x[near], y[near], side)
        near = near[np.abs(side * x[near] - i.eye_x) < 0.23]
        _eye(head, colour, gloss, near, x[near], y[near], side)
    low = face[y[face] > 0.1]
    _beard(head, colour, gloss, low, x[low], y[low], u[low], edge[low])
    near = low[(np.abs(x[low]) < 0.25) & (np.abs(y[low] - head.nose_base) < 0.15)]
    _nostrils(head, colour, near, x[near], y[near])
    near = low[(np.abs(x[low]) < head.mouth_half * 1.15) & (np.abs(y[low] - i.mouth_y - 0.1) < 0.4)]
    _mouth(head, colour, gloss, near, x[near], y[near])
    _ear(head, colour, u, y)
    # Little light arrives under the jaw.
    below = y - edge
    low = np.flatnonzero((below > -0.03) & (below < 0.6))
    below = below[low]
    _darken(colour, low, 0.45 * np.clip((below + 0.03) / 0.12, 0, 1) * np.clip(1.6 - below * 2, 0, 1))
    return colour, gloss


def _skin(head: Head, colour: np.ndarray, where: np.ndarray, x: Points, y: Points) -> None:
    """Blush, sockets, folds, freckles."""
    i, a = head.id, np.abs(x)
    blush = (0.30 + 0.4 * i.makeup) * np.exp(-(((a - 0.44) / 0.17) ** 2) - ((y - 0.36) / 0.15) ** 2)
    blush += 0.28 * np.exp(-((x / 0.13) ** 2) - ((y - head.nose_tip) / 0.10) ** 2)
    colour[1, where] *= 1 - 0.28 * blush
    colour[2, where] *= 1 - 0.25 * blush
    dark = (0.16 + 0.10 * i.age) * np.exp(-(((a - i.eye_x + 0.03) / 0.17) ** 2) - ((y - 0.02) / 0.11) ** 2)
    dark += 0.22 * np.exp(-(((a - 0.1) / 0.05) ** 2) - ((y - 0.02) / 0.10) ** 2)  # beside the bridge
    # The sides of the nose and the fold from its wing to the corner of the mouth.
    dark += 0.20 * np.exp(-(((a - head.ala_x - 0.045) / 0.022) ** 2) - ((y - head.nose_base + 0.05) / 0.055) ** 2)
    t = np.clip((y - head.nose_base + 0.06) / (i.mouth_y + 0.02 - head.nose_base + 0.06), 0, 1)
    fold = head.ala_x + 0.05 + (head.mouth_half + 0.05 - head.ala_x) * t
    depth = 0.10 + 0.22 * i.age + 0.15 * max(head.ex.smile, 0)
    dark += depth * np.exp(-(((a - fold) / 0.022) ** 2)) * np.sin(np.pi * t)
    dark += 0.22 * np.exp(-((x / 0.17) ** 2) - ((y - head.lip_foot - 0.035) / 0.03) ** 2)  # under the lower lip
    dark += 0.12 * np.exp(-((x / 0.13) ** 2) - ((y - head.nose_base - 0.03) / 0.03) ** 2)  # under the nose
    if i.age > 0.55:
        lines = np.sin(y * 75 + 3 * np.cos(x * 4)) ** 8 * _soft(-0.28 - y, 0.05) * _soft(0.42 - a, 0.1)
        dark += (i.age - 0.5) * 0.4 * lines
    if i.freckles:
        spots = _soft(noise(x * 190 + i.noise_offset, y * 190) - 0.42, 0.1)
        dark += 0.35 * i.freckles * spots * np.exp(-((x / 0.5) ** 2) - ((y - 0.28) / 0.22) ** 2)
    _darken(colour, where, np.minimum(dark, 0.7))


def _brow(head: Head, colour: np.ndarray, where: np.ndarray, x: Points, y: Points, side: int) -> None:
    x0, x1 = head.brow(np.array([0.0, 1.0]), side)[0]
    t = (x - x0) / (x1 - x0)
    line = head.brow(t, side)[1]
    thick = 0.031 * head.id.brow_thick * np.clip(1.1 - 0.75 * t**2, 0.1, None)
    strand = noise(x * 150 + y * 60, y * 60 - side * x * 50 + head.id.noise_offset)
    mask = _soft(thick * (1 + 0.25 * strand) - np.abs(y - line), 0.014) * _soft(t + 0.02, 0.05) * _soft(1.03 - t, 0.04)
    _blend(colour, where, 0.9 * mask, _rgb(head.id.brow_rgb))


def _eye(head: Head, colour: np.ndarray, gloss: np.ndarray, where: np.ndarray, x: Points, y: Points, side: int) -> None:
    i = head.id
    e, h = head.eye_frame(x, y, side)
    upper, lower = head.lids(np.clip(e, -1, 1))
    within = _soft(1.0 - np.abs(e), 0.05)
    # Crease, eye shadow and lower lid fold around the opening.
    crease = np.exp(-(((h - upper + 0.048) / 0.013) ** 2)) * _soft(1.05 - np.abs(e), 0.15)
    _darken(colour, where, 0.35 * crease + 0.10 * np.exp(-(((h - lower - 0.05) / 0.02) ** 2)) * within)
    if i.makeup:
        lid = _soft(h - upper + 0.06, 0.03) * _soft(upper - h) * within
        _blend(colour, where, 0.5 * i.makeup * lid, _rgb((0.10, 0.05, 0.08)))
    inside = _soft(h - upper) * _soft(lower - h) * _soft(1.0 - np.abs(e), 0.02)
    gx, gy = side * head.ex.gaze[0], head.ex.gaze[1]
    r = np.hypot((e * head.eye_half - gx), h + 0.012 - gy) / (0.070 * i.eye_size)
    ball = _rgb((0.68, 0.62, 0.60))[:, None] * (1 - 0.35 * np.clip(np.abs(e), 0, 1) ** 3)
    iris = _rgb(i.iris_rgb)[:, None] * np.clip(1.4 - 0.9 * r**3, 0.15, None)
    ball += _soft(1 - r, 0.10) * (iris - ball)
    ball *= _soft(r - 0.42, 0.10)
    ball *= 1 - 0.6 * np.exp(-np.clip(h - upper, 0, None) / 0.030)  # shadow of the upper lid
    glint = _soft(0.20 - np.hypot(e * head.eye_half - gx - side * 0.022, h + 0.036 - gy) / 0.066, 0.08)
    ball += glint * (1.2 - ball)
    _blend(colour, where, inside, ball)
    gloss[where] += inside * (0.2 - gloss[where])
    lash = (0.016 + 0.008 * i.makeup) * (0.75 + 0.45 * e)
    line = _soft(lash - np.abs(h - upper + 0.004), 0.009) * _soft(1.06 - np.abs(e), 0.06)
    _blend(colour, where, (0.80 + 0.15 * i.makeup) * line, _rgb((0.012, 0.008, 0.007)))
    rim = _soft(0.006 - np.abs(h - lower), 0.008) * within
    _blend(colour, where, (0.35 + 0.3 * i.makeup) * rim, _rgb((0.08, 0.03, 0.025)))


def _nostrils(head: Head, colour: np.ndarray, where: np.ndarray, x: Points, y: Points) -> None:
    hole = ((np.abs(x) - 0.52 * head.ala_x) / 0.040) ** 2 + ((y - head.nose_base + 0.008) / 0.016) ** 2
    _darken(colour, where, 0.8 * _soft(1 - hole, 0.5))


def _mouth(head: Head, colour: np.ndarray, gloss: np.ndarray, where: np.ndarray, x: Points, y: Points) -> None:
    i = head.id
    e = x / head.mouth_half
    top, inner_top, inner_low, low = head.mouth(np.clip(e, -1, 1))
    ends = _soft(1.0 - np.abs(e), 0.03)
    lips = _soft(y - top, 0.011) * _soft(low - y, 0.012) * ends
    lip = _rgb(i.lip_rgb)[:, None] * (1.05 - 0.25 * (y < inner_top)) * (1 + 0.10 * noise(x * 140, y * 25 + 90))
    _blend(colour, where, 0.9 * lips, lip)
    gloss[where] += lips * (0.25 + 0.6 * i.makeup)
    gap = _soft(y - inner_top) * _soft(inner_low - y) * ends
    depth = np.clip((y - inner_top) / 0.10, 0, 1)
    mouth = _rgb((0.10, 0.018, 0.016))[:, None] * (0.25 + 0.75 * depth)
    tongue = _soft(y - inner_low + 0.075 - 0.02 * e * e, 0.02) * _soft(0.6 - np.abs(e), 0.1)
    mouth += tongue * (_rgb((0.30, 0.07, 0.07))[:, None] - mouth)
    teeth = _soft(inner_top + 0.050 - y, 0.010) * _soft(0.72 - np.abs(e), 0.06)
    tooth = _rgb((0.66, 0.60, 0.52))[:, None] * np.clip(1 - 0.5 * np.abs(e), 0, None)
    mouth += teeth * (0.35 + 0.65 * max(head.ex.smile, 0)) * (tooth - mouth)
    _blend(colour, where, gap, mouth)
    gloss[where] *= 1 - gap
    # A closed mouth is a dark line that deepens at the corners.
    line = _soft(0.008 - np.abs(y - inner_top), 0.009) * _soft(1.05 - np.abs(e), 0.05)
    _blend(colour, where, 0.75 * line, _rgb((0.035, 0.010, 0.009)))


def _beard(
    head: Head,
    colour: np.ndarray,
    gloss: np.ndarray,
    where: np.ndarray,
    x: Points,
    y: Points,
    u: Points,
    edge: Points,
) -> None:
    i = head.id
    if max(i.beard, i.moustache) < 0.05:
        return
    a = np.abs(x)
    # Distance of the beard's upper border from the edge of the jaw: below the lip, past the mouth, up to the ear.
    height = 0.20 + 0.18 * _soft(a - 0.27, 0.06) + 0.10 * _soft(np.abs(u) - 1.15, 0.2)
    chin = _soft(y - edge + height, 0.05) * _soft(edge + 0.03 - y, 0.05) * _soft(1.45 - np.abs(u), 0.08)
    lip = np.exp(-(((y - 0.5 * (head.nose_base + 0.015 + head.id.mouth_y - 0.05)) / 0.045) ** 2)) * _soft(
        0.30 - a, 0.05
    )
    grain = 1 + 0.3 * noise(x * 260 + i.noise_offset, y * 120)
    mask = np.clip(np.maximum(chin * i.beard, lip * i.moustache) * grain, 0, 0.92)
    gloss[where] *= 1 - 0.85 * mask
    _blend(colour, where, mask, _rgb(i.hair_rgb) * 0.8)


def _ear(head: Head, colour: np.ndarray, u: Points, y: Points) -> None:
    a = np.abs(u) - np.deg2rad(97.0)
    near = np.flatnonzero((np.abs(a) < 0.3) & (y > -0.2) & (y < 0.5))
    q, r = a[near] / 0.26, (y[near] - 0.13 + 0.12 * a[near]) / (0.29 * head.id.ear)
    ring = np.hypot(q, r)
    concha = np.exp(-(((q + 0.1) / 0.35) ** 2) - ((r - 0.12) / 0.38) ** 2)
    _darken(colour, near, np.clip(0.55 * concha + 0.25 * np.exp(-(((ring - 0.68) / 0.12) ** 2)) * (r < 0.5), 0, 0.8))
    colour[1:, near] *= 1 - 0.15 * _soft(1 - ring, 0.1)


def _hair(head: Head, colour: np.ndarray, gloss: np.ndarray, y: Points, u: Points, lift: Points) -> None:
    """Strands along the meridians that meet at the crown, or specks for curly hair; a shadow under the hairline."""
    i = head.id
    near = np.flatnonzero(lift > -0.25)
    u, y = u[near], y[near]
    coarse = noise(u * 60 + i.noise_offset, y * (40 if i.hair_curl else 9) + 40)
    fine = noise(u * (110 if i.hair_curl else 160) + 77, y * (120 if i.hair_curl else 14) + i.noise_offset)
    lift = lift[near] + (_HAIR_FRAY - 0.02) * (0.6 * coarse + 0.4 * fine)
    mask = _soft(lift, 0.02)
    _darken(colour, near, 0.40 * np.exp(np.minimum(lift, 0) / 0.06) * (1 - mask))
    contrast = 0.28 if i.hair_curl else 0.42
    shade = (1 + contrast * (coarse + fine)) * np.clip(0.62 + lift * 1.2, 0.5, 1)
    _blend(colour, near, mask, _rgb(i.hair_rgb)[:, None] * shade)
    gloss[near] += mask * ((0.35 - 0.25 * i.hair_curl) * shade - gloss[near])


def _glasses(head: Head, colour: np.ndarray, gloss: np.ndarray, where: np.ndarray, x: Points, y: Points) -> None:
    i, a = head.id, np.abs(x)
    dx, dy = (a - i.eye_x - 0.01) / 0.215, (y - 0.02) / (i.glasses + 0.03)
    ring = (np.abs(dx) ** 3 + np.abs(dy) ** 3) ** (1 / 3)
    frame = _soft(0.07 - np.abs(ring - 1), 0.05)
    bridge = _soft(0.02 - np.abs(y + 0.03 - 0.3 * a * a), 0.009) * _soft(i.eye_x - 0.20 - a, 0.01)
    temple = _soft(0.02 - np.abs(y + 0.04), 0.009) * _soft(a - i.eye_x - 0.215, 0.01)
    mask = np.maximum(np.maximum(frame, bridge), temple)
    _blend(colour, where, mask, _rgb(i.glasses_rgb))
    lens = _soft(0.97 - ring, 0.05)
    _blend(colour, where, 0.10 * lens, _rgb((0.5, 0.55, 0.6)))
    gloss[where] += 0.8 * mask
