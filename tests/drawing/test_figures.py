"""Pictures are tested by what must be where: axes by their colours, cells by their pixels."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jfsr import geometry
from jfsr.drawing import figures, plots

GREY = np.full((96, 96, 3), 128, np.uint8)


def axis_end(drawn, k):
    """(x, y) of the pixel of an axis' colour that lies farthest from the middle, relative to the middle."""
    y, x = np.nonzero(np.abs(drawn.astype(int) - figures.AXES[k]).sum(-1) < 40)
    if not len(x):
        return np.zeros(2)
    at = np.argmax(np.hypot(x - 47.5, y - 47.5))
    return np.array([x[at] - 47.5, y[at] - 47.5])


@pytest.mark.parametrize("pose", [(0, 0, 0), (40, 0, 0), (-40, 10, 0), (0, 30, 0), (0, 0, 25), (30, -20, 15)])
def test_axes_end_where_the_rotated_unit_vectors_do(pose):
    drawn = figures.draw_axes(GREY, np.array(pose, np.float32), length=0.4)
    R = np.asarray(geometry.rotation_from_pose(jnp.array(pose, jnp.float32)))
    for k in range(3):
        expected = 0.4 * 96 * R[:2, k]
        if np.hypot(*expected) > 8:  # a shorter one may lie under another
            np.testing.assert_allclose(axis_end(drawn, k), expected, atol=2.0)


def test_a_face_turned_to_the_viewers_left_points_its_blue_axis_left():
    assert axis_end(figures.draw_axes(GREY, np.array([50, 0, 0], np.float32)), 2)[0] < -20
    assert axis_end(figures.draw_axes(GREY, np.array([0, 30, 0], np.float32)), 2)[1] < -15  # up


def test_axes_of_an_unknown_pose_are_not_drawn_and_the_picture_given_is_kept():
    before = GREY.copy()
    np.testing.assert_array_equal(figures.draw_axes(GREY, np.array([np.nan, 0, 0], np.float32)), GREY)
    figures.draw_axes(GREY, np.zeros(3, np.float32))
    np.testing.assert_array_equal(GREY, before)


def test_grid_puts_each_picture_in_its_cell_and_small_ones_as_squares():
    gap, cell = figures.GAP, 32
    red, blue = (np.full((cell, cell, 3), c, np.uint8) for c in ([200, 0, 0], [0, 0, 200]))
    small = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    sheet = figures.grid([[red, small], [small, blue]], cell=cell)
    assert sheet.shape == (2 * cell + 3 * gap, 2 * cell + 3 * gap, 3)
    np.testing.assert_array_equal(sheet[gap : gap + cell, gap : gap + cell], red)
    squares = np.repeat(np.repeat(small, 8, 0), 8, 1)
    np.testing.assert_array_equal(sheet[gap : gap + cell, 2 * gap + cell : 2 * (gap + cell)], squares)
    np.testing.assert_array_equal(sheet[2 * gap + cell : 2 * (gap + cell), 2 * gap + cell : 2 * (gap + cell)], blue)
    taller = figures.grid([[red]], head=["red"], captions=[["+1°"]], cell=cell)
    assert (taller[-14:, :] < 100).all(-1).any()  # ink below the picture
    with pytest.raises(ValueError, match="at least one picture"):
        figures.grid([])


def test_sample_grid_shows_lr_bicubic_every_stage_and_hr():
    rng = np.random.default_rng(0)
    lr, hr = rng.uniform(size=(2, 4, 4, 3)).astype(np.float32), rng.uniform(size=(2, 32, 32, 3)).astype(np.float32)
    stages = {32: hr * 1.5 - 0.2, 8: rng.uniform(size=(2, 8, 8, 3)).astype(np.float32)}
    sheet = figures.sample_grid(lr, stages, hr)
    assert sheet.shape[1] == figures.GAP + 5 * (32 + figures.GAP)
    last = sheet[-(32 + figures.GAP) : -figures.GAP]
    at = lambda j: last[:, figures.GAP + j * (32 + figures.GAP) :][:, :32]
    np.testing.assert_array_equal(at(4), np.round(hr[1] * 255))
    np.testing.assert_array_equal(at(3), np.round(np.clip(stages[32][1], 0, 1) * 255))  # resolutions in order
    np.testing.assert_array_equal(at(0)[::8, ::8], np.round(lr[1] * 255))
    same = figures.sample_grid(np.round(lr * 255).astype(np.uint8), stages, np.round(hr * 255).astype(np.uint8))
    np.testing.assert_array_equal(same, sheet)


def test_comparison_draws_axes_only_with_readings():
    lr, image = np.zeros((1, 4, 4, 3), np.uint8), GREY[None, :32, :32]
    images = dict.fromkeys(("bicubic", "ours", "original"), image)
    poses = dict.fromkeys(images, np.array([[30, 0, 0]], np.float32))
    count = lambda sheet: int((np.abs(sheet.astype(int) - figures.AXES[0]).sum(-1) < 40).sum())
    assert count(figures.comparison(lr, images, cell=192)) == 0
    assert count(figures.comparison(lr, images, poses, np.array([[30, np.nan, 0]], np.float32), cell=192)) > 200


def test_degraded_samples_has_a_row_per_face():
    sheet = figures.degraded_samples(np.zeros((2, 128, 128, 3), np.uint8), np.zeros((2, 3, 16, 16, 3), np.uint8))
    assert sheet.shape[1] == figures.GAP + 4 * (128 + figures.GAP)


def test_error_distribution_takes_missing_methods_and_values():
    rng = np.random.default_rng(0)
    errors = {
        "original": rng.exponential(4, (50, 3)),
        "ours": rng.exponential(6, (50, 3)),
        "bicubic": np.full((5, 3), np.nan),
    }
    errors["ours"][0] = np.nan
    picture = plots.error_distribution(errors)
    assert picture.dtype == np.uint8
    assert picture.std() > 5
    np.testing.assert_array_equal(picture, plots.error_distribution(errors))


def test_each_method_has_its_colour_and_further_systems_theirs_in_order():
    looks = plots.styles(["peer", "bicubic", "ours", "other"])
    assert looks["bicubic"]["color"] == plots.COLOURS["bicubic"]
    assert [looks[m]["color"] for m in ("peer", "other")] == list(plots.OTHERS[:2])
    assert len({look["color"] for look in looks.values()}) == 4
    assert plots.label("ours") == "Ours"
    assert plots.label("peer") == "peer"
    every = plots.styles(figures.LABELS)  # a figure of all of our methods
    assert len({look["color"] for look in every.values()}) == len(figures.LABELS)


def inked(picture, colour):
    """Number of pixels of a colour '#rrggbb'."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(picture.astype(int) - rgb).sum(-1) < 12).sum())


def test_densities_show_every_method_even_of_one_value():
    rng = np.random.default_rng(0)
    of = {"original": rng.normal(5, 1, 60), "ours": rng.normal(4, 1, 60), "peer": rng.normal(2, 1, 50)}
    one = plots.densities({"LR 16×16": of}, xlabel="norm")
    for method in of:
        assert inked(one, plots.styles(of)[method]["color"]) > 200
    assert inked(one, plots.COLOURS["bicubic"]) == 0
    two = plots.densities({"a": of, "b": {"ours": np.ones(3)}}, xlabel="norm")
    assert two.shape[1] == pytest.approx(2 * one.shape[1], abs=2)
    assert plots.densities({"b": {"ours": np.ones(3)}}, xlabel="norm").std() > 5


def test_spectra_leave_zeros_out():
    falling = 10.0 ** -np.arange(8.0)
    picture = plots.spectra({"LR": {"ours": falling, "bicubic": np.zeros(8)}}, ylabel="value")
    assert inked(picture, plots.COLOURS["ours"]) > 3 * inked(picture, plots.COLOURS["bicubic"])  # the legend alone


def test_curves_bars_and_sweeps_are_drawn():
    rng = np.random.default_rng(0)
    sizes = plots.against_size((8, 16, 32), {"cosine": rng.uniform(size=(9, 3)), "gap": rng.uniform(size=(9, 3))})
    bars = plots.bars({"gap": {"bicubic": rng.uniform(1, 2, 30), "ours": rng.uniform(0, 1, 30)}})
    # A taller bar has more ink.
    assert inked(bars, "#d2755a") != inked(bars, "#4285bf") or bars.std() > 5
    points = np.array([[10.0, 91.0, 0.5], [5.0, 90.0, 0.5]])
    sweep = plots.sweeps({"β₁": points, "β₂": np.empty((0, 3))}, baseline={"β₁": 90.5})
    for picture in (sizes, sweep):
        assert inked(picture, plots.COLOURS["ours"]) > 50


def test_a_sheet_has_a_column_for_each_name_and_cuts_long_ones_off():
    red, blue = (np.full((8, 8, 3), c, np.uint8) for c in ([200, 0, 0], [0, 0, 200]))
    sheet = figures.sheet({"a name far longer than its column is wide": [red, blue], "b": [blue, red]}, cell=64)
    assert sheet.shape[1] == figures.GAP + 2 * (64 + figures.GAP)
    at = lambda i, j: sheet[-(2 - i) * (64 + figures.GAP) + 32, figures.GAP + j * (64 + figures.GAP) + 32].tolist()
    assert [at(0, 0), at(0, 1), at(1, 0), at(1, 1)] == [[200, 0, 0], [0, 0, 200], [0, 0, 200], [200, 0, 0]]
    gap = sheet[: 12 + figures.GAP, 64 + figures.GAP : 64 + 2 * figures.GAP]
    assert (gap == 255).all()  # no name runs into the next column


def test_pose_sheet_draws_axes_where_there_is_a_pose():
    face, pose = GREY[None, :32, :32], np.array([[30, 0, 0]], np.float32)
    sheet = figures.pose_sheet({"input": (face, None), "ours": (face, pose)}, cell=96)
    red = np.abs(sheet.astype(int) - figures.AXES[0]).sum(-1) < 40
    middle = figures.GAP + 96 + figures.GAP // 2
    assert not red[:, :middle].any()
    assert red[:, middle:].sum() > 20


def test_true_components_stand_on_black_before_ours():
    blank, maps = np.full((1, 32, 32, 3), 90, np.uint8), np.zeros((1, 8, 8, 4), np.float32)
    true = maps.copy()
    true[0, 4, 4, 0] = 1
    sheet = figures.component_comparison(blank[:, :4, :4], blank, blank, maps, true, cell=64)
    assert sheet.shape[1] == figures.GAP + 5 * (64 + figures.GAP)
    cell = sheet[-64 - figures.GAP : -figures.GAP, figures.GAP + 2 * (64 + figures.GAP) :][:, :64]
    assert cell[0, 0].tolist() == [0, 0, 0]
    assert cell[36, 36, 0] > 100


def test_png_holds_the_picture():
    picture = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(figures.png(picture)))), picture)
