"""The embedded data set: pictures agree with their labels, labels with the sign convention, files with both."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest

from jfsr import geometry
from jfsr.data import records
from jfsr.data.datasets import head_model, head_renderer, synthetic_heads
from jfsr.data.datasets.head_people import Expression, Identity, sample_identity
from jfsr.data.datasets.head_renderer import View, render, render_head

BALD = Identity(hair=False)
CALM = Expression()
# A light from the camera and no sensor noise: colours in the picture are the painted ones.
PLAIN = View(light=(0.0, 0.0, 1.0), key=0.5, ambient=0.8)
LEFT_EYE, RIGHT_EYE, MOUTH = slice(36, 42), slice(42, 48), slice(48, 68)


def turned(yaw=0.0, pitch=0.0, roll=0.0, **changes):
    return dataclasses.replace(PLAIN, pose_deg=(yaw, pitch, roll), **changes)


def test_the_size_is_the_hr_faces():
    assert head_renderer.SIZE == geometry.HR_SIZE


def test_rotation_is_geometrys():
    for pose in np.random.default_rng(0).uniform(-90, 90, (20, 3)):
        want = geometry.rotation_from_pose(jnp.asarray(pose, jnp.float32))
        np.testing.assert_allclose(head_renderer.rotation(tuple(pose)), want, atol=1e-6)


def test_picture_is_a_function_of_split_and_index():
    first = render(70)
    render(3, split="test")
    again, other = render(70), render(70, split="test")
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key])
    assert (first["image"] != other["image"]).mean() > 0.5
    with pytest.raises(ValueError, match=r"'Train'.*train, validation, test"):
        render(0, split="Train")
    with pytest.raises(ValueError, match="even sizes, not 33"):
        render(0, size=33)


def test_people():
    """Eight pictures a person, the first eight of different people, and no person in two splits."""
    people = np.array([head_renderer.identity_of(i) for i in range(4000)])
    np.testing.assert_array_equal(np.bincount(people[:128]), np.full(16, 8))
    assert len(set(people[:8])) == 8
    assert people.max() + 1 == len(set(people)) == 504
    first = sorted(head_renderer.SPLITS.values())
    assert np.diff(first).min() > 100_000
    # The same person has the same face, another split's first person another one.
    same = [render(i, size=16)["identity"] for i in (0, 8)]
    assert same[0] == same[1] != render(0, split="test", size=16)["identity"]
    people = [sample_identity(np.random.default_rng([0, start, 0])) for start in first]
    assert len({p.skin_rgb for p in people}) == 3


@pytest.mark.parametrize("index", [0, 5, 9])
def test_landmarks_are_the_projected_points(index):
    """Up to the crop's scale and shift, they are the model's points turned by the labelled pose."""
    record = render(index, size=64)
    rng = np.random.default_rng([1, 0, index])
    identity = sample_identity(np.random.default_rng([0, 0, head_renderer.identity_of(index)]))
    points = head_model.Head(identity, head_renderer.head_people.sample_expression(rng)).landmarks()
    flat = points @ np.asarray(geometry.rotation_from_pose(jnp.asarray(record["pose_deg"])), np.float64).T[:, :2]
    a, b = flat - flat.mean(0), record["landmarks_px"] - record["landmarks_px"].mean(0)
    scale = (a * b).sum() / (a * a).sum()
    assert scale > 0
    np.testing.assert_allclose(scale * a, b, atol=2e-3)


@pytest.mark.parametrize("pose", [(0, 0, 0), (30, 0, 0), (-25, 15, -20), (0, -20, 25)])
@pytest.mark.parametrize(("feature", "rows"), [("lip_rgb", slice(48, 60)), ("brow_rgb", slice(17, 27))])
def test_landmarks_lie_on_what_is_painted(feature, rows, pose):
    """Lips and brows painted pure blue on a grey head fill the box of their landmarks."""
    paint = {"skin_rgb": (0.4, 0.4, 0.4), "brow_rgb": (0.05,) * 3, "lip_rgb": (0.4,) * 3} | {feature: (0.0, 0.0, 1.0)}
    identity = dataclasses.replace(BALD, **paint)
    record = render_head(identity, CALM, turned(*map(float, pose)), size=256)
    image = record["image"].astype(int)
    marks = record["landmarks_px"]
    y, x = np.nonzero(image[..., 2] - image[..., :2].max(-1) > 60)
    face = (abs(x - marks[:, 0].mean()) < 100) & (abs(y - marks[:, 1].mean()) < 100)  # not the background
    near = face & (np.hypot(x[:, None] - marks[rows, 0], y[:, None] - marks[rows, 1]).min(1) < 30)
    assert near.sum() > 150
    painted = np.array([x[near].min(), x[near].max(), y[near].min(), y[near].max()])
    m = marks[rows]
    # Brows are painted around their centre line, lips within their outline.
    slack = 9 if feature == "brow_rgb" else 5
    np.testing.assert_allclose(
        painted, [m[:, 0].min(), m[:, 0].max(), m[:, 1].min(), m[:, 1].max()], atol=slack, err_msg=f"{feature} {pose}"
    )


def test_the_signs_of_yaw_and_pitch():
    """Yaw > 0 turns the nose to the viewer's left, pitch > 0 lifts it: read off the landmarks and off the picture."""
    poses = {"left": (40.0, 0.0, 0.0), "right": (-40.0, 0.0, 0.0), "up": (0.0, 40.0, 0.0), "down": (0.0, -40.0, 0.0)}
    person = Identity(hair_side=-0.05, hair_volume=0.08)
    heads = {name: render_head(person, CALM, View(pose_deg=pose)) for name, pose in poses.items()}
    assert {name: tuple(head["pose_deg"]) for name, head in heads.items()} == poses

    def nose(record):  # nose tip from the middle of the four eye and mouth corners, in widths of the landmark box
        p = record["landmarks_px"]
        return (p[30] - p[[36, 45, 48, 54]].mean(0)) / np.ptp(p, axis=0).max()

    assert nose(heads["left"])[0] < -0.1
    assert nose(heads["right"])[0] > 0.1
    assert nose(heads["up"])[1] < nose(heads["down"])[1] - 0.1
    # In the picture: the far cheek is narrower, so more skin lies on the side that the face is turned from.
    for name, sign in (("left", 1), ("right", -1)):
        image, p = heads[name]["image"].astype(int), heads[name]["landmarks_px"]
        row = image[int(p[33, 1]) + 2]
        skin = np.flatnonzero(row[:, 0] - row[:, 2] > 25)
        assert sign * ((skin.max() - p[33, 0]) - (p[33, 0] - skin.min())) > 15


def test_roll_is_clockwise():
    p = render_head(BALD, CALM, turned(roll=25.0))["landmarks_px"]
    across = p[RIGHT_EYE].mean(0) - p[LEFT_EYE].mean(0)
    np.testing.assert_allclose(np.rad2deg(np.arctan2(across[1], across[0])), 25, atol=0.1)


def test_mirrored_view_is_the_mirrored_record():
    a = render_head(BALD, CALM, turned(35.0, 10.0, -15.0, light=(0.4, -0.3, 0.8)))
    b = render_head(BALD, CALM, turned(-35.0, 10.0, 15.0, light=(-0.4, -0.3, 0.8)))
    want = records.mirror(records.new_record(a["image"], "") | a)
    np.testing.assert_allclose(b["landmarks_px"], want["landmarks_px"], atol=1e-3)
    np.testing.assert_array_equal(b["pose_deg"], want["pose_deg"])
    assert (b["visible"] != want["visible"]).sum() <= 2  # a point on the outline may fall either way
    x0, y0 = want["landmarks_px"][17:].min(0).astype(int)
    x1, y1 = want["landmarks_px"][17:].max(0).astype(int)
    off = np.abs(b["image"][y0:y1, x0:x1].astype(int) - want["image"][y0:y1, x0:x1])
    assert off.mean() < 6  # grain of the skin and glints differ
    assert np.abs(b["image"][y0:y1, x0:x1].astype(int) - a["image"][y0:y1, x0:x1]).mean() > 12


def test_visibility():
    assert render_head(BALD, CALM, PLAIN)["visible"].all()
    # Turned to the viewer's left, the side that was on the viewer's right is seen.
    left = render_head(BALD, CALM, turned(80.0))["visible"]
    assert left[RIGHT_EYE].all()
    assert not left[36:40].any()
    assert left[9:17].all()
    assert not left[0:6].any()
    np.testing.assert_array_equal(render_head(BALD, CALM, turned(-80.0))["visible"][geometry.FLIP_68], left)
    # Long hair hides the upper jaw line, not the face; a crop that cuts the chin hides the chin.
    long_hair = Identity(hair_side=2.0, hair_back=2.3, hair_volume=0.15, hair_side_volume=0.15)
    seen = render_head(long_hair, CALM, PLAIN)["visible"]
    assert not seen[[0, 1, 15, 16]].any()
    assert seen[17:].all()
    assert seen[8]
    assert not render_head(BALD, CALM, turned(shift=(0.0, -0.4)))["visible"][8]


def test_expression_moves_its_landmarks():
    def marks(**changes):
        return render_head(BALD, Expression(**changes), PLAIN, size=256)["landmarks_px"]

    calm = marks()
    calm = calm - calm[27]
    opened, smile, raised, shut = (
        m - m[27] for m in (marks(jaw_open=0.8), marks(smile=1.0), marks(brow_raise=1.0), marks(lids=0.0))
    )
    assert opened[66, 1] - opened[62, 1] > 10 > abs(calm[66, 1] - calm[62, 1])
    assert smile[54, 0] - smile[48, 0] > 1.1 * (calm[54, 0] - calm[48, 0])
    assert (raised[17:27, 1] < calm[17:27, 1]).all()
    np.testing.assert_allclose(shut[[37, 38], 1], shut[[41, 40], 1], atol=0.5)


def test_poses_are_spread_like_300w_lp():
    poses = np.array([head_renderer.sample_view(np.random.default_rng(i)).pose_deg for i in range(600)])
    assert geometry.pose_in_range(poses).all()
    assert np.abs(poses[:, 0]).max() > 85
    assert 30 < poses[:, 0].std() < 50
    assert 10 < poses[:, 1].std() < 20
    assert 10 < poses[:, 2].std() < 20


def test_pictures_are_lit_and_differ():
    faces = [render(i, size=64)["image"].astype(float) for i in range(24)]
    assert all(40 < f.mean() < 215 and f.std() > 20 for f in faces)
    apart = [np.abs(a - b).mean() for k, a in enumerate(faces) for b in faces[:k]]
    assert min(apart) > 10
    cheeks = []
    for tone in ((0.75, 0.5, 0.4), (0.1, 0.05, 0.03)):
        r = render_head(dataclasses.replace(BALD, skin_rgb=tone), CALM, PLAIN)
        x, y = (0.5 * (r["landmarks_px"][2] + r["landmarks_px"][31])).astype(int)
        cheeks.append(r["image"][y - 3 : y + 4, x - 3 : x + 4].mean((0, 1)))
    assert (cheeks[0] > cheeks[1] + 60).all()
    assert all(c[0] > c[1] > c[2] for c in cheeks)


def test_rasteriser_against_brute_force():
    rng = np.random.default_rng(3)
    size, tris = 24, np.arange(30).reshape(10, 3).astype(np.int32)
    cam = np.concatenate([rng.uniform(-6, size + 6, (30, 2)), rng.uniform(-1, 1, (30, 1))], 1).astype(np.float32)
    for a, b, c in tris:  # all face the viewer
        if np.linalg.det(cam[[b, c], :2] - cam[a, :2]) > 0:
            cam[[b, c]] = cam[[c, b]]
    attributes = rng.uniform(size=(2, 30)).astype(np.float32)
    want = np.full((size, size, 3), -np.inf)
    for t in tris:
        inv = np.linalg.inv(np.concatenate([cam[t, :2].T, np.ones((1, 3))]).astype(np.float64))
        for y, x in np.ndindex(size, size):
            w = inv @ [x, y, 1]
            if w.min() >= 0 and w @ cam[t, 2] > want[y, x, 0]:
                want[y, x] = w @ cam[t, 2], *(attributes[:, t] @ w)
    where, depth, values = head_renderer._rasterise(cam, attributes, tris, size)
    np.testing.assert_array_equal(where, np.flatnonzero(np.isfinite(want[..., 0])))
    got = np.concatenate([depth[None], values]).T
    np.testing.assert_allclose(got, want.reshape(-1, 3)[where], atol=1e-3)
    away = tris[:, ::-1].copy()
    assert head_renderer._rasterise(cam, attributes, away, size)[0].size == 0


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The tiny set, built and read by a process that then tells what it imported."""
    folder = tmp_path_factory.mktemp("tfds")
    code = f"""
import sys
from jfsr.data.datasets import head_renderer
print([m for m in ('jax', 'tensorflow', 'tensorflow_datasets') if m in sys.modules])
from jfsr.data.datasets.synthetic_heads import SyntheticHeads
source = SyntheticHeads({str(folder)!r}, split='tiny/train')
source[len(source) - 1]
print([m for m in ('tensorflow', 'cv2') if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_build_and_read_without_tensorflow(prepared):
    folder, done = prepared
    lines = done.stdout.splitlines()
    assert lines[0] == "[]"
    assert lines[-1] == "[]"
    assert f"rendering 64 synthetic heads into {folder}" in done.stderr


def test_source_gives_the_rendered_records(prepared):
    source = synthetic_heads.SyntheticHeads(str(prepared[0]), split="tiny/test")
    assert isinstance(source, records.Pictures)
    assert len(source) == 16
    assert source.name == "synthetic_heads tiny/test"
    assert (source.name_of(7), source.report()) == ("test-00007", "synthetic_heads tiny/test, 16 heads")
    for i in (0, 7, 15):
        record, want = source[i], render(i, split="test")
        assert record.keys() == records.new_record(record["image"], "").keys()
        for key, value in want.items():
            np.testing.assert_array_equal(record[key], value, err_msg=key)
            assert np.asarray(record[key]).dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(record["landmarks5_px"][2:], want["landmarks_px"][[30, 48, 54]])
    with pytest.raises(ValueError, match=r"no split 'tiny/tset'.*tiny/test"):
        synthetic_heads.SyntheticHeads(str(prepared[0]), split="tiny/tset")


def test_interrupted_build_leaves_nothing_to_read(tmp_path, monkeypatch):
    def fail(split, count, workers):
        yield head_renderer.render(0, split=split)
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic_heads, "_render_all", fail)
    with pytest.raises(KeyboardInterrupt):
        synthetic_heads.build(str(tmp_path), size="tiny")
    assert not list(tmp_path.glob("synthetic_heads/tiny/[0-9]*"))


def test_a_killed_build_leaves_no_processes():
    """Each of two rendering processes keeps the other's queue open: they waited for ever for their next heads."""
    code = """
import multiprocessing
from jfsr.data.datasets import synthetic_heads
rows = synthetic_heads._render_all("train", 4000, 2)
next(rows)
print(*[p.pid for p in multiprocessing.active_children()], flush=True)
for row in rows:
    pass
"""
    build = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        workers = [int(pid) for pid in build.stdout.readline().split()]
        assert len(workers) == 2
    finally:
        build.kill()
        build.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while any(map(runs, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def runs(pid):
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as stat:  # where nobody collects orphans, they stay as zombies
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_killed_build_has_left_is_removed_when_it_is_old(tmp_path):
    old, new = (tmp_path / f"incomplete.{name}_1.1.0" for name in ("old", "new"))
    for draft in (old, new):
        draft.mkdir()
        (draft / "shard").write_bytes(b"1")
    complete = tmp_path / "1.1.0"
    complete.mkdir()
    for path in (old / "shard", old, complete):
        os.utime(path, (0, time.time() - 2 * synthetic_heads.ABANDONED_S))
    synthetic_heads._remove_interrupted(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.1.0", "incomplete.new_1.1.0"]


def test_processes_render_the_same():
    rows = list(synthetic_heads._render_all("validation", 66, 2))
    assert [r["name"] for r in rows] == [f"validation-{i:05d}" for i in range(66)]
    np.testing.assert_array_equal(rows[65]["image"], render(65, split="validation")["image"])


def test_heads_are_not_rendered_into_a_folder_of_faces(tmp_path):
    (tmp_path / "me.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"holds pictures \(me.jpg\).*dataset='folder'"):
        synthetic_heads.SyntheticHeads(str(tmp_path), split="tiny/test")
    assert [f.name for f in tmp_path.iterdir()] == ["me.jpg"]
