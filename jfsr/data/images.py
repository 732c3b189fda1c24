"""Image files as 8-bit RGB arrays, decoded by Pillow.

Every mode that Pillow decodes becomes 8-bit RGB: grey, palette, CMYK, 16 bits (the high byte is kept), alpha (over
white). EXIF rotation is applied. A file that cannot be a picture of a face is a :class:`~jfsr.data.records.BadRecord`:
it cannot be decoded, has a side under 8 pixels, has more than 64 million pixels, or has floating-point pixels.
"""

from __future__ import annotations

import io
import pathlib
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from jfsr.data.records import BadRecord

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
MIN_SIDE, MAX_PIXELS = 8, 64_000_000


def read_size(path: pathlib.Path) -> tuple[int, int]:
    """(width, height) from the header; BadRecord if the file is not an image or its size is impossible."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns from 89 million pixels on; _check refuses at 64 million
            with Image.open(path) as image:
                _check(path, image)
                return image.size
    except Exception as error:
        raise _bad(path, error, empty=path.stat().st_size == 0) from error


def read_image(path: pathlib.Path) -> np.ndarray:
    """8-bit RGB [h, w, 3] of an image file; BadRecord if it cannot be decoded."""
    try:
        return decode_image(path.read_bytes(), str(path))
    except OSError as error:
        raise BadRecord(f"{path}: cannot be read ({error.strerror})") from error


def decode_image(data: bytes, name: str) -> np.ndarray:
    """8-bit RGB [h, w, 3] from the bytes of an image file; BadRecord, with the name, if they cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check(name, image)
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # broken data can make the decoders raise nearly anything: struct.error, zlib.error, …
        raise _bad(name, error, empty=not data) from error


def to_rgb(image: Image.Image) -> np.ndarray:
    """8-bit RGB [h, w, 3] of a Pillow image in any mode, see the module; EXIF rotation is not applied."""
    if image.mode.startswith("I"):  # 16 bits, or 32 bits that hold 16: keep the high byte
        wide = np.asarray(image).astype(np.int64)
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
        return error
    if empty:
        return BadRecord(f"{path}: empty file")
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return BadRecord(f"{path}: absurdly large (over {MAX_PIXELS // 10**6} million pixels)")
    if isinstance(error, UnidentifiedImageError):
        return BadRecord(f"{path}: not an image")
    return BadRecord(f"{path}: cannot be decoded ({' '.join(str(error).split())})")
