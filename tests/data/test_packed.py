"""Packed faces: the batches of the plain path, bit for bit; packs that are at fault are errors that say what to do."""

import csv
import itertools
import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from jfsr.data import crops, packed, pipeline, records

SIZE = 32  # of the faces: small ones are quickly degraded
COUNT = 7


def picture(rng, width, height):
    """A picture with edges and noise, on which a wrong pixel shows."""
    blocks = Image.fromarray(rng.integers(0, 256, (6, 5, 3), np.uint8)).resize(
        (width, height), Image.Resampling.NEAREST
    )
    return np.clip(np.asarray(blocks) + rng.normal(0, 10, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven pictures of several sizes, with poses, people and 68 points; the squares of some leave their picture."""
    root, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    header = ["file", "yaw_deg", "pitch_deg", "roll_deg", "identity", *(f"{a}{i}" for i in range(68) for a in "xy")]
    rows = [header]
    for index in range(COUNT):
        width, height = rng.integers(44, 60, 2).tolist()
        Image.fromarray(picture(rng, width, height)).save(root / f"{index}.png")
        middle, spread = rng.uniform([20, 20], [width - 20, height - 20]), rng.uniform(4, 7)
        points = middle + rng.uniform(-spread, spread, (68, 2))
        points[36:48, 1] = middle[1] - spread / 2  # the eyes are level and above the mouth
        points[[48, 54], 1] = middle[1] + spread / 2
        points[36:42, 0], points[42:48, 0] = middle[0] - 3, middle[0] + 3 + index / 9
        rows.append([f"{index}.png", index + 1, 2, -index, f"person {index // 2}", *points.ravel().round(3).tolist()])
    with (root / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return root


def section(dir, crop, *, margin=1.3, weight=1.0):
    return {"dataset": "folder", "dir": str(dir), "split": "", "crop": crop, "margin": margin, "weight": weight}


@pytest.fixture
def data(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    c = ConfigDict({"flip": 0.5, "jitter": 0.0, "shuffle": True, "degradation": "bicubic", "degrade_on": "host"})
    c.update({"hr_size": SIZE, "where": "packed"})
    c.sources = ConfigDict({"faces": section(folder, "landmark_box")})
    return c


def take(count, data, **options):
    options = {"scale": 4, "batch": 8, "seed": 3} | options
    return list(itertools.islice(pipeline.train_batches(data, **options), count))


def assert_same(got, wanted):
    for one, other in zip(got, wanted, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def plain(data):
    return ConfigDict(data.to_dict() | {"where": "files"})


def packs(tmp_path):
    return sorted(path for path in (tmp_path / "tfds" / "jfsr_packed").iterdir() if path.is_dir())


# ---- The batches


@pytest.mark.parametrize(
    ("crop", "margin", "jitter", "degradation"),
    [
        ("landmark_box", 1.3, 0.0, "bicubic"),
        ("landmark_box", 1.3, 0.1, "paper"),
        ("landmark_box", 3.5, 0.2, "cv2_cubic"),  # squares leave the pictures
        ("hopenet_300wlp", 0.0, 0.0, "scaled"),  # its k is drawn at every look
        ("hopenet_300wlp", 0.0, 0.05, "bicubic"),
        ("lightcnn", 1.0, 0.1, "bicubic"),  # turns the picture first
    ],
)
def test_packed_batches_are_the_plain_batches(data, tmp_path, crop, margin, jitter, degradation):
    data.update({"jitter": jitter, "degradation": degradation})
    data.sources.faces.update({"crop": crop, "margin": margin})
    assert_same(take(4, data), take(4, plain(data)))
    (pack,) = packs(tmp_path)
    assert json.loads((pack / "pack.json").read_text())["reduced"] == 0


def test_sources_are_mixed_as_in_the_plain_path(data, folder):
    data.jitter = 0.05
    data.sources.more = section(folder, "hopenet_300wlp", margin=0.0, weight=0.4)
    assert_same(take(5, data), take(5, plain(data)))


def test_a_resumed_run_and_the_slices_of_processes_see_the_same_faces(data, monkeypatch):
    from jfsr.data import packed_tf

    monkeypatch.setattr(packed_tf, "AT_ONCE", 16)  # so that batches come from several lots
    data.jitter, data.degradation = 0.05, "paper"
    straight = take(6, data)
    assert_same(take(3, data, start=3 * 8), straight[3:])
    slices = [take(3, data, start=3 * 8, share=share) for share in ((0, 2), (2, 6))]
    joined = [{k: np.concatenate([a[k], b[k]]) for k in a} for a, b in zip(*slices, strict=True)]
    assert_same(joined, straight[3:])
    assert [b["position"].tolist() for b in slices[1]] == [list(range(8 * s + 2, 8 * s + 8)) for s in (3, 4, 5)]


def test_without_degradation_on_the_host_there_is_no_lr(data):
    data.degrade_on = "device"
    assert "lr" not in take(1, data)[0]


def test_a_picture_that_cannot_be_read_is_replaced_as_in_the_plain_path(data, folder, tmp_path):
    cut = tmp_path / "cut"
    cut.mkdir()
    for file in folder.iterdir():
        (cut / file.name).write_bytes(file.read_bytes()[: 400 if file.name in ("2.png", "6.png") else None])
    data.sources.faces.dir = str(cut)
    for jitter in (0.0, 0.1):
        data.jitter = jitter
        assert_same(take(4, data), take(4, plain(data)))
    about = json.loads((packs(tmp_path)[0] / "pack.json").read_text())
    assert [name for name, _ in about["skipped"]] == ["2.png", "6.png"]


def test_a_face_larger_than_a_window_is_reduced_and_counted(data, tmp_path):
    root = tmp_path / "large"
    root.mkdir()
    rng = np.random.default_rng(1)
    smooth = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize((150, 150), Image.Resampling.BICUBIC)
    smooth.save(root / "large.png")
    smooth.resize((40, 40)).save(root / "small.png")
    data.sources.faces.update({"dir": str(root), "crop": "center", "margin": 1.0})
    data.jitter = 0.1
    got, wanted = take(3, data), take(3, plain(data))
    about = json.loads((packs(tmp_path)[0] / "pack.json").read_text())
    assert (about["reduced"], about["side"]) == (1, packed.LARGEST * SIZE)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one["hr"], other["hr"], atol=8 / 255)
        np.testing.assert_array_equal(one["landmarks_px"], other["landmarks_px"])


def test_resize_is_pillows():
    import tensorflow as tf

    from jfsr.data import packed_tf

    rng = np.random.default_rng(2)
    image = picture(rng, 90, 90)
    for side in (20.5, 47.99, 48.0, 80.3):
        x0, y0 = rng.uniform(0, 90 - side, 2).astype(np.float32)
        box = (float(x0), float(y0), float(np.float32(x0 + side)), float(np.float32(y0 + side)))
        wanted = np.asarray(Image.fromarray(image).resize((48, 48), Image.Resampling.BICUBIC, box=box))
        ends = np.array([np.float32(box[2]) - np.float32(x0), np.float32(box[3]) - np.float32(y0)], np.float64)
        got = packed_tf.resize(
            tf.constant(image),
            begin=tf.zeros(2, tf.float64),
            length=tf.fill([2], tf.constant(90.0, tf.float64)),
            first=tf.constant([box[0], box[1]], tf.float64),
            step=tf.constant(ends / 48),
            vertical=tf.constant(False),
            size=48,
            taps=packed_tf.reached(2.0),
        )
        np.testing.assert_array_equal(got, wanted)


def test_the_squares_of_drawn_factors_are_those_of_the_rule():
    rng = np.random.default_rng(3)
    points = rng.uniform(0, 400, (20, 68, 2)).astype(np.float32)
    for each in points:
        record = records.new_record(np.zeros((1, 1, 3), np.uint8), "") | {"landmarks_px": each}
        k = float(rng.uniform(*crops.DRAWN))
        wanted = crops.square(crops.RULES["hopenet_300wlp"](record, k))
        got = packed.hopenet_squares(np.array(crops.matlab_bounds(record))[None], np.array([k]))
        np.testing.assert_array_equal(got[0], wanted)


# ---- Packs


def test_a_pack_is_made_once_for_each_crop_and_anew_when_a_file_changes(data, folder, tmp_path, capfd):
    take(1, data)
    assert "packs 7 faces" in capfd.readouterr().err
    take(1, data)
    assert "packs" not in capfd.readouterr().err
    data.sources.faces.margin = 1.5
    take(1, data)
    assert len(packs(tmp_path)) == 2
    data.jitter = 0.05
    take(1, data)
    data.jitter = 0.1  # windows serve any jitter
    take(1, data)
    assert len(packs(tmp_path)) == 3
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text().replace("person 0", "person 9"))
    take(1, data)
    assert len(packs(tmp_path)) == 4


def spoil(pack, name, how):
    file = pack / name
    file.write_bytes(how(file.read_bytes()))


@pytest.mark.parametrize(
    ("name", "how", "says"),
    [
        ("faces.raw", lambda b: b[:-1], r"faces\.raw has 21,503 bytes, and its 7 records of 32×32 pixels have 21,504"),
        ("faces.raw", lambda b: b"", r"faces\.raw has 0 bytes"),
        ("labels.npz", lambda b: b[:100], r"labels\.npz cannot be read"),
        ("pack.json", lambda b: b[:50], r"pack\.json cannot be read"),
        ("pack.json", lambda b: b.replace(b'"version": 1', b'"version": 99'), "is of version 99 of packed faces"),
        ("pack.json", lambda b: b.replace(b'"margin": 1.3', b'"margin": 1.4'), "crop is .*'margin': 1.4.*run takes"),
        ("pack.json", lambda b: b.replace(b'"side": 32', b'"side": "?"'), r"pack\.json cannot be read"),
    ],
)
def test_a_pack_at_fault_names_the_file_the_rule_and_the_remedy(data, tmp_path, name, how, says):
    take(1, data)
    spoil(packs(tmp_path)[0], name, how)
    with pytest.raises(ValueError, match=rf"(?s){says}.*remove the folder .*: the next start packs the faces anew"):
        take(1, data)


def test_a_pack_appears_complete_or_not_at_all(data, tmp_path, monkeypatch):
    monkeypatch.setattr(np, "savez", lambda *args, **options: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(ValueError, match=r"cannot be written .No space left"):
        take(1, data)
    assert not packs(tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    take(1, data)
    assert len(packs(tmp_path)) == 1


def test_a_disk_that_is_too_small_is_refused_before_anything_is_read(data, tmp_path, monkeypatch):
    monkeypatch.setattr(packed.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(ValueError, match=r"takes 0\.0 GB as packed faces, and .* has 0\.0 GB left; set TFDS_DATA_DIR"):
        take(1, data)
    assert not packs(tmp_path)


def test_faces_that_the_crop_cannot_cut_are_named(data, folder, tmp_path):
    data.sources.faces.crop = "mtcnn"
    with pytest.raises(ValueError, match=r"crop 'mtcnn' reads MTCNN's boxes"):
        take(1, data)
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "0.png").write_bytes((folder / "0.png").read_bytes())
    data.sources.faces.update({"crop": "landmark_box", "dir": str(bare)})
    with pytest.raises(ValueError, match=r"^0\.png has no landmarks.*use 'eyes_mouth' or 'center'"):
        take(1, data)
    (bare / "0.png").write_bytes((folder / "0.png").read_bytes()[:300])
    data.sources.faces.crop = "center"
    with pytest.raises(ValueError, match=r"no picture of bare can be decoded; the last fault: .*0\.png"):
        take(1, data)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"where": "memory"}, "data.where is 'memory'; it can be files or packed"),
        ({"rotate_deg": 10.0}, "data.where=packed cannot turn faces, and data.rotate_deg asks for it; set data.where="),
        ({"hr_size": 40}, "takes a data.hr_size that 16 divides"),
    ],
)
def test_what_packed_faces_cannot_do_is_refused(data, change, says):
    data.update(change)
    with pytest.raises(ValueError, match=says):
        pipeline.check_options(data, scale=4)
