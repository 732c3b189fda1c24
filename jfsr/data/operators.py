"""The low-resolution operators by name: how an 8-bit face is made small, and how the bicubic baseline enlarges it.

``pil_bicubic``: Pillow's bicubic filter (Keys, a = -0.5), antialiased when it reduces. ``cv2_cubic``: OpenCV's
``INTER_CUBIC`` (a = -0.75), which looks at 4×4 pixels whatever the scale, so that a reduction by 8 skips most of them.
The two differ by up to some 20 grey levels at 8 pixels, and by 2.7 dB in the bicubic row: a table names its operator.
OpenCV is not needed: its arithmetic on 8-bit images is written out here and held against stored results of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

CUBIC_A = -0.75  # OpenCV's
CV2_BITS = 11  # OpenCV's weights are whole multiples of 2^-11


@dataclasses.dataclass(frozen=True)
class Operator:
    """How faces become small, and large again without a system.

    Attributes:
      resize: uint8 [h, w, 3] and (width, height) -> uint8 [height, width, 3], for both directions.
    """

    resize: Callable[[UInt8[np.ndarray, "h w 3"], tuple[int, int]], UInt8[np.ndarray, "H W 3"]]

    def reduce(self, image: UInt8[np.ndarray, "h w 3"], scale: int) -> UInt8[np.ndarray, "H W 3"]:
        """The image reduced by a whole scale; ValueError if that does not divide its sides."""
        height, width = image.shape[:2]
        if height % scale or width % scale:
            raise ValueError(f"scale {scale} does not divide {width}×{height}")
        return self.resize(image, (width // scale, height // scale))

    def enlarge(self, images: UInt8[np.ndarray, "n h w 3"], *, size: int) -> UInt8[np.ndarray, "n H W 3"]:
        """Square images enlarged to a side of ``size``: the row 'bicubic'."""
        return np.stack([self.resize(image, (size, size)) for image in images])


def pil_bicubic(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """Pillow's bicubic resize, clipped and rounded by Pillow."""
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def cv2_cubic(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """``cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)`` of an 8-bit image, without OpenCV.

    Pixel centres at halves, four pixels along each axis, edges repeated; weights rounded to 2^-11, sums exact, halves
    rounded to even (modules/imgproc/src/resize.cpp). Equal to OpenCV's own code at the sizes of faces here; wheels that
    call Intel's IPP instead enlarge a few pixels in a hundred to the next grey level.
    """
    width, height = size
    rows, down = cubic_taps(image.shape[0], height)
    columns, across = cubic_taps(image.shape[1], width)
    wide = np.einsum("hwkc,wk->hwc", image.astype(np.int64)[:, columns], across)
    out = np.einsum("hkwc,hk->hwc", wide[rows], down)
    return np.clip(np.rint(out / (1 << 2 * CV2_BITS)), 0, 255).astype(np.uint8)


def cubic_taps(before: int, after: int) -> tuple[Int[np.ndarray, "n 4"], Int[np.ndarray, "n 4"]]:
    """The four source pixels of each target pixel along one axis, and their weights in units of 2^-11.

    Args:
      before: source pixels.
      after: target pixels.
    """
    where = ((np.arange(after) + 0.5) * (before / after) - 0.5).astype(np.float32)
    first = np.floor(where).astype(np.int64)
    weights = cubic_weights(where - first.astype(np.float32))
    taps = np.clip(first[:, None] + np.arange(-1, 3), 0, before - 1)
    return taps, np.rint(weights * np.float32(1 << CV2_BITS)).astype(np.int64)


def cubic_weights(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 4"]:
    """The cubic kernel of a = -0.75 at the distances 1 + x, x, 1 - x and 2 - x, float32; the four add up to 1."""
    a, x = np.float32(CUBIC_A), x.astype(np.float32)
    outer = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    other = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1
    return np.stack([outer, inner, other, 1 - outer - inner - other], -1)


# The low resolution is cut from the picture itself (``low`` of jfsr.data.crops); the row 'bicubic' is Pillow's.
NATIVE = "native"

OPERATORS: dict[str, Operator] = {
    "pil_bicubic": Operator(pil_bicubic),
    "cv2_cubic": Operator(cv2_cubic),
    NATIVE: Operator(pil_bicubic),
}
