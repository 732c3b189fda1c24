"""Metrics against scikit-image, SciPy and cases computed by hand."""

import numpy as np
import pytest
import scipy.ndimage
from scipy.spatial.transform import Rotation
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from jfsr import geometry, metrics

rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def pair():
    """Smooth images and noisy ones, 8-bit, at a PSNR near 25 dB."""
    clean = scipy.ndimage.gaussian_filter(rng.uniform(size=(3, 48, 40, 3)), (0, 3, 3, 0))
    clean = (clean - clean.min()) / (clean.max() - clean.min())
    noisy = clean + rng.normal(scale=0.05, size=clean.shape)
    return tuple(metrics.from_8bit(metrics.to_8bit(x)) for x in (clean, noisy))


def test_to_8bit_clips_and_rounds_to_the_nearest_level():
    x = np.zeros((1, 1, 2, 3), np.float32)
    x[0, 0] = [[-0.5, 1.7, 100.4 / 255], [100.6 / 255, 0.5 / 255 * 0.99, 1.0]]
    levels = metrics.to_8bit(x)
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(levels[0, 0], [[0, 255, 100], [101, 0, 255]])
    np.testing.assert_array_equal(metrics.to_8bit(metrics.from_8bit(levels)), levels)
    assert metrics.to_8bit(levels) is levels


def test_luma_is_matlabs_rgb2ycbcr():
    # rgb2ycbcr of black, white, pure red, green and blue, uint8: 16, 235, 81, 145, 41.
    colours = np.array([[[[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]]], np.float32)
    np.testing.assert_array_equal(np.round(255 * metrics.luma(colours))[0, 0, :, 0], [16, 235, 81, 145, 41])


def test_psnr_agrees_with_skimage_and_with_a_case_computed_by_hand(pair):
    a, b = pair
    expected = [peak_signal_noise_ratio(x, y, data_range=1.0) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(metrics.psnr(a, b), expected, atol=1e-4)
    grey = np.full((1, 8, 8, 3), 0.5, np.float32)
    np.testing.assert_allclose(metrics.psnr(grey, grey + np.float32(0.1)), 20.0, atol=1e-4)
    assert metrics.psnr(grey, grey)[0] == np.inf


def test_psnr_is_the_mean_per_image_not_over_the_set(pair):
    a, b = pair
    each = [metrics.psnr(a[i : i + 1], b[i : i + 1])[0] for i in range(3)]
    np.testing.assert_array_equal(metrics.psnr(a, b), each)


def test_ssim_agrees_with_skimage(pair):
    a, b = pair
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = [structural_similarity(x, y, channel_axis=-1, **wang) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(metrics.ssim(a, b), expected, atol=1e-4)
    ya, yb = metrics.luma(a)[..., 0], metrics.luma(b)[..., 0]
    expected = [structural_similarity(x, y, **wang) for x, y in zip(ya, yb, strict=True)]
    np.testing.assert_allclose(metrics.ssim(a, b, colour="y"), expected, atol=1e-4)
    np.testing.assert_allclose(metrics.ssim(a, a), 1.0, atol=1e-12)


@pytest.mark.parametrize("score", [metrics.psnr, metrics.ssim])
def test_region_and_border_cut_before_scoring(score, pair):
    a, b = pair
    boxes = np.array([[4, 6, 30, 40], [0, 0, 40, 48], [10, 10, 15, 15]])
    got = score(a, b, boxes=boxes, border=2)
    np.testing.assert_allclose(got[0], score(a[:1, 8:38, 6:28], b[:1, 8:38, 6:28])[0], rtol=1e-12)
    np.testing.assert_allclose(got[1], score(a[1:2, 2:-2, 2:-2], b[1:2, 2:-2, 2:-2])[0], rtol=1e-12)
    # The third region has one pixel: too small for an SSIM window, enough for a PSNR.
    assert np.isnan(got[2]) == (score is metrics.ssim)
    assert np.isnan(score(a, b, boxes=np.zeros((3, 4), int))).all()


def test_an_images_score_does_not_depend_on_its_neighbours(pair):
    a, b = pair
    padded = [np.concatenate([x, np.zeros((5, 48, 40, 3), np.float32)]) for x in (a, b)]
    for score in (metrics.psnr, metrics.ssim):
        np.testing.assert_array_equal(score(*padded)[:3], score(a, b))


def test_images_of_different_shape_are_refused(pair):
    a, b = pair
    with pytest.raises((ValueError, TypeError), match=r"shape|Type-check"):  # ours, or the run-time type check
        metrics.psnr(a, b[:, :40])


def test_landmark_boxes_hold_every_known_landmark():
    points = np.full((2, 68, 2), np.nan, np.float32)
    points[0, :3] = [[10.2, 20.6], [30.5, 25.0], [12, 60.49]]
    np.testing.assert_array_equal(metrics.landmark_boxes(points, size=64), [[10, 21, 32, 61], [0, 0, 0, 0]])
    points[0, 0] = [-5, 80]
    np.testing.assert_array_equal(metrics.landmark_boxes(points, size=64)[0], [0, 25, 32, 64])


def test_pose_errors_wrap_the_difference_and_fold_nothing():
    true = np.array([[179, 0, 0], [80, 10, -10], [np.nan, 0, 0]], np.float32)
    predicted = np.array([[-179, 0, 0], [-80, 10, 20], [0, 1, 0]], np.float32)
    expected = [[2, 0, 0], [160, 0, 30], [np.nan, 1, 0]]
    np.testing.assert_allclose(metrics.pose_errors(predicted, true), expected, atol=1e-5)


def test_geodesic_agrees_with_scipy():
    a, b = rng.uniform(-60, 60, (2, 20, 3)).astype(np.float32)

    def rotation(pose):  # R = Rx(pitch) Ry(-yaw) Rz(roll)
        yaw, pitch, roll = pose.T
        return Rotation.from_euler("XYZ", np.stack([pitch, -yaw, roll], 1), degrees=True)

    expected = np.rad2deg((rotation(a).inv() * rotation(b)).magnitude())
    np.testing.assert_allclose(metrics.pose_geodesic(a, b), expected, atol=1e-4)
    a[0, 1] = np.nan
    assert np.isnan(metrics.pose_geodesic(a, b)[0])


def test_dropped_faces_name_their_rule():
    pose = np.array([[0, 0, 0], [99, -99, 0], [0, 99.1, 0], [np.nan, 0, 0], [np.nan, 120, 0]], np.float32)
    rules = ["", "", "|angle| > 99°", "no pose label", "no pose label"]
    assert [rule == "" for rule in rules] == geometry.pose_in_range(pose).tolist()
    assert metrics.pose_dropped_by(pose) == rules


def test_bootstrap_covers_the_standard_error_of_the_mean():
    values = rng.normal(5.0, 2.0, 400)
    got = metrics.bootstrap(values)
    standard_error = values.std() / 20
    assert got.mean == values.mean()
    np.testing.assert_allclose(
        [got.low, got.high], values.mean() + 1.96 * standard_error * np.array([-1, 1]), atol=0.04
    )
    assert metrics.bootstrap(values) == got  # seeded
    assert metrics.bootstrap(np.append(values, np.nan)) == got
    assert metrics.bootstrap(values, confidence=0.5).high < got.high


def test_bootstrap_of_none_one_and_infinite_values():
    assert metrics.bootstrap(np.array([np.nan])).n == 0
    assert metrics.bootstrap(np.array([3.0])) == (3.0, 3.0, 3.0, 1)
    assert metrics.bootstrap(np.array([3.0, np.inf])).mean == np.inf


def test_yaw_bins_take_each_face_once():
    yaw = np.array([0, -14.9, 15, -45, 60, 99, -99, np.nan])
    bins = metrics.yaw_bins(yaw)
    assert list(bins) == ["0–15°", "15–30°", "30–45°", "45–60°", "60–99°"]
    assert [int(m.sum()) for m in bins.values()] == [2, 1, 0, 1, 3]


def test_masks_leave_out_pixels_and_the_windows_that_touch_them(pair):
    a, b = pair
    mask = np.ones((3, 48, 40), bool)
    np.testing.assert_array_equal(metrics.psnr(a, b, masks=mask), metrics.psnr(a, b))
    np.testing.assert_array_equal(metrics.ssim(a, b, masks=mask), metrics.ssim(a, b))
    mask[:, :, 30:] = False  # a rectangle: the same as a box
    box = np.array([[0, 0, 30, 48]] * 3)
    wild = a.copy()
    wild[:, :, 30:] = 0.0  # what is left out may be anything
    np.testing.assert_allclose(metrics.psnr(wild, b, masks=mask), metrics.psnr(a, b, boxes=box), rtol=1e-12)
    np.testing.assert_allclose(metrics.ssim(wild, b, masks=mask), metrics.ssim(a, b, boxes=box), rtol=1e-12)
    mask[0] = False
    assert np.isnan(metrics.psnr(a, b, masks=mask)[0])
    mask[1] = False
    mask[1, :10, :10] = True  # no window of 11×11
    assert np.isnan(metrics.ssim(a, b, masks=mask)[:2]).all()
