"""Crop rules on golden boxes, and the cut itself on pictures whose content is known."""

import numpy as np
import pytest
from PIL import Image

from jfsr.data import crops, records


def face(width=200, height=100, **labels):
    return records.new_record(np.full((height, width, 3), 50, np.uint8), "one.png") | labels


def marks(x0, y0, x1, y1):
    """68 landmarks with these extremes."""
    points = np.tile(np.array([(x0 + x1) / 2, (y0 + y1) / 2], np.float32), (68, 1))
    points[[0, 68 - 1]] = [[x0, y0], [x1, y1]]
    return {"landmarks_px": points}


MARKS = marks(60, 40, 120, 80)
BOX = {"box_px": np.array([60, 40, 120, 80], np.float32)}
ALIGNED = {
    "landmarks5_px": np.array([[40, 40], [60, 40], [50, 50], [42, 60], [58, 60]], np.float32)  # eyes to mouth: 20 px
}


@pytest.mark.parametrize(
    ("rule", "margin", "record", "box"),
    [
        ("none", 1.0, face(100, 100), (0, 0, 100, 100)),
        ("center", 1.0, face(), (50, 0, 150, 100)),
        ("center", 0.8, face(), (60, 10, 140, 90)),
        ("landmark_box", 1.0, face(**MARKS), (60.5, 30.5, 120.5, 90.5)),
        ("landmark_box", 1.5, face(**MARKS), (45.5, 15.5, 135.5, 105.5)),
        ("box", 1.5, face(**BOX), (45, 15, 135, 105)),
        ("mtcnn", 1.0, face(**BOX), (60, 30, 120, 90)),
        ("eyes_mouth", 1.0, face(**ALIGNED), (28.3, 31.3, 72.7, 75.7)),  # side 2.22 × 20 about (50.5, 53.5)
        ("mtcnn", 1.0, face(**ALIGNED), (28.3, 31.3, 72.7, 75.7)),
        ("celeba_aligned", 1.0, face(178, 218), (0, 20, 178, 198)),
        # Hopenet, worked out by hand from deep-head-pose's datasets.py on the box 60, 40, 120, 80 (60 × 40):
        # x0 = 60 - .4·60 = 36, y0 = 40 - .4·40 = 24, x1 = 120 + .4·84 = 153.6, y1 = 80 + .12·56 = 86.72; 36 24 153 86
        ("hopenet_aflw2000", 0.0, face(**MARKS), (63.5, 24, 125.5, 86)),
        # k = .3: x0 = 60 - .18·60 = 49.2, y0 = 40 - .6·40 = 16, x1 = 120 + .18·70.8 = 132.7, y1 = 80 + .18·64 = 91.5
        ("hopenet_300wlp", 0.3, face(**MARKS), (53, 16, 128, 91)),
        # x0 = 60 - .21·60 = 47.4, y0 = 40 - .35·40 = 26, x1 = 120 + .21·72.6 = 135.2, y1 = 80 + .21·54 = 91.3
        ("hopenet_biwi", 0.0, face(**BOX), (58.5, 26, 123.5, 91)),
        # Whole pixels are towards zero, as int() has it: 5.5 - .4·60 = -18.5, 3.5 - .4·40 = -12.5, 99.1, 50.22
        ("hopenet_aflw2000", 0.0, face(**marks(5.5, 3.5, 65.5, 43.5)), (9.5, -12, 71.5, 50)),
    ],
)
def test_golden_boxes(rule, margin, record, box):
    x0, y0, side = crops.square(crops.RULES[rule](record, margin))
    np.testing.assert_allclose((x0, y0, x0 + side, y0 + side), box, atol=1e-4)


def test_every_rule_has_a_golden_box():
    tested = {case[0] for case in test_golden_boxes.pytestmark[0].args[1]}
    assert tested == set(crops.RULES)


@pytest.mark.parametrize(
    ("rule", "record", "message"),
    [
        ("landmark_bx", face(), "unknown crop rule 'landmark_bx'; did you mean 'landmark_box'"),
        ("landmark_box", face(), "one.png has no 68 landmarks, which this crop needs; use 'eyes_mouth' or 'center'"),
        ("eyes_mouth", face(), "one.png has no 5 landmarks"),
        ("mtcnn", face(), "one.png has no 5 landmarks"),
        ("box", face(), "one.png has no detector's box"),
        ("hopenet_biwi", face(), "one.png has no detector's box"),
        ("celeba_aligned", face(), "one.png is 200×100, and crop 'celeba_aligned' takes CelebA's 178×218"),
        ("none", face(), "one.png is 200×100, and crop 'none' takes square"),
        ("hopenet_300wlp", face(**MARKS), "draws its k only in training; give k as the margin"),
        ("landmark_box", face(**marks(-5000, 0, 5000, 50)), "one.png is 200×100.* check its labels"),
        ("landmark_box", face(**marks(900, 10, 940, 50)), "one.png is 200×100.* check its labels"),
        ("landmark_box", face(**marks(50, 50, 50.5, 50)), "landmarks are degenerate"),
    ],
)
def test_what_cannot_be_cropped_says_which_record_and_what_to_do(rule, record, message):
    with pytest.raises(ValueError, match=message):
        crops.crop_record(record, rule=rule, margin=0.0 if rule == "hopenet_300wlp" else 1.2, size=16)


@pytest.mark.parametrize("margin", [0.7, 1.0, 2.5])  # magnified; about as it is; with black on all sides
@pytest.mark.parametrize("rule", ["landmark_box", "hopenet_aflw2000", "hopenet_300wlp"])
def test_a_dot_stays_under_its_landmark(rule, margin):
    points = np.random.default_rng(1).uniform(10, 90, (68, 2)).astype(np.float32)
    seen = 0
    for index in range(0, 68, 5):
        record = face(100, 100, landmarks_px=points, box_px=np.array([*points[index], 99, 99], np.float32) + 0.5)
        y, x = np.mgrid[:100, :100]
        dot = np.exp(-((x - points[index, 0]) ** 2 + (y - points[index, 1]) ** 2) / (2 * 2.0**2))
        record["image"] = np.repeat(np.round(255 * dot).astype(np.uint8)[..., None], 3, -1)
        got = crops.crop_record(record, rule=rule, margin=margin if rule == "landmark_box" else 0.3, size=64)
        at = got["landmarks_px"][index]
        if ((at > 8) & (at < 55)).all():  # elsewhere the dot is cut off
            weight = got["image"][..., 0].astype(float)
            place = [(weight * axis).sum() / weight.sum() for axis in np.mgrid[:64, :64][::-1]]
            np.testing.assert_allclose(place, at, atol=0.05)
            np.testing.assert_allclose(got["box_px"][:2], at + 0.5, atol=1e-4)
            seen += 1
    assert seen


def test_the_cut_is_black_outside_the_picture_only():
    record = face(64, 64)
    record["image"][:] = 255
    inside = crops.cut(record["image"], 0.0, 0.0, 64.0, 16)
    assert inside.min() == 255  # no black is mixed in where the square ends with the picture
    out = crops.cut(record["image"], -32.0, 0.0, 64.0, 16)
    assert (out[:, :6] == 0).all()
    assert (out[:, 10:] == 255).all()


def test_cutting_first_changes_nothing():
    image = np.random.default_rng(2).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    got = crops.cut(image, 20.25, 11.5, 61.5, 24)
    wanted = Image.fromarray(image).resize((24, 24), Image.Resampling.BICUBIC, box=(20.25, 11.5, 81.75, 73.0))
    assert np.abs(got.astype(int) - np.asarray(wanted)).max() <= 1
    assert crops.cut(image[:64, :64], 0.0, 0.0, 64.0, 64) is not None
    np.testing.assert_array_equal(crops.cut(image[:64, :64], 0.0, 0.0, 64.0, 64), image[:64, :64])


def test_the_record_that_is_cropped_keeps_its_own_values():
    record = face(100, 100, **MARKS)
    before = {k: np.copy(v) for k, v in record.items()}
    crops.crop_record(record, rule="landmark_box", margin=1.2, size=32)
    for key, value in before.items():
        np.testing.assert_array_equal(record[key], value)


def test_jitter_stays_inside_the_crop_and_moves_the_labels_too():
    y, x = np.mgrid[:128, :128].astype(np.uint8)
    record = face(128, 128, **marks(30, 30, 90, 90)) | {"image": np.stack([x, y, x], -1)}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        got = crops.crop_record(record, rule="center", margin=0.75, size=128, jitter=0.1, rng=rng)
        # The image's own red and green are the coordinates that it was cut from.
        low, high = got["image"].reshape(-1, 3)[[0, -1], :2].astype(int)
        assert (low >= 15).all()
        assert (high <= 113).all()
        column, row = np.round(got["landmarks_px"][1]).astype(int)
        np.testing.assert_allclose(got["image"][row, column, :2], record["landmarks_px"][1], atol=1)
    same = crops.crop_record(record, rule="center", margin=0.75, size=128, jitter=0.1, rng=np.random.default_rng(19))
    np.testing.assert_array_equal(same["image"], got["image"])


def test_hopenets_k_is_drawn_in_training():
    draw = lambda seed: crops.crop_record(
        face(**MARKS), rule="hopenet_300wlp", margin=0.0, size=16, rng=np.random.default_rng(seed)
    )["landmarks_px"]
    np.testing.assert_array_equal(draw(0), draw(0))
    assert not np.array_equal(draw(0), draw(1))


def test_eyes_mouth_gives_the_landmark_boxes_of_real_faces(shared):
    from jfsr.data.datasets.labels import read_labels

    file = shared / "faces/val/landmarks68/labels.csv"  # the constants were taken from the training faces
    names = {line.split(",")[0] for line in file.read_text().splitlines()[1:]}
    ratios, shifts = [], []
    for row in read_labels(file, names).values():
        points = row["landmarks"]
        record = face(256, 256, landmarks_px=points, landmarks5_px=records.five_points(points))
        x0, y0, side = crops.square(crops.RULES["landmark_box"](record, 1.2))
        x1, y1, other = crops.square(crops.RULES["eyes_mouth"](record, 1.2))
        ratios.append(other / side)
        shifts.append([(x1 - x0 + (other - side) / 2) / side, (y1 - y0 + (other - side) / 2) / side])
    assert abs(np.median(ratios) - 1) < 0.05
    assert np.all(np.abs(np.median(shifts, 0)) < 0.02)
