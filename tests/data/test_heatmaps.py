"""Heatmaps against loops over pixels, and their mirror against a mirrored face."""

import jax.numpy as jnp
import numpy as np
import pytest

from jfsr.data import heatmaps, records
from jfsr.data.datasets import head_people, head_renderer
from jfsr.geometry import FLIP_68

RNG = np.random.default_rng(4)


def labels(count=2, image_size=128):
    """Landmarks all over the image, a few outside, unknown or hidden."""
    points = RNG.uniform(5, image_size - 5, (count, 68, 2)).astype(np.float32)
    visible = RNG.uniform(size=(count, 68)) < 0.8
    visible[:, :4] = True
    points[:, 0], points[:, 1] = np.nan, [-0.6, 30.0]
    points[:, 2], points[:, 3] = [40.0, image_size - 0.4], [image_size - 0.5, -0.5]  # out; on the very corner
    return points, visible


def slow(points, visible, size, image_size, sigma, floor=0.0):
    """The definition, one cell at a time."""
    maps = np.zeros((len(points), size, size, points.shape[1]))
    for b, row, column, n in np.ndindex(*maps.shape):
        x, y = points[b, n]
        within = -0.5 <= x <= image_size - 0.5 and -0.5 <= y <= image_size - 0.5
        if visible[b, n] and within:
            # The landmark in pixels of the map, the distance back in pixels of the image.
            dx, dy = (column - ((x + 0.5) * size / image_size - 0.5), row - ((y + 0.5) * size / image_size - 0.5))
            value = np.exp(-(dx**2 + dy**2) * (image_size / size) ** 2 / (2 * sigma**2))
            maps[b, row, column, n] = value if value >= floor else 0.0
    return maps


@pytest.mark.parametrize(("size", "image_size", "sigma", "floor"), [(16, 128, 4.0, 0.01), (8, 32, 1.5, 0.0)])
def test_landmark_maps_are_the_definition_cell_by_cell(size, image_size, sigma, floor):
    points, visible = labels(image_size=image_size)
    got = heatmaps.landmark_heatmaps(
        jnp.asarray(points), jnp.asarray(visible), size=size, image_size=image_size, sigma_px=sigma, floor=floor
    )
    want = slow(points, visible, size, image_size, sigma, floor)
    np.testing.assert_allclose(got, want, atol=2e-6)
    assert not np.any(got[..., :3])  # unknown, left of the image, below it
    assert np.all(got[..., 3].max((1, 2)) > 0)  # in the corner


def test_the_peak_is_one_at_a_landmark_on_a_cell():
    # Map cell (2, 5) of 16 is centred at image pixel ((5 + .5) * 8 - .5, (2 + .5) * 8 - .5).
    points = np.full((1, 68, 2), np.nan, np.float32)
    points[0, 7] = [43.5, 19.5]
    maps = heatmaps.landmark_heatmaps(jnp.asarray(points), jnp.ones((1, 68), bool), size=16, sigma_px=4.0)
    assert maps[0, 2, 5, 7] == 1.0
    assert maps[0, 2, 6, 7] == pytest.approx(np.exp(-0.5 * (8 / 4) ** 2), abs=1e-6)  # one cell is 8 pixels


def test_component_maps_are_the_largest_gaussian_of_their_visible_points():
    points, visible = labels()
    visible[1, 48:] = False  # a hidden mouth
    got = heatmaps.component_heatmaps(jnp.asarray(points), jnp.asarray(visible), size=16, sigma_px=3.0)
    single = slow(points, visible, 16, 128, 3.0)
    want = np.stack([single[..., a:b].max(-1) for a, b in ((36, 48), (27, 36), (48, 68), (0, 17))], -1)
    np.testing.assert_allclose(got, want, atol=2e-6)
    assert not np.any(got[1, ..., 2])
    assert np.any(got[0, ..., 2])


def test_background_is_one_minus_the_maximum():
    maps = RNG.uniform(size=(2, 4, 4, 68)).astype(np.float32)
    got = np.asarray(heatmaps.with_background(jnp.asarray(maps)))
    np.testing.assert_array_equal(got[..., :68], maps)
    np.testing.assert_allclose(got[..., 68], 1 - maps.max(-1), atol=1e-7)


@pytest.fixture(scope="module")
def head():
    """A head that looks far to the viewer's left."""
    person, view = head_people.Identity(), head_renderer.View(pose_deg=(60.0, 0.0, 10.0))
    row = head_renderer.render_head(person, head_people.Expression(), view, size=128)
    known = {k: row[k] for k in ("image", "pose_deg", "landmarks_px", "visible")}
    return (
        records.new_record(row["image"], "head") | known | {"landmarks5_px": records.five_points(row["landmarks_px"])}
    )


def drawn(record, size=32):
    image_size = record["image"].shape[0]
    return np.asarray(
        heatmaps.landmark_heatmaps(
            jnp.asarray(record["landmarks_px"])[None],
            jnp.asarray(record["visible"])[None],
            size=size,
            image_size=image_size,
            sigma_px=image_size / 32,
        )
    )[0]


def test_the_flip_permutation_is_an_involution_and_fits_a_rendered_head(head):
    np.testing.assert_array_equal(FLIP_68[FLIP_68], np.arange(68))
    maps = drawn(head)
    np.testing.assert_array_equal(maps[:, ::-1][:, ::-1][..., FLIP_68][..., FLIP_68], maps)
    # The maps of the mirrored face are the mirrored maps with their sides swapped.
    np.testing.assert_allclose(drawn(records.mirror(head)), maps[:, ::-1][..., FLIP_68], atol=1e-5)
    # And they are not without the swap, so the head can tell.
    assert np.abs(drawn(records.mirror(head)) - maps[:, ::-1]).max() > 0.5


def test_a_far_turned_face_hides_its_far_half_when_labels_do_not_say():
    visible = jnp.ones((5, 68), bool).at[4, 60].set(False)
    pose = jnp.array([[50.0, 0, 0], [-50.0, 0, 0], [44.0, 0, 0], [np.nan] * 3, [50.0, 0, 0]])
    got = np.asarray(heatmaps.self_occluded(visible, pose))
    assert not got[0, [0, 36, 48, 17]].any()  # the viewer's left: it looks there
    assert got[0, [16, 45, 54, 26, 30, 8]].all()
    np.testing.assert_array_equal(got[1], got[0][FLIP_68])
    np.testing.assert_array_equal(got[2:], visible[2:])  # under the limit; unknown; labelled


def test_the_rule_hides_the_side_that_the_renderer_hides(head):
    pose = jnp.asarray(head["pose_deg"])[None]
    by_rule = np.asarray(heatmaps.self_occluded(jnp.ones((1, 68), bool), pose))[0]
    hidden = ~head["visible"]
    assert hidden.sum() > 10
    assert np.mean(~by_rule[hidden]) > 0.8
