"""Image files as 8-bit RGB arrays, decoded by Pillow.

Every mode that Pillow decodes becomes 8-bit RGB: grey, palette, CMYK, 16 bits (the high byte is kept), alpha (over
white). EXIF rotation is applied, unless the caller's labels are of the picture as it is stored. A file that cannot be
a picture of a face is a :class:`~jfsr.data.records.BadRecord`: it cannot be decoded, has a side under 8 pixels, has
more than 64 million pixels, or has pixels whose range is unknown (floats, 32 bits, 16 bits of which only 12 are used).
"""

from __future__ import annotations

import io
import os
import pathlib
import warnings
from collections import Counter
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from jfsr.data.records import BadRecord

SUFFIXES = {".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
# Pictures that Pillow does not decode by itself.
FOREIGN = {".arw", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".jxl", ".nef", ".svg"}
# Of file managers, NAS systems and archives: previews, or what was deleted. Hidden folders (.NAME) are left out anyway.
SYSTEM = {"@eadir", "#recycle", "$recycle.bin", "__macosx", "lost+found", "system volume information"}
MIN_SIDE, MAX_PIXELS = 8, 64_000_000
# Pillow warns from 89 million pixels on. Not where it is met: filters are of the process, and threads decode.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class Found(NamedTuple):
    """The images of a folder tree, sorted by their paths, and what was not looked at, for people."""

    files: list[pathlib.Path]
    notes: list[str]


def find_images(root: pathlib.Path) -> Found:
    """The image files of a folder tree.

    Hidden and system folders and hidden files are left out. Links to folders are followed, but no folder is read twice.
    """
    out: list[pathlib.Path] = []
    left_out, followed, links, foreign = 0, 0, 0, Counter[str]()
    seen = {os.path.realpath(root)}
    for folder, below, names in os.walk(root, followlinks=True):
        kept = []
        for name in sorted(below):
            path = os.path.join(folder, name)
            if name.startswith(".") or name.lower() in SYSTEM:
                left_out += 1
            elif (real := os.path.realpath(path)) in seen:
                links += 1
            else:
                seen.add(real)
                kept.append(name)
                followed += os.path.islink(path)
        below[:] = kept
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            foreign.update({suffix} & FOREIGN)
            if suffix in SUFFIXES and not name.startswith(".") and os.path.isfile(os.path.join(folder, name)):
                out.append(pathlib.Path(folder, name))
    notes = []
    if left_out:
        notes.append(f"{left_out} hidden or system folders are not looked into")
    if followed:
        notes.append(f"{followed} folders are links, which were followed")
    if links:
        notes.append(f"{links} links lead to folders that were read already")
    if foreign:
        kinds = ", ".join(f"{count} × {suffix}" for suffix, count in sorted(foreign.items()))
        notes.append(f"not read: {kinds}; convert them to PNG or JPEG")
    return Found(sorted(out), notes)


def read_size(path: pathlib.Path, *, reduce: bool = False) -> tuple[int, int]:
    """(width, height) from the header; BadRecord if the file is not an image or its size is impossible.

    Args:
      path: of the file.
      reduce: the size at which :func:`read_image` with ``reduce`` decodes it.
    """
    try:
        with Image.open(path) as image:
            if reduce:
                _reduce(image)
            _check(path, image)
            return image.size
    except Exception as error:
        raise _bad(path, error, empty=path.stat().st_size == 0) from error


def read_image(path: pathlib.Path, *, upright: bool = True, reduce: bool = False) -> np.ndarray:
    """8-bit RGB [h, w, 3] of an image file; BadRecord if it cannot be decoded.

    Args:
      path: of the file.
      upright: turn it as its EXIF orientation says.
      reduce: a JPEG that is too large is decoded at a half, a quarter or an eighth of its size, by its own blocks.
    """
    return _read(path, upright=upright, reduce=reduce)[0]


def read_reduced(path: pathlib.Path) -> tuple[np.ndarray, float]:
    """:func:`read_image` with ``reduce``, and what lengths in the file's pixels are to be multiplied with; mostly 1."""
    return _read(path, upright=True, reduce=True)


def decode_image(data: bytes, name: str, *, upright: bool = True) -> np.ndarray:
    """8-bit RGB [h, w, 3] from the bytes of an image file; BadRecord, with the name, if they cannot be decoded."""
    return _decode(data, name, upright=upright, reduce=False)[0]


def _read(path: pathlib.Path, *, upright: bool, reduce: bool) -> tuple[np.ndarray, float]:
    try:
        return _decode(path.read_bytes(), str(path), upright=upright, reduce=reduce)
    except OSError as error:
        raise BadRecord(f"{path}: cannot be read ({error.strerror})") from error


def _decode(data: bytes, name: str, *, upright: bool, reduce: bool) -> tuple[np.ndarray, float]:
    try:
        with Image.open(io.BytesIO(data)) as image:
            ratio = _reduce(image) if reduce else 1.0
            _check(name, image)
            image.load()
            return (turned(image) if upright else to_rgb(image)), ratio
    except Exception as error:  # broken data can make the decoders raise nearly anything: struct.error, zlib.error, …
        raise _bad(name, error, empty=not data) from error


def _reduce(image: Image.Image) -> float:
    """Makes a JPEG that is too large decode at a part of its size, and says which part."""
    width, height = image.size
    fits = [n for n in (2, 4, 8) if width * height <= MAX_PIXELS * n * n]
    if width * height > MAX_PIXELS and fits and image.format == "JPEG":
        image.draft("RGB", (width // fits[0], height // fits[0]))
    return image.size[0] / width


ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turned(image: Image.Image) -> np.ndarray:
    """8-bit RGB [h, w, 3] of a Pillow image, turned as its EXIF orientation says; a damaged EXIF says nothing.

    ``ImageOps.exif_transpose`` also writes the EXIF anew, which fails on a good photograph with one malformed tag.
    """
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:
        turn = None
    return to_rgb(image if turn is None else image.transpose(turn))


def to_rgb(image: Image.Image) -> np.ndarray:
    """8-bit RGB [h, w, 3] of a Pillow image in any mode, see the module; EXIF rotation is not applied."""
    if image.mode.startswith("I"):  # 16 bits, or 32 bits that hold 16: keep the high byte
        wide: np.ndarray = np.asarray(image).astype(np.int64)
        high = int(np.max(wide, initial=0))
        low = int(np.min(wide, initial=high))
        if high > 65535 or 0 < high < 4096:
            raise BadRecord(f"values from {low} to {high}, which are not those of 16 bits; convert it to 8 bits")
        grey = (np.clip(wide, 0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _check(path: pathlib.Path | str, image: Image.Image) -> None:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise BadRecord(f"{path}: {width}×{height} is too small for a face (under {MIN_SIDE} pixels)")
    if width * height > MAX_PIXELS:
        raise BadRecord(f"{path}: {width}×{height} is absurdly large (over {MAX_PIXELS // 10**6} million pixels)")
    if image.mode == "F":
        raise BadRecord(f"{path}: floating-point pixels, whose range is unknown; convert it to 8 or 16 bits")


def _bad(path: pathlib.Path | str, error: Exception, *, empty: bool) -> BadRecord:
    if isinstance(error, BadRecord):
        return error if str(path) in str(error) else BadRecord(f"{path}: {error}")
    if empty:
        return BadRecord(f"{path}: empty file")
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return BadRecord(f"{path}: absurdly large (over {MAX_PIXELS // 10**6} million pixels)")
    if isinstance(error, UnidentifiedImageError):
        return BadRecord(f"{path}: not an image")
    return BadRecord(f"{path}: cannot be decoded ({' '.join(str(error).split())})")
