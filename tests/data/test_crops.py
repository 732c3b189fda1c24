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
UPSIDE_DOWN = np.array([[40, 60], [60, 60], [50, 50], [42, 40], [58, 40]], np.float32)


@pytest.mark.parametrize(
    ("rule", "margin", "record", "box"),
    [
        ("none", 1.0, face(100, 100), (0, 0, 100, 100)),
        ("center", 1.0, face(), (50, 0, 150, 100)),
        ("center", 0.8, face(), (60, 10, 140, 90)),
        ("landmark_box", 1.0, face(**MARKS), (60.5, 30.5, 120.5, 90.5)),
        ("landmark_box", 1.5, face(**MARKS), (45.5, 15.5, 135.5, 105.5)),
        ("box", 1.5, face(**BOX), (45, 15, 135, 105)),
        ("mtcnn", 1.0, face(**BOX, detector="mtcnn"), (60, 30, 120, 90)),
        ("eyes_mouth", 1.0, face(**ALIGNED), (28.3, 31.3, 72.7, 75.7)),  # side 2.22 × 20 about (50.5, 53.5)
        # The mouth is 20 px below the level eyes, which is 48 of 128: side 53.333. The eyes' middle, (50.5, 40.5) in
        # pixel edges, is in the middle of the width and 40.5 / 128 of the side below the top.
        ("lightcnn", 1.0, face(**ALIGNED), (50.5 - 26.6667, 40.5 - 16.875, 50.5 + 26.6667, 40.5 - 16.875 + 53.3333)),
        ("celeba_aligned", 1.0, face(178, 218), (0, 20, 178, 198)),
        # Hopenet, worked out by hand from deep-head-pose's datasets.py on the points that the .mat has, counted from 1:
        # 61, 41, 121, 81 (60 × 40). x0 = 61 - .4·60 = 37, y0 = 41 - .4·40 = 25, x1 = 121 + .4·84 = 154.6,
        # y1 = 81 + .12·56 = 87.72; 37 25 154 87
        ("hopenet_aflw2000", 0.0, face(**MARKS), (64.5, 25, 126.5, 87)),
        # k = .3: x0 = 61 - .18·60 = 50.2, y0 = 41 - .6·40 = 17, x1 = 121 + .18·70.8 = 133.7, y1 = 81 + .18·64 = 92.5
        ("hopenet_300wlp", 0.3, face(**MARKS), (54, 17, 129, 92)),
        # x0 = 60 - .21·60 = 47.4, y0 = 40 - .35·40 = 26, x1 = 120 + .21·72.6 = 135.2, y1 = 80 + .21·54 = 91.3
        ("hopenet_biwi", 0.0, face(**BOX), (58.5, 26, 123.5, 91)),
        ("hopenet_mtcnn", 0.0, face(**BOX, detector="mtcnn"), (58.5, 26, 123.5, 91)),
        # Whole pixels are towards zero, as int() has it: 6.5 - .4·60 = -17.5, 4.5 - .4·40 = -11.5, 100.1, 51.22
        ("hopenet_aflw2000", 0.0, face(**marks(5.5, 3.5, 65.5, 43.5)), (10.5, -11, 72.5, 51)),
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
        ("landmark_box", face(), "one.png has no landmarks, which this crop needs; use 'eyes_mouth' or 'center'"),
        ("eyes_mouth", face(), "one.png has no 5 landmarks"),
        # MTCNN's boxes alone will do: neither the set's own box nor its points stand in for them.
        ("mtcnn", face(**BOX, **ALIGNED, **MARKS), "one.png has no box of MTCNN; .* 'jfsr data boxes'"),
        ("hopenet_mtcnn", face(**BOX, **MARKS), "one.png has no box of MTCNN; .* 'jfsr data boxes'"),
        ("lightcnn", face(), "one.png has no 5 landmarks, which crop 'lightcnn' needs"),
        ("lightcnn", face(landmarks5_px=UPSIDE_DOWN), "one.png has its mouth above its level eyes"),
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
    for row in read_labels(file, names)[0].values():
        points = row["landmarks"]
        record = face(256, 256, landmarks_px=points, landmarks5_px=records.five_points(points))
        x0, y0, side = crops.square(crops.RULES["landmark_box"](record, 1.2))
        x1, y1, other = crops.square(crops.RULES["eyes_mouth"](record, 1.2))
        ratios.append(other / side)
        shifts.append([(x1 - x0 + (other - side) / 2) / side, (y1 - y0 + (other - side) / 2) / side])
    assert abs(np.median(ratios) - 1) < 0.05
    assert np.all(np.abs(np.median(shifts, 0)) < 0.02)


# ---- Hopenet's own reading


def authors_box(points, *, left, top, right, bottom):
    """deep-head-pose's datasets.py, line by line: each line reads what the ones before it wrote."""
    x_min, y_min = min(points[0, :]), min(points[1, :])
    x_max, y_max = max(points[0, :]), max(points[1, :])
    x_min -= left * abs(x_max - x_min)
    y_min -= top * abs(y_max - y_min)
    x_max += right * abs(x_max - x_min)
    y_max += bottom * abs(y_max - y_min)
    return int(x_min), int(y_min), int(x_max), int(y_max)


@pytest.mark.parametrize(
    ("rule", "k", "sides"),
    [
        ("hopenet_aflw2000", 0.2, {"left": 0.4, "top": 0.4, "right": 0.4, "bottom": 0.12}),
        ("hopenet_300wlp", 0.3, {"left": 0.18, "top": 0.6, "right": 0.18, "bottom": 0.18}),
    ],
)
def test_the_box_of_matlabs_points_is_the_authors_and_the_points_on_the_picture_count_from_0(rule, k, sides):
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (120, 120, 3), dtype=np.uint8)
    for _ in range(50):
        matlab = rng.uniform(20, 100, (2, 68)).astype(np.float32)  # as the .mat has them: the first pixel is 1
        record = face(120, 120, landmarks_px=(matlab.T - 1.0).astype(np.float32)) | {"image": picture}
        box = authors_box(matlab.astype(np.float64), **sides)
        # Hopenet resizes the shorter side of its crop and keeps the centre.
        width, height = box[2] - box[0], box[3] - box[1]
        side = min(width, height)
        got = crops.square(crops.RULES[rule](record, k))
        assert got == (box[0] + (width - side) / 2, box[1] + (height - side) / 2, side)
    if (width - side) % 2 == 0 and (height - side) % 2 == 0:
        x0, y0 = int(got[0]), int(got[1])
        cut = Image.fromarray(picture).crop(box)
        cut = cut.crop((x0 - box[0], y0 - box[1], x0 - box[0] + side, y0 - box[1] + side))
        np.testing.assert_array_equal(
            crops.crop_record(record, rule=rule, margin=k, size=side)["image"], np.asarray(cut)
        )
    moved = crops.crop_record(record, rule=rule, margin=k, size=side)["landmarks_px"]
    np.testing.assert_allclose(moved, record["landmarks_px"] - np.array(got[:2]), atol=1e-3)


# ---- LightCNN's alignment


def dotted(points, width, height):
    """A record with a bright dot of its own colour under each of the five points."""
    y, x = np.mgrid[:height, :width]
    image = np.zeros((height, width, 3))
    for i, (px, py) in enumerate(points):
        dot = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 1.5**2))
        image[..., i % 3] = np.maximum(image[..., i % 3], 255 * dot)
    return face(width, height, landmarks5_px=np.array(points, np.float32)) | {"image": np.round(image).astype(np.uint8)}


@pytest.mark.parametrize("tilt", [-170, -35, 0, 20, 90])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_lightcnns_faces_have_level_eyes_in_row_40_and_the_mouth_48_rows_below(tilt, scale):
    # A turned face: its mouth is not below the middle of its eyes.
    upright = scale * np.array([[-18, -20], [12, -20], [-9, 0], [-16, 21], [8, 19]])
    turn = np.deg2rad(tilt)
    points = upright @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + np.array([120, 130])
    got = crops.crop_record(dotted(points.tolist(), 260, 250), rule="lightcnn", size=128)
    left, right, _, *corners = got["landmarks5_px"]
    eyes, mouth = (left + right) / 2, np.mean(corners, 0)
    np.testing.assert_allclose(left[1], right[1], atol=1e-3)
    np.testing.assert_allclose(eyes, [63.5, 40], atol=1e-3)
    np.testing.assert_allclose(mouth[1], 88, atol=1e-3)
    assert left[0] < right[0]
    bright = got["image"].astype(float)
    for i, (px, py) in enumerate(got["landmarks5_px"]):  # the picture is turned with its points
        if 4 <= px < 124 and 4 <= py < 124:
            y, x = np.mgrid[:128, :128]
            near = np.hypot(x - px, y - py) < 6
            weight = bright[..., i % 3] * near
            np.testing.assert_allclose([(weight * a).sum() / weight.sum() for a in (x, y)], [px, py], atol=0.3)


def test_lightcnn_loses_no_pixel_of_the_square_at_the_edge_of_a_picture():
    record = face(90, 90, landmarks5_px=np.array([[20, 8], [34, 22], [20, 24], [8, 20], [20, 33]], np.float32))
    record["image"][:] = 255  # a tilted face in the corner: a part of the square lies outside
    got = crops.crop_record(record, rule="lightcnn", size=128)
    inside = got["image"][..., 0] > 200
    # Where each pixel of the square comes from, by the similarity that the eyes' middle and the mouth's fix.
    eyes, mouth = np.array([27.0, 15.0]), np.array([14.0, 26.5])
    along = np.array([14.0, 14.0]) / np.hypot(14, 14)  # from eye to eye
    down = np.array([-along[1], along[0]])
    pixel = ((mouth - eyes) @ down) / 48
    y, x = np.mgrid[:128, :128]
    at = eyes + pixel * ((x[..., None] - 63.5) * along + (y[..., None] - 40) * down)
    depth = np.minimum(at + 0.5, 89.5 - at).min(-1)  # how deep in the picture, in its pixels
    assert inside[depth > 1.5].all()
    assert not inside[depth < -1.5].any()
    assert 0.2 < inside.mean() < 0.9


def test_one_alignment_whatever_the_set():
    """The same face in a loose crop, in a large picture and small: one result."""
    points = np.array([[40, 44], [62, 40], [52, 55], [44, 66], [63, 63]], np.float64)
    reference = None
    for zoom, shift in ((1.0, 0.0), (1.0, 37.0), (2.0, 11.0)):
        record = dotted((points * zoom + shift).tolist(), 300, 300)
        got = crops.crop_record(record, rule="lightcnn", size=128)["landmarks5_px"]
        reference = got if reference is None else reference
        np.testing.assert_allclose(got, reference, atol=0.05)


# ---- Native low resolution


def test_the_native_low_resolution_is_cut_from_the_picture_and_not_from_the_larger_face():
    rng = np.random.default_rng(4)
    record = face(60, 60, box_px=np.array([22, 20, 38, 40], np.float32))
    record["image"] = rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)
    got = crops.crop_record(record, rule="box", margin=0.8, size=128, low=16)
    assert got["image"].shape == (128, 128, 3)
    np.testing.assert_array_equal(got["lr"], record["image"][22:38, 22:38])  # 16 px of the picture, untouched
    back = records.mirror(got)
    np.testing.assert_array_equal(back["lr"], got["lr"][:, ::-1])
    assert "lr" not in crops.crop_record(record, rule="box", margin=0.8)
