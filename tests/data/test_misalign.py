"""Misaligned inputs with upright targets: three ways to turn an image, and the pipelines that use them."""

from __future__ import annotations

import csv
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from ml_collections import ConfigDict
from PIL import Image

from jfsr import geometry
from jfsr.data import degrade, heatmaps, misalign, pipeline, records
from jfsr.data.crops import Cropped
from jfsr.data.datasets import head_people, head_renderer
from jfsr.evals import faces
from jfsr.tables import protocols

RANGES = misalign.Ranges(rotation_deg=30.0, shift=0.1, zoom=(0.8, 1.25), upright=True)
SIMILARITIES = np.array(
    [[25, 1.2, 9.5, -5.25], [-170, 0.7, -30, 12], [0, 1, 0, 0], [0, 1, 3, -2], [90, 1, 0, 0]], np.float32
)


def smooth(count=len(SIMILARITIES), size=64, seed=0):
    """Images in [0, 1] without fine detail, bright at the borders."""
    noise = np.random.default_rng(seed).uniform(size=(count, size, size, 3))
    out = scipy.ndimage.gaussian_filter(noise, (0, 3, 3, 0), mode="nearest")
    return ((out - out.min()) / np.ptp(out)).astype(np.float32)


def scipys(image, similarity):
    """The definition by SciPy: output (row, column) shows input centre + R(-angle) / zoom (position - centre - t)."""
    angle, zoom, dx, dy = similarity.astype(float)
    c, s = np.cos(np.radians(angle)) / zoom, np.sin(np.radians(angle)) / zoom
    way = np.array([[c, -s], [s, c]])  # acts on (row, column)
    centre = np.full(2, (len(image) - 1) / 2)
    offset = centre - way @ (centre + np.array([dy, dx]))
    turned = [
        scipy.ndimage.affine_transform(image[..., k], way, offset, order=1, mode="grid-constant") for k in range(3)
    ]
    return np.stack(turned, -1)


def test_jax_turns_as_scipy_does():
    images = smooth()
    got = np.asarray(degrade.misalign(jnp.asarray(images), jnp.asarray(SIMILARITIES)))
    for image, similarity, turned in zip(images, SIMILARITIES, got, strict=True):
        np.testing.assert_allclose(turned, scipys(image, similarity), atol=2e-4)
    np.testing.assert_array_equal(got[2], images[2])  # the identity is exact
    np.testing.assert_allclose(got[3, 10, 20], images[3, 12, 17], atol=1e-6)  # moved right by 3 and up by 2
    np.testing.assert_allclose(got[4], np.rot90(images[4], -1), atol=1e-4)  # positive is clockwise as seen


def test_tensorflow_turns_as_jax_does():
    import tensorflow as tf

    from jfsr.data import degrade_tf

    images = smooth(seed=1)
    ours = np.asarray(degrade.misalign(jnp.asarray(images), jnp.asarray(SIMILARITIES)))
    for image, similarity, turned in zip(images, SIMILARITIES, ours, strict=True):
        got = degrade_tf.misalign(tf.constant(image), tf.constant(similarity)).numpy()
        np.testing.assert_allclose(got, turned, atol=1e-4)


def test_pillow_turns_as_jax_does_but_for_rounding_and_the_outermost_half_pixel():
    images = np.round(smooth(seed=2) * 255).astype(np.uint8)
    ours = np.asarray(degrade.misalign(jnp.asarray(images, jnp.float32) / 255, jnp.asarray(SIMILARITIES))) * 255
    covered = np.asarray(degrade.misalign(jnp.ones(images.shape), jnp.asarray(SIMILARITIES)))
    for image, similarity, turned, inside in zip(images, SIMILARITIES, ours, covered, strict=True):
        got = misalign.turn(image, similarity).astype(float)
        sure = (inside > 0.999) | (inside == 0)
        assert sure.mean() > 0.9
        assert np.abs(got - turned)[sure].max() < 1.5


def move_points(points_px, similarity, *, size):
    """Where points (x, y) of the upright image of ``size`` pixels lie in the misaligned one."""
    angle, zoom, dx, dy = similarity.astype(float)
    cos, sin = zoom * np.cos(np.radians(angle)), zoom * np.sin(np.radians(angle))
    centre = (size - 1) / 2
    return (points_px - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre + np.array([dx, dy])


def test_inverse_and_points_go_with_the_image():
    points = np.random.default_rng(0).uniform(0, 63, (9, 2)).astype(np.float32)
    for similarity in SIMILARITIES:
        moved = move_points(points, similarity, size=64)
        back = move_points(moved, misalign.inverse(similarity), size=64)
        np.testing.assert_allclose(back, points, atol=1e-4)
    # A dot moves with its point.
    image = np.zeros((64, 64, 3), np.uint8)
    image[19:22, 39:42] = 255
    shown = misalign.turn(image, SIMILARITIES[0])[..., 0].astype(float)
    rows, columns = np.mgrid[:64, :64]
    centroid = [(shown * columns).sum() / shown.sum(), (shown * rows).sum() / shown.sum()]
    np.testing.assert_allclose(centroid, move_points(np.float32([[40, 20]]), SIMILARITIES[0], size=64)[0], atol=0.1)


def test_draws_fill_their_ranges_and_depend_on_seed_and_position_alone():
    drawn = np.stack([misalign.draw(RANGES, seed=1, position=i) for i in range(400)])
    low, high = drawn.min(0), drawn.max(0)
    assert np.all(low >= [-30, 0.8 - 1e-6, -12.8, -12.8])
    assert np.all(high <= [30, 1.25 + 1e-6, 12.8, 12.8])
    assert np.all(high - low > 0.95 * np.array([60, 0.45, 25.6, 25.6]))
    np.testing.assert_array_equal(misalign.draw(RANGES, seed=1, position=7), drawn[7])
    assert not np.array_equal(misalign.draw(RANGES, seed=2, position=7), drawn[7])
    np.testing.assert_array_equal(misalign.draw(misalign.Ranges(), seed=1, position=3), misalign.IDENTITY)


@pytest.mark.parametrize("bad", [{"zoom": (0.0, 1.0)}, {"zoom": (1.2, 0.8)}, {"shift": 1.0}, {"rotation_deg": -1.0}])
def test_ranges_that_no_face_survives_are_refused(bad):
    with pytest.raises(ValueError, match=r"data\.misalign has rotation_deg"):
        misalign.ranges(misalign.Ranges(**bad))


# ---- Upright faces


def head(pose_deg):
    view = head_renderer.View(pose_deg=pose_deg)
    row = head_renderer.render_head(head_people.Identity(), head_people.Expression(), view, size=128)
    known = {k: row[k] for k in ("image", "pose_deg", "landmarks_px", "visible")}
    return (
        records.new_record(row["image"], "head") | known | {"landmarks5_px": records.five_points(row["landmarks_px"])}
    )


class Faces(list):
    """Records as pictures."""

    name, skipped = "faces", []

    def name_of(self, index):
        return self[index]["name"]

    def report(self):
        return self.name


def test_upright_turns_image_landmarks_and_pose_together():
    tilted, straight = head((0.0, 0.0, 25.0)), head((0.0, 0.0, 0.0))
    got = misalign.Upright(Faces([tilted]))[0]
    eyes, mouth = got["landmarks5_px"][:2].mean(0), got["landmarks5_px"][3:].mean(0)
    assert abs(eyes[0] - mouth[0]) < 0.01
    assert eyes[1] < mouth[1]
    np.testing.assert_allclose(got["landmarks5_px"], records.five_points(got["landmarks_px"]), atol=1e-3)
    # The rotation of the pose is the image's: R(turn) R(old) = R(new), with the turn that the landmarks made.
    old, new = tilted["landmarks_px"][[0, 16]], got["landmarks_px"][[0, 16]]
    turn = [np.arctan2(*(p[1] - p[0])[::-1]) for p in (old, new)]
    c, s = np.cos(turn[1] - turn[0]), np.sin(turn[1] - turn[0])
    R = [np.asarray(geometry.rotation_from_pose(jnp.asarray(r["pose_deg"]))) for r in (tilted, got)]
    np.testing.assert_allclose(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ R[0], R[1], atol=1e-3)
    # The picture moved with its landmarks: around the nose it looks like the same head rendered without tilt.
    patches = []
    for record in (got, straight, tilted):
        x, y = np.round(record["landmarks5_px"][2]).astype(int)
        patches.append(record["image"][y - 20 : y + 20, x - 20 : x + 20].astype(float))
    apart = [np.abs(p - patches[1]).mean() for p in patches]
    assert apart[0] < 0.65 * apart[2]


def profile_of(record, *, hidden):
    """The record as Menpo labels a profile: the landmarks of one side are unknown, and so are the 5 points."""
    points = record["landmarks_px"].copy()
    points[np.isin(np.arange(68), heatmaps.LEFT if hidden == "left" else geometry.FLIP_68[list(heatmaps.LEFT)])] = (
        np.nan
    )
    return record | records.landmark_labels(points)


@pytest.mark.parametrize(("yaw", "hidden"), [(80.0, "left"), (-80.0, "right")])
def test_a_profile_is_turned_upright_by_the_side_that_it_shows(yaw, hidden):
    """39 points, of one eye and one corner of the mouth: before, such a face kept its tilt."""
    straight = profile_of(head((yaw, 0.0, 0.0)), hidden=hidden)
    assert np.isnan(straight["landmarks5_px"]).any()
    tilted = misalign.rotated(straight, 30.0, np.array([63.5, 63.5], np.float32))
    got = misalign.Upright(Faces([tilted]))[0]
    eye, corner = (slice(42, 48), 54) if hidden == "left" else (slice(36, 42), 48)
    eye, corner = got["landmarks_px"][eye].mean(0), got["landmarks_px"][corner]
    assert abs(eye[0] - corner[0]) < 0.01
    assert eye[1] < corner[1]
    # The rest of the tilt is that of the line on a head without any: the two sides of a face differ by a few degrees.
    nose = got["landmarks_px"][[27, 30]]
    want = straight["landmarks_px"][[27, 30]]
    lean = [np.degrees(np.arctan2(*(p[1] - p[0]))) for p in (nose, want)]
    assert abs(lean[0] - lean[1]) < 5.0


def test_a_face_that_does_not_say_how_it_is_tilted_is_left_out_and_counted(folder, caplog):
    record = records.new_record(np.full((8, 8, 3), 7, np.uint8), "bare")
    one_eye = record | {"landmarks_px": np.full((68, 2), np.nan, np.float32)}
    one_eye["landmarks_px"][36:42] = 3.0  # and no corner of the mouth
    for bad in (record, one_eye):
        with pytest.raises(
            records.BadRecord, match="bare has neither two eyes and mouth corners nor those of one side"
        ):
            misalign.Upright(Faces([bad]))[0]
    source = pipeline.open_source(section(folder), upright=True)
    mixed = Cropped(misalign.Upright(Faces([record, source.source.source[0]])), rule="none", size=128)
    with caplog.at_level("WARNING"):
        (batch,) = pipeline.eval_batches(mixed, scale=8, batch=2)
    assert batch["mask"].sum() == 1
    mixture = pipeline.Mixture({"only": mixed}, {"only": 1.0}, seed=0, shuffle=False, flip=0.0, jitter=0.0)
    assert mixture.record(0)["name"] == mixture.record(1)["name"] == source[0]["name"]
    assert len(mixture.lost) == 1


# ---- Pipelines


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four smooth pictures whose landmarks lie on a line tilted by 45 degrees."""
    root = tmp_path_factory.mktemp("faces")
    rows = [["file", *(f"{a}{i}" for i in range(68) for a in "xy")]]
    for i, image in enumerate(smooth(4, 128, seed=3)):
        Image.fromarray(np.round(image * 255).astype(np.uint8)).save(root / f"{i}.png")
        rows.append([f"{i}.png", *np.stack([np.linspace(30, 90, 68)] * 2, -1).ravel()])
    with (root / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return root


def section(folder):
    return ConfigDict(
        {"dataset": "folder", "dir": str(folder), "split": "", "crop": "none", "margin": 1.0, "weight": 1.0}
    )


def config(folder, *, misaligned=True, upright=False, on="host", degradation="bicubic"):
    c = ConfigDict({"flip": 0.5, "jitter": 0.0, "shuffle": True, "degradation": degradation, "degrade_on": on})
    c.sources = ConfigDict({"only": section(folder)})
    if misaligned:
        c.misalign = ConfigDict({"rotation_deg": 30.0, "shift": 0.1, "zoom": (0.8, 1.25), "upright": upright})
    return c


def first(data, **options):
    return next(pipeline.train_batches(data, scale=8, batch=4, seed=3, **options))


def test_training_turns_the_input_and_neither_target_nor_labels(folder):
    got, plain = first(config(folder)), first(config(folder, misaligned=False))
    assert set(got) - set(plain) == {"similarity"}
    for key in set(plain) - {"lr"}:
        np.testing.assert_array_equal(got[key], plain[key], err_msg=key)
    turned = degrade.misalign(jnp.asarray(got["hr"]), jnp.asarray(got["similarity"]))
    np.testing.assert_allclose(got["lr"], degrade.clean_lr(turned, scale=8), atol=1e-4)
    assert np.abs(got["lr"] - plain["lr"]).max() > 0.2


def test_the_device_is_given_the_similarity_that_the_host_uses(folder):
    on_host, on_device = first(config(folder)), first(config(folder, on="device"))
    assert "lr" not in on_device
    np.testing.assert_array_equal(on_device["similarity"], on_host["similarity"])


@pytest.mark.parametrize("degradation", ["bicubic", "paper"])
def test_a_slice_of_a_resumed_run_sees_the_same_misalignment(folder, degradation):
    data = config(folder, upright=True, degradation=degradation)
    straight = list(itertools.islice(pipeline.train_batches(data, scale=8, batch=4, seed=3), 3))
    assert np.ptp(np.concatenate([b["similarity"] for b in straight])[:, 0]) > 20
    slice_of_resumed = first(data, start=8, share=(2, 2))
    for key, value in slice_of_resumed.items():
        np.testing.assert_array_equal(value, straight[2][key][2:], err_msg=key)


def test_evaluation_turns_a_face_by_its_name_and_the_baseline_back(folder):
    source = pipeline.open_source(section(folder))
    (batch,) = pipeline.eval_batches(source, scale=8, batch=4, ranges=RANGES)
    (again,) = pipeline.eval_batches(faces.Pick(source, [2, 0]), scale=8, batch=2, ranges=RANGES)
    np.testing.assert_array_equal(again["similarity"], batch["similarity"][[2, 0]])
    np.testing.assert_array_equal(again["lr"], batch["lr"][[2, 0]])
    assert len(np.unique(batch["similarity"])) == 16
    (plain,) = pipeline.eval_batches(source, scale=8, batch=4)
    np.testing.assert_array_equal(batch["hr"], plain["hr"])
    np.testing.assert_array_equal(batch["landmarks_px"], plain["landmarks_px"])
    # Near the centre, which stays in the picture, the baseline looks like the original again.
    (compared,) = faces.compare(lambda lr: np.zeros((4, 128, 128, 3), np.float32), [batch])
    centre = np.s_[:, 52:76, 52:76]
    turned = faces.enlarge(compared.lr, size=128)[centre].astype(float)
    back, original = (compared.images[m][centre].astype(float) for m in ("bicubic", "original"))
    assert np.abs(back - original).mean() < 0.5 * np.abs(turned - original).mean()


def test_an_upright_source_is_opened_upright(folder):
    tilted = pipeline.open_source(section(folder))[0]["landmarks5_px"]
    straight = pipeline.open_source(section(folder), upright=True)[0]["landmarks5_px"]
    lean = lambda p: abs(p[:2].mean(0)[0] - p[3:].mean(0)[0])
    assert lean(tilted) > 5
    assert lean(straight) < 0.01


def test_a_table_says_how_its_input_is_misaligned():
    table = protocols.choose("synthetic-misaligned", {"scale": 8})
    assert "upright · input turned by ±30°, moved by ±0.1 sides, enlarged by 0.8 to 1.2" in table.text()
    other = protocols.choose("synthetic-misaligned", {"misalign": RANGES, "scale": 8})
    assert other.digest() != table.digest()
    assert "turned" not in protocols.choose("synthetic", {"scale": 8}).text()
