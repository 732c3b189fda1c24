"""Batches: the face at each position, labels that follow the picture, no dependence on interruptions or processes."""

import csv
import itertools
import subprocess
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from jfsr import geometry, methods
from jfsr.data import mixture, operators, pipeline

COUNTS = {"many": 7, "few": 3}


def points_of(index):
    """68 whole-pixel landmarks, all apart from each other."""
    cells = np.random.default_rng(index).choice(30 * 30, 68, replace=False)
    return np.stack([cells % 30 * 4 + 5, cells // 30 * 4 + 5], -1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders; grey 10 (index + 1) says which face it is, a white dot is landmark 0, a red one landmark 16."""
    root = tmp_path_factory.mktemp("faces")
    for name, count in COUNTS.items():
        (root / name).mkdir()
        header = ["file", "yaw_deg", "pitch_deg", "roll_deg", "identity", *(f"{a}{i}" for i in range(68) for a in "xy")]
        rows = [header]
        for index in range(count):
            image = np.full((128, 128, 3), 10 * (index + 1), np.uint8)
            points = points_of(index)
            image[points[0, 1], points[0, 0]] = 255
            image[points[16, 1], points[16, 0]] = 255, 0, 0
            Image.fromarray(image).save(root / name / f"{index}.png")
            cells = points.ravel().tolist()
            cells[10:12] = "", ""  # point 5 is unknown
            if index < count - 1:  # the last face has no labels
                rows.append([f"{index}.png", index + 1, 2, index - 20, f"person {index // 2}", *cells])
        with (root / name / "labels.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)
    return root


def section(dir, *, weight=1.0, crop="none", dataset="folder"):
    return {"dataset": dataset, "dir": str(dir), "split": "", "crop": crop, "margin": 1.0, "weight": weight}


@pytest.fixture
def data(folders):
    c = ConfigDict({"flip": 0.5, "jitter": 0.0, "shuffle": True, "degradation": "bicubic", "degrade_on": "host"})
    c.sources = ConfigDict({"many": section(folders / "many")})
    return c


def take(count, data, **options):
    options = {"scale": 8, "batch": 4, "seed": 3} | options
    return list(itertools.islice(pipeline.train_batches(data, **options), count))


def which(batch):
    """Index of the face from its grey level."""
    return np.round(batch["hr"][:, 0, 0, 0] * 25.5 - 1).astype(int)


def assert_same(got, wanted):
    assert got.keys() == wanted.keys()
    for key in got:
        np.testing.assert_array_equal(got[key], wanted[key], err_msg=key)


# ---- Training


def test_a_batch_is_what_the_docstring_says(data):
    (batch,) = take(1, data)
    shapes = {
        "hr": ((4, 128, 128, 3), np.float32),
        "lr": ((4, 16, 16, 3), np.float32),
        "pose_deg": ((4, 3), np.float32),
        "identity": ((4,), np.int32),
        "landmarks_px": ((4, 68, 2), np.float32),
        "visible": ((4, 68), np.bool_),
        "position": ((4,), np.int32),
    }
    assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {k: (s, np.dtype(d)) for k, (s, d) in shapes.items()}
    assert batch["hr"].max() == 1.0
    np.testing.assert_allclose(batch["lr"][:, 0, 0, 0], batch["hr"][:, 0, 0, 0], atol=0.1)


@pytest.mark.parametrize("degradation", ["paper", "bicubic"])
def test_a_run_that_resumes_sees_what_the_straight_run_saw(data, degradation):
    data.degradation, data.jitter = degradation, 0.05
    data.sources.few = section(pipeline_dir(data, "few"), weight=0.5)
    straight, resumed = take(8, data), take(3, data, start=20)
    for got, wanted in zip(resumed, straight[5:], strict=True):
        assert_same(got, wanted)
    assert [b["position"].tolist() for b in straight[:2]] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_another_seed_gives_other_faces(data):
    assert not np.array_equal(take(1, data, seed=3)[0]["hr"], take(1, data, seed=4)[0]["hr"])


def pipeline_dir(data, name):
    return data.sources.many.dir[: -len("many")] + name


def test_the_slices_of_processes_make_up_the_batch_of_one(data):
    data.jitter, data.degradation = 0.05, "paper"
    complete = take(3, data, start=8)
    # Of one process with one device, and one with three.
    slices = [take(3, data, start=8, share=share) for share in ((0, 1), (1, 3))]
    for batch, first, second in zip(complete, *slices, strict=True):
        assert_same({k: np.concatenate([first[k], second[k]]) for k in first}, batch)


def test_every_face_appears_once_an_epoch_in_an_order_of_its_own(data):
    seen = np.concatenate([which(b) for b in take(7, data)])
    epochs = seen.reshape(4, 7)
    np.testing.assert_array_equal(np.sort(epochs, 1), np.tile(np.arange(7), (4, 1)))
    assert len(np.unique(epochs, axis=0)) > 1
    data.shuffle = False
    np.testing.assert_array_equal(np.concatenate([which(b) for b in take(7, data)]), np.tile(np.arange(7), 4))


def test_sources_are_mixed_by_weight_and_share_no_identity(data):
    data.flip = 0.0
    data.sources.few = section(pipeline_dir(data, "few"), weight=0.5)
    batches = take(1, data, batch=2 * mixture.BLOCK)
    identity = batches[0]["identity"]
    of_many = identity >= mixture.IDENTITIES  # sources are numbered in the order of their names
    of_few = (identity >= 0) & ~of_many
    counts = np.bincount(which(batches[0]), minlength=7)
    # 160 positions show seven faces, 80 show three; faces 0 to 2 are in both sources.
    assert counts[3:].sum() == pytest.approx(160 * 4 / 7, abs=4)
    assert counts[:3].sum() == pytest.approx(160 * 3 / 7 + 80, abs=4)
    np.testing.assert_array_equal(identity[of_many] - mixture.IDENTITIES, which(batches[0])[of_many] // 2)
    np.testing.assert_array_equal(identity[of_few], which(batches[0])[of_few] // 2)
    assert of_many.sum() == pytest.approx(160 * 6 / 7, abs=2)
    assert of_few.sum() == pytest.approx(80 * 2 / 3, abs=2)


def test_a_flip_takes_the_labels_along(data):
    flipped = 0
    for batch in take(10, data):
        for n, index in enumerate(which(batch)):
            if index == COUNTS["many"] - 1:
                continue
            points, pose = batch["landmarks_px"][n], batch["pose_deg"][n]
            mirrored = pose[0] < 0
            flipped += mirrored
            # The white dot of landmark 0 lies on the other side of the face after a flip: it is point 16 then.
            white, red = (16, 0) if mirrored else (0, 16)
            for point, colour in ((white, (1, 1, 1)), (red, (1, 0, 0))):
                x, y = points[point].astype(int)
                np.testing.assert_array_equal(batch["hr"][n, y, x], colour)
            sign = -1 if mirrored else 1
            np.testing.assert_array_equal(pose, [sign * (index + 1), 2, sign * (index - 20)])
            hidden = 11 if mirrored else 5
            np.testing.assert_array_equal(batch["visible"][n], np.arange(68) != hidden)
            assert np.isnan(points[hidden]).all()
            original = points_of(index).astype(np.float32)
            wanted = geometry.mirror_landmarks(original, 128) if mirrored else original
            np.testing.assert_array_equal(np.delete(points, hidden, 0), np.delete(wanted, hidden, 0))
    assert 8 < flipped < 28  # of about 34


def test_unknown_labels_stay_unknown(data):
    unknown = 0
    for batch in take(4, data):
        for n in np.flatnonzero(which(batch) == COUNTS["many"] - 1):
            unknown += 1
            assert np.isnan(batch["pose_deg"][n]).all()
            assert np.isnan(batch["landmarks_px"][n]).all()
            assert (batch["identity"][n], batch["visible"][n].any()) == (-1, False)
    assert unknown


@pytest.mark.parametrize(("scale", "where"), [(8, "device"), (1, "host")])
def test_without_degradation_on_the_host_there_is_no_lr(data, scale, where):
    data.degrade_on = where
    assert "lr" not in take(1, data, scale=scale)[0]


def test_a_bad_picture_is_replaced_and_does_not_stop_the_run(data, folders, tmp_path):
    source = tmp_path / "cut"
    source.mkdir()
    for index in range(4):
        content = (folders / "many" / f"{index}.png").read_bytes()
        (source / f"{index}.png").write_bytes(content[:60] if index == 1 else content)
    data.sources.many.dir, data.flip = str(source), 0.0
    batches = take(4, data)
    seen = np.concatenate([which(b) for b in batches])
    np.testing.assert_array_equal(np.bincount(seen), [4, 0, 8, 4])  # face 2 replaces face 1
    for got, wanted in zip(take(2, data, start=8), batches[2:], strict=True):
        assert_same(got, wanted)
    for index in range(4):
        (source / f"{index}.png").write_bytes((source / "1.png").read_bytes())
    with pytest.raises(ValueError, match=r"no picture of cut can be decoded; the last fault: .*cannot be decoded"):
        take(1, data)


def test_a_record_without_what_its_crop_needs_is_named(data):
    data.sources.many.crop = "landmark_box"
    with pytest.raises(ValueError, match=r"^6\.png has no landmarks.*use 'eyes_mouth' or 'center'"):
        take(3, data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.sources.many.update({"dataset": "foldr"}), "unknown data set 'foldr'; did you mean 'folder'"),
        (lambda c: c.sources.many.update({"dir": ""}), "has no folder; give it"),
        (lambda c: c.sources.many.update({"dir": "/nowhere"}), "/nowhere is no folder"),
        (lambda c: c.sources.many.update({"weight": 0.0}), "weights of data.sources must be positive"),
        (
            lambda c: c.update({"degradation": "bicubc"}),
            "data.degradation is 'bicubc'; it can be paper or scaled or bicubic",
        ),
        (lambda c: c.update({"degrade_on": "gpu"}), "data.degrade_on is 'gpu'; it can be host or device"),
        (lambda c: c.sources.__delitem__("many"), "data.sources is empty"),
    ],
)
def test_what_cannot_be_run_is_an_error_before_anything_runs(data, change, message):
    change(data)
    with pytest.raises(ValueError, match=message):
        pipeline.train_batches(data, scale=8, batch=4, seed=0)


@pytest.mark.parametrize(
    ("name", "arg", "needs"),
    [
        ("msgan", "", {"pose_deg"}),
        ("msgan", "faces", set()),
        ("msgan", "loss.pose_target=reading", set()),
        ("msgan", "generator", set()),
        ("pose", "", {"pose_deg"}),
        ("identity", "", {"identity"}),
        ("jasrnet", "", {"landmarks_px"}),
        ("jasrnet", "bl,sr_only", set()),
        ("mtun", "", {"landmarks_px"}),
        ("mtun", "p", set()),
    ],
)
def test_what_a_method_learns_from(load_config, name, arg, needs):
    assert set(methods.find(name).learns_from(load_config(name, arg))) == needs


# ---- Evaluation


def test_evaluation_sees_every_face_once_and_masks_its_padding(data):
    source = pipeline.open_source(data.sources.many)
    batches = list(pipeline.eval_batches(source, scale=8, batch=3))
    assert [b["names"] for b in batches] == [["0.png", "1.png", "2.png"], ["3.png", "4.png", "5.png"], ["6.png"] * 3]
    assert [b["mask"].tolist() for b in batches] == [[True] * 3, [True] * 3, [True, False, False]]
    assert [b["position"].tolist() for b in batches] == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]
    for batch in batches:
        np.testing.assert_array_equal(which(batch), batch["position"])
        for hr, lr in zip(batch["hr"], batch["lr"], strict=True):
            wanted = Image.fromarray(np.round(255 * hr).astype(np.uint8)).resize((16, 16), Image.Resampling.BICUBIC)
            np.testing.assert_array_equal(np.round(255 * lr), np.asarray(wanted))
    (five,) = pipeline.eval_batches(source, scale=1, batch=8, limit=5)
    assert five["mask"].sum() == 5
    assert "lr" not in five
    assert len(list(pipeline.eval_batches(source, scale=8, batch=7))) == 1  # no batch of padding alone


def test_evaluation_leaves_out_what_cannot_be_decoded(data, folders, tmp_path):
    for index in range(4):
        content = (folders / "many" / f"{index}.png").read_bytes()
        (tmp_path / f"{index}.png").write_bytes(content[:60] if index in (1, 3) else content)
    data.sources.many.dir = str(tmp_path)
    source = pipeline.open_source(data.sources.many)
    for batch, names in ((2, [["0.png", "2.png"]]), (4, [["0.png", *["2.png"] * 3]])):
        assert [b["names"] for b in pipeline.eval_batches(source, scale=8, batch=batch)] == names
    assert [name for name, _ in source.source.skipped] == ["1.png", "3.png"]
    for name in ("0.png", "2.png"):
        (tmp_path / name).write_bytes((tmp_path / "1.png").read_bytes())
    with pytest.raises(ValueError, match=r"no face of .* can be read: .*3\.png: cannot be decoded"):
        list(pipeline.eval_batches(source, scale=8, batch=2))


def test_evaluation_does_not_import_tensorflow(folders):
    code = f"""
import sys
from ml_collections import ConfigDict
from jfsr.data import pipeline
source = pipeline.open_source(ConfigDict({section(folders / "few")!r}))
next(pipeline.eval_batches(source, scale=8, batch=2))
assert "tensorflow" not in sys.modules, "imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_training_and_evaluation_have_the_same_cv2_cubic_low_resolution(data):
    """JASRNet's tables are scored on it; see tests/data/test_operators.py for what it is."""
    data.degradation = "cv2_cubic"
    batch = next(pipeline.train_batches(data, scale=8, batch=2, seed=0))
    hr = np.round(255 * batch["hr"]).astype(np.uint8)
    wanted = np.stack([operators.cv2_cubic(face, (16, 16)) for face in hr])
    np.testing.assert_array_equal(np.round(255 * batch["lr"]).astype(np.uint8), wanted)
    data.degrade_on = "device"
    with pytest.raises(ValueError, match=r"data\.degradation=cv2_cubic is made on the host; set"):
        pipeline.train_batches(data, scale=8, batch=2, seed=0)
