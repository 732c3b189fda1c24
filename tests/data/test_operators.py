"""The low-resolution operators: OpenCV's cubic against results of OpenCV, Pillow's against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from support import ROOT

from jfsr.data import operators, pipeline
from jfsr.data.operators import OPERATORS

GOLDEN = ROOT / "tests" / "data" / "cv2_cubic.npz"  # written by opencv-python-headless 5.0.0, Intel's IPP disabled
SIZES = [(128, 16), (128, 8), (8, 32), (16, 24), (24, 11)]


def picture(side):
    """A picture by arithmetic, with flat parts, edges and every grey level."""
    y, x, c = np.mgrid[:side, :side, :3]
    return ((7 * x + 13 * y + 31 * c + x * y * (c + 1) + 90 * ((x // 5 + y // 7) % 2)) % 256).astype(np.uint8)


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_cv2_cubic_is_opencvs(before, after):
    with np.load(GOLDEN) as golden:
        np.testing.assert_array_equal(operators.cv2_cubic(picture(before), (after, after)), golden[f"{before}_{after}"])


@pytest.mark.parametrize(("before", "after"), [*SIZES, (16, 128), (8, 128), (64, 256), (37, 50)])
def test_cv2_cubic_is_the_installed_opencvs(before, after):
    """One grey level is left for wheels that call Intel's IPP where they enlarge."""
    cv2 = pytest.importorskip("cv2")
    faces = np.stack([picture(before), np.random.default_rng(0).integers(0, 256, (before, before, 3), np.uint8)])
    for face in faces:
        wanted = cv2.resize(face, (after, after), interpolation=cv2.INTER_CUBIC).astype(int)
        difference = np.abs(operators.cv2_cubic(face, (after, after)) - wanted)
        assert difference.max() <= 1
        assert (difference > 0).mean() <= (0.08 if after != before // 8 else 0.0)


def test_a_reduction_by_8_reads_four_pixels_of_eight():
    """Not antialiased: other pixels may be anything. Weights of a = -.75 half-way: -3/32, 19/32, 19/32, -3/32."""
    taps, weights = operators.cubic_taps(128, 16)
    np.testing.assert_array_equal(taps[0], [2, 3, 4, 5])
    np.testing.assert_allclose(weights[0] / 2048, [-3 / 32, 19 / 32, 19 / 32, -3 / 32])
    face = picture(128)
    noisy = face.copy()
    noisy[::8] = noisy[:, 6::8] = 0
    np.testing.assert_array_equal(operators.cv2_cubic(face, (16, 16)), operators.cv2_cubic(noisy, (16, 16)))
    assert (OPERATORS["pil_bicubic"].reduce(face, 8) != OPERATORS["pil_bicubic"].reduce(noisy, 8)).any()


def test_pil_bicubic_is_pillows_and_the_default():
    face = picture(128)
    wanted = np.asarray(Image.fromarray(face).resize((16, 16), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(OPERATORS["pil_bicubic"].reduce(face, 8), wanted)
    np.testing.assert_array_equal(pipeline.low_resolution(face, 8), wanted)
    large = np.asarray(Image.fromarray(wanted).resize((128, 128), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(OPERATORS["pil_bicubic"].enlarge(wanted[None], size=128)[0], large)
    with pytest.raises(ValueError, match="scale 3 does not divide 128×128"):
        OPERATORS["cv2_cubic"].reduce(face, 3)
