"""Pictures: pose axes and landmarks on faces, grids of faces; uint8 arrays in and out, no files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

from jfsr import geometry
from jfsr.evals.faces import enlarge
from jfsr.metrics import to_8bit

Picture = UInt8[np.ndarray, "_ _ 3"]

AXES = ((230, 40, 40), (30, 170, 60), (40, 90, 240))  # x red, y green, z blue, as Hopenet's draw_axis
LABELS = {"original": "Original", "bicubic": "Bicubic", "nearest": "Nearest", "ours": "Ours"}
PAPER, INK = (255, 255, 255), (40, 40, 46)
FOUND, TRUE = (40, 220, 90), (235, 50, 50)
GLOW = ((255, 70, 60), (70, 220, 90), (70, 130, 255), (255, 200, 40))  # eyes, nose, mouth, chin
GAP = 4  # pixels between the cells of a grid


# --- pose -------------------------------------------------------------------------------------------------------------


def draw_axes(
    image: Picture, pose_deg: Float[np.ndarray, "3"], *, centre: tuple[float, float] | None = None, length: float = 0.45
) -> Picture:
    """Draws the head's axes: x red, y green, z blue and thicker, the last out of the face (MSGAN Figs. 10, 11).

    Args:
      image: a face.
      pose_deg: (yaw, pitch, roll); nothing is drawn if one is NaN.
      centre: (x, y) in pixels where the axes start; by default the middle.
      length: of an axis that lies in the image plane, as a fraction of the image's height.
    """
    if not np.isfinite(pose_deg).all():
        return image.copy()
    zoom = 4  # drawn large and reduced: PIL draws no smooth lines
    height, width = image.shape[:2]
    x, y = centre or ((width - 1) / 2, (height - 1) / 2)
    R = np.asarray(geometry.rotation_from_pose(jnp.asarray(pose_deg, jnp.float32)))
    layer = Image.new("RGBA", (width * zoom, height * zoom), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    start = ((x + 0.5) * zoom, (y + 0.5) * zoom)
    # Axes that point away from the viewer first, so that those nearer cover them.
    for k in np.argsort(R[2]):
        end = tuple(s + length * height * zoom * d for s, d in zip(start, R[:2, k], strict=True))
        thick = max(1, round(height / 64 * zoom * (1.4 if k == 2 else 1.0)))
        pen.line([start, end], fill=(*AXES[k], 255), width=thick)
        for px, py in (start, end):
            pen.ellipse([px - thick / 2, py - thick / 2, px + thick / 2, py + thick / 2], fill=(*AXES[k], 255))
    layer = layer.resize((width, height), Image.Resampling.BOX)
    whole = Image.alpha_composite(Image.fromarray(image).convert("RGBA"), layer)
    return np.asarray(whole.convert("RGB"))


# --- landmarks --------------------------------------------------------------------------------------------------------


def draw_landmarks(
    image: Picture,
    landmarks_px: Float[np.ndarray, "n 2"],
    *,
    true_px: Float[np.ndarray, "n 2"] | None = None,
    size: int = 512,
) -> Picture:
    """Draws landmarks as dots, found ones green and true ones red, as JASRNet's Fig. 1 (b).

    Args:
      image: a square face.
      landmarks_px: (x, y) in its pixels; NaN is left out.
      true_px: the labels, drawn below the others.
      size: side of the result; the face is enlarged so that the dots hide little of it.
    """
    zoom, radius = size / image.shape[0], size / 128
    canvas = Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(canvas)
    for points, colour in ((true_px, TRUE), (landmarks_px, FOUND)):
        for x, y in [] if points is None else (points[np.isfinite(points).all(-1)] + 0.5) * zoom - 0.5:
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)
    return np.asarray(canvas)


def landmark_comparison(
    lr: UInt8[np.ndarray, "n h w 3"],
    ours: UInt8[np.ndarray, "n H W 3"],
    original: UInt8[np.ndarray, "n H W 3"],
    found_px: Float[np.ndarray, "n m 2"],
    true_px: Float[np.ndarray, "n m 2"],
    *,
    captions: Sequence[str] = (),
    cell: int = 256,
) -> Picture:
    """LR | ours with the landmarks found | the original with the true ones in red as well; one face a row."""
    rows = []
    for i in range(len(lr)):
        true = draw_landmarks(original[i], found_px[i], true_px=true_px[i], size=cell)
        rows.append([lr[i], draw_landmarks(ours[i], found_px[i], size=cell), true])
    head = [f"LR {lr.shape[1]} px", "Ours, landmarks found", "Original, true in red"]
    under = [["", text, ""] for text in captions]
    return grid(rows, head=head, captions=under, cell=cell)


# --- components -------------------------------------------------------------------------------------------------------


def draw_components(image: Picture, maps: Float[np.ndarray, "n n k"], *, strength: float = 0.75) -> Picture:
    """Lays heatmaps over a face, all in one picture, each in its colour (MTUN's Fig. 3 (e)).

    Args:
      image: a square face.
      maps: of at most four components, nominally in [0, 1]; enlarged to the face smoothly.
      strength: how much of the face a 1 covers.
    """
    side, out = image.shape[0], image.astype(np.float32)
    for k, colour in zip(range(maps.shape[-1]), GLOW, strict=False):
        heat = Image.fromarray(np.clip(maps[..., k], 0, 1).astype(np.float32))
        cover = strength * np.clip(np.asarray(heat.resize((side, side), Image.Resampling.BICUBIC)), 0, 1)[..., None]
        out = (1 - cover) * out + cover * np.array(colour, np.float32)
    return np.round(out).astype(np.uint8)


def component_comparison(
    lr: UInt8[np.ndarray, "n h w 3"],
    ours: UInt8[np.ndarray, "n H W 3"],
    original: UInt8[np.ndarray, "n H W 3"],
    maps: Float[np.ndarray, "n m m k"],
    true_maps: Float[np.ndarray, "n _ _ k"] | None = None,
    *,
    cell: int = 192,
) -> Picture:
    """Input | upright original | ours | ours under the estimated heatmaps, one face a row (MTUN's Fig. 3).

    ``true_maps``, of the labels, stand on black behind the original, as in the paper.
    """
    rows, head = [], [f"Input {lr.shape[1]} px", "Upright", "Ours", "Ours, components"]
    for i, (small, face, truth, heat) in enumerate(zip(lr, ours, original, maps, strict=True)):
        large = _fit(face, cell)
        rows.append([small, truth, large, draw_components(large, heat)])
        if true_maps is not None:
            rows[-1].insert(2, draw_components(np.zeros((cell, cell, 3), np.uint8), true_maps[i]))
    if true_maps is not None:
        head.insert(2, "True components")
    return grid(rows, head=head, cell=cell)


# --- grids ------------------------------------------------------------------------------------------------------------


def grid(
    rows: Sequence[Sequence[Picture]],
    *,
    head: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
    cell: int = 128,
) -> Picture:
    """A contact sheet: square pictures in rows, columns under their names.

    Args:
      rows: uint8 [h, w, 3]; a picture smaller than ``cell`` is shown with its pixels as squares.
      head: a name above each column.
      captions: a line under each picture.
      cell: side in pixels.
    """
    if not rows or not rows[0]:
        raise ValueError("a grid needs at least one picture")
    line = max(12, cell // 9)
    font = ImageFont.load_default(size=line - 2)
    top, under = (line + GAP if head else 0), (line if captions else 0)
    columns = max(len(row) for row in rows)
    size = (GAP + columns * (cell + GAP), GAP + top + len(rows) * (cell + under + GAP))
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for j, name in enumerate(head):
        pen.text((GAP + j * (cell + GAP) + cell / 2, GAP + line / 2), name, INK, font=font, anchor="mm")
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            x, y = GAP + j * (cell + GAP), GAP + top + i * (cell + under + GAP)
            sheet.paste(Image.fromarray(_fit(picture, cell)), (x, y))
            if captions:
                pen.text((x + cell / 2, y + cell + line / 2), captions[i][j], INK, font=font, anchor="mm")
    return np.asarray(sheet)


def sheet(
    columns: Mapping[str, Sequence[Picture]], captions: Mapping[str, Sequence[str]] | None = None, *, cell: int = 192
) -> Picture:
    """A contact sheet by columns, one face a row.

    Args:
      columns: name -> pictures, as many in each.
      captions: name of a column -> a line under each of its pictures.
      cell: side in pixels of a picture; longer names are cut off.
    """
    font = ImageFont.load_default(size=max(12, cell // 9) - 2)  # as in a grid
    head = []
    for name in columns:
        fits = next((n for n in range(len(name), 0, -1) if font.getlength(name[:n]) <= cell), len(name))
        head.append(name if fits == len(name) else f"{name[: fits - 1]}…")
    count = len(next(iter(columns.values())))
    under = [[(captions or {}).get(name, [""] * count)[i] for name in columns] for i in range(count)]
    return grid(list(zip(*columns.values(), strict=True)), head=head, captions=under if captions else (), cell=cell)


def pose_sheet(
    columns: Mapping[str, tuple[UInt8[np.ndarray, "n _ _ 3"], Float[np.ndarray, "n 3"] | None]], *, cell: int = 192
) -> Picture:
    """Faces with the head's axes drawn and yaw / pitch / roll below, one face a row (MSGAN Figs. 10, 11).

    Args:
      columns: name -> faces and their (yaw, pitch, roll) in degrees; None: neither axes nor angles.
      cell: side in pixels of a picture.
    """
    pictures, captions = {}, {}
    for name, (faces, poses) in columns.items():
        pictures[name] = list(faces)
        if poses is not None:
            pictures[name] = [draw_axes(_fit(face, cell), pose) for face, pose in zip(faces, poses, strict=True)]
            captions[name] = [_angles(pose) for pose in poses]
    return sheet(pictures, captions, cell=cell)


def sample_grid(
    lr: Shaped[np.ndarray, "n h w 3"],
    stages: Mapping[int, Shaped[np.ndarray, "n _ _ 3"]],
    hr: Shaped[np.ndarray, "n H W 3"],
) -> Picture:
    """What a run restores now, for its log: LR | bicubic | every stage | HR, one face a row.

    Args:
      lr: low resolution in [0, 1], or uint8.
      stages: images by resolution, in [0, 1] (clipped).
      hr: the originals.
    """
    small, large = to_8bit(lr), to_8bit(hr)
    size = large.shape[1]
    columns = {f"LR {small.shape[1]}": small, "bicubic": enlarge(small, size=size)}
    columns |= {str(r): to_8bit(np.asarray(stages[r])) for r in sorted(stages)}
    columns["HR"] = large
    return grid(list(zip(*columns.values(), strict=True)), head=list(columns), cell=size)


def comparison(
    lr: UInt8[np.ndarray, "n h w 3"],
    images: Mapping[str, UInt8[np.ndarray, "n H W 3"]],
    poses_deg: Mapping[str, Float[np.ndarray, "n 3"]] | None = None,
    true_deg: Float[np.ndarray, "n 3"] | None = None,
    *,
    cell: int = 192,
) -> Picture:
    """LR | bicubic | ours | HR, one face a row, with the axes that the pose network reads (Figs. 10 to 13).

    Args:
      lr: low resolution.
      images: 'bicubic', 'original' and, where there is a system, 'ours', by row of the table.
      poses_deg: the reading of each; no axes without it.
      true_deg: the labels, under the LR picture.
      cell: side in pixels of a picture.
    """
    versions = [version for version in ("bicubic", "ours", "original") if version in images]
    rows, captions = [], []
    for i in range(len(lr)):
        label = "" if true_deg is None or np.isnan(true_deg[i]).all() else f"true {_angles(true_deg[i])}"
        row, under = [lr[i]], [label]
        for version in versions:
            picture = _fit(images[version][i], cell)
            row.append(draw_axes(picture, poses_deg[version][i]) if poses_deg else picture)
            under.append(_angles(poses_deg[version][i]) if poses_deg else "")
        rows.append(row)
        captions.append(under)
    head = [f"LR {lr.shape[1]} px", *(LABELS[version] for version in versions)]
    return grid(rows, head=head, captions=captions if poses_deg else (), cell=cell)


def degraded_samples(hr: UInt8[np.ndarray, "n H W 3"], degraded: UInt8[np.ndarray, "n k h w 3"]) -> Picture:
    """HR faces and k degradations of each, pixels as squares (Fig. 8)."""
    rows = [[face, *small] for face, small in zip(hr, degraded, strict=True)]
    return grid(rows, head=["HR", *(f"#{j + 1}" for j in range(degraded.shape[1]))])


def _fit(picture: Picture, size: int) -> Picture:
    """Resized to a square: enlarged with its pixels as squares if small, smoothly otherwise."""
    if picture.shape[:2] == (size, size):
        return picture
    small = picture.shape[0] <= size // 4
    how = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(picture).resize((size, size), how))


def _angles(pose_deg: Float[np.ndarray, "3"]) -> str:
    return " / ".join(f"{round(float(a)):+d}°" if np.isfinite(a) else "–" for a in pose_deg)


def png(picture: Picture) -> bytes:
    """The picture as a PNG file's bytes."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", optimize=True)
    return out.getvalue()
