"""300W, Menpo, HELEN-194, AFLW and WIDER FACE on tiny copies in their true formats, and on real files where present."""

import hashlib
import re
import sqlite3

import numpy as np
import pytest
from scipy.io import savemat
from scipy.spatial.transform import Rotation
from support.official_layouts import cut_short, read_all, roundtrip, rules, write_image

from jfsr import geometry
from jfsr.data import crops
from jfsr.data.datasets import aflw, checking, helen194, menpo, official, pts, specs, wider_face
from jfsr.data.records import BadRecord, landmark_labels

RNG = np.random.default_rng(0)


def open_folder(name, root, split=""):
    return official.OfficialFolder(specs()[name], root, split=split)


def check(name, root, split):
    """The account of one split."""
    return checking.check(specs()[name], root, splits=(split,), workers=1)[0][0]


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


# ---- .pts


def write_pts(file, points, *, header=True, said=None):
    """As iBUG's files: Matlab's pixels, six digits, no newline after the last brace."""
    body = "\n".join(f"{x:.6f} {y:.6f}" for x, y in points)
    said = len(points) if said is None else said
    return write(file, f"version: 1\nn_points:  {said}\n{{\n{body}\n}}" if header else body + "\n")


def ring(count=68, *, centre=(24, 20), radius=12.0):
    """Points on a circle, the first at its right."""
    angle = np.arange(count) * 2 * np.pi / count
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], -1)


@pytest.mark.parametrize("header", [True, False])
def test_pts_are_counted_from_0_with_and_without_header(tmp_path, header):
    points = ring()
    points[:3] = [1, 1], [48, 40], [-1, -1]  # Matlab's first and last pixel of 48×40, an unknown
    got = pts.read_pts(write_pts(tmp_path / "image_0018 (2).pts", points, header=header))
    np.testing.assert_array_equal(got[:2], [[0, 0], [47, 39]])
    assert np.isnan(got[2]).all()
    np.testing.assert_allclose(got[3:], points[3:] - 1, atol=1e-5)
    np.testing.assert_array_equal(landmark_labels(got)["visible"], np.arange(68) != 2)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "landmarks are not 68 points"),
        ("version: 1\nn_points: 68\n{\n1 2\n}\n", "n_points is not the number of its points"),
        ("version: 1\nn_points: 1\n{\n1 2\n}\n", "landmarks are not 68 points"),
        ("1 2 3\n" * 68, "not a .pts, lines of x y"),
        ("1 x\n" * 68, "not a .pts, lines of x y"),
        ("1 inf\n" * 68, "not a .pts, lines of x y"),
        ("version: 1\nn_points: many\n", "not a .pts, lines of x y"),
    ],
)
def test_broken_pts_name_the_file_and_the_rule(tmp_path, text, rule):
    file = write(tmp_path / "a.pts", text)
    with pytest.raises(BadRecord, match=r"a\.pts: ") as error:
        pts.read_pts(file)
    assert str(error.value) == f"{file}: {rule}"
    with pytest.raises(BadRecord, match=r"b\.pts: not a \.pts"):
        pts.read_pts(tmp_path / "b.pts")


# ---- 300W


def face(root, name, points=None, *, seed=0, **options):
    """A picture of 48×40 and the .pts beside it."""
    write_image(root / name, (48, 40), seed)
    write_pts((root / name).with_suffix(".pts"), ring() if points is None else points, **options)


@pytest.fixture
def w300(tmp_path):
    root = tmp_path / "300W_all"
    for seed, name in enumerate(
        [
            "afw/134212_1.jpg",
            "helen/trainset/100032540_1.jpg",
            "lfpw/trainset/image_0018 (2).png",
            "helen/testset/296814969_3.jpg",
            "lfpw/testset/image_0001.png",
            "ibug/image_003_1.jpg",
        ]
    ):
        face(root, name, seed=seed, header=seed != 5)
    return root


def test_300ws_splits_are_the_usual_ones(w300, tmp_path):
    spec = specs()["300w"]
    assert spec.counts == {
        "train": 3148,
        "common": 554,
        "challenge": 135,
        "full": 689,
        "helen_test": 330,
        "lfpw_test": 224,
    }
    accounts = roundtrip(spec, w300, tmp_path)
    assert {split: a.kept for split, a in accounts.items()} == dict(zip(spec.counts, (3, 2, 1, 3, 1, 1), strict=True))
    full = read_all(open_folder("300w", w300, "full"))
    assert list(full) == ["helen/testset/296814969_3.jpg", "lfpw/testset/image_0001.png", "ibug/image_003_1.jpg"]
    record = full["ibug/image_003_1.jpg"]
    np.testing.assert_allclose(record["landmarks_px"], ring() - 1, atol=1e-5)
    np.testing.assert_array_equal(record["landmarks5_px"][3], record["landmarks_px"][48])
    assert record["visible"].all()
    assert (record["identity"], record["image"].shape) == (-1, (40, 48, 3))
    # A circle of radius 12 around (23, 19): 68 points, 0 and 34 at its right and left, 17 and 51 at its ends.
    x0, y0, side = crops.square(crops.RULES["landmark_box"](record, 1.5))
    np.testing.assert_allclose((x0, y0, side), (23.5 - 18, 19.5 - 18, 36), atol=1e-3)


def test_300w_names_what_is_missing_or_broken(w300):
    folder = w300 / "lfpw/trainset"
    face(w300, "lfpw/trainset/image_0018 (2)_mirror.png")
    (folder / "image_0018 (2)_mirror.jpg").write_bytes(b"")
    face(w300, "lfpw/trainset/b.png", ring() + 100)
    face(w300, "lfpw/trainset/c.png", ring(51))
    face(w300, "lfpw/trainset/d.png", ring(radius=30))
    face(w300, "lfpw/trainset/e.png", said=67)
    face(w300, "lfpw/trainset/f.jpg")
    cut_short(folder / "f.jpg")
    face(w300, "lfpw/trainset/g.jpg")
    write_image(folder / "g.png")
    write_image(folder / "h.png")
    write_pts(folder / "i.pts", ring())
    account = check("300w", w300, "train")
    dropped = rules(account)
    assert dropped.pop("lfpw/trainset/f.jpg").startswith("cannot be decoded")
    assert dropped == {
        "lfpw/trainset/b.png": "every landmark lies outside the picture",
        "lfpw/trainset/c.png": "landmarks are not 68 points",
        "lfpw/trainset/e.png": "n_points is not the number of its points",
        "lfpw/trainset/g.png": "a second picture beside one .pts",
        "lfpw/trainset/h.png": "no .pts beside it",
        "lfpw/trainset/i.pts": "no picture beside it",
    }
    assert account.remarks == [("lfpw/trainset/d.png", "some landmarks outside the picture")]
    assert "lfpw/trainset: 2 mirrored copies (_mirror) are left out" in account.notes
    assert "afw has 1 of 337 faces" in account.notes
    (w300 / "ibug").rename(w300 / "IBUG_")
    assert "folder ibug is not in this copy" in open_folder("300w", w300, "full").notes
    with pytest.raises(ValueError, match=r"no folder ibug in .*expected to hold\nafw/134212_1\.jpg"):
        open_folder("300w", w300, "challenge")


def test_the_real_lfpw_files_are_read_with_their_landmarks_on_the_face(shared, tmp_path):
    (tmp_path / "lfpw").mkdir()
    (tmp_path / "lfpw/trainset").symlink_to(shared / "faces/layouts/lfpw")
    source = open_folder("300w", tmp_path)
    assert (len(source), source.skipped) == (6, [])
    for record in (source[i] for i in range(6)):
        assert record["visible"].all()
        left, right, nose, *mouth = record["landmarks5_px"]
        assert left[0] < nose[0] < right[0]
        assert max(left[1], right[1]) < nose[1] < min(mouth[0][1], mouth[1][1])
        assert mouth[0][0] < mouth[1][0]
        # Around the eyes' centres it is darker than on the cheeks below them.
        grey, down = record["image"].mean(-1), (np.mean(mouth, 0) - (left + right) / 2) / 2
        at = lambda p, grey=grey: grey[int(p[1]) - 2 : int(p[1]) + 3, int(p[0]) - 2 : int(p[0]) + 3].mean()
        assert at(left) + at(right) < at(left + down) + at(right + down)


# ---- Menpo


def profile_and_truth():
    """A face of 68 points that looks to the viewer's right, and the 39 that Menpo marks of it.

    The outline and the brow are straight, so that it does not matter where along them their points are.
    """
    full = np.full((68, 2), np.nan)
    full[0:9] = np.linspace([5, 10], [29, 38], 9)  # ear to chin, down to the right
    full[17:22] = np.linspace([14, 8], [30, 7], 5)
    for i, place in enumerate([27, 28, 29, 30, 33, 31]):
        full[place] = 36 + i % 3, 12 + 2 * i
    full[[38, 37, 36, 41, 40]] = [29, 12], [27, 12], [25, 13], [27, 14], [29, 14]
    for i, place in enumerate([51, 50, 49, 48, 59, 58, 57, 62, 61, 60, 67, 66]):
        full[place] = 36 - i / 2, 28 + i / 3
    outline, brow = np.linspace(full[0], full[8], 10), np.linspace(full[17], full[21], 4)
    front = np.array([[33, 37.5], [34, 34]])  # between chin and lip
    inner = full[[27, 28, 29, 30, 33, 31, 38, 37, 36, 41, 40, 51, 50, 49, 48, 59, 58, 57, 62, 61, 60, 67, 66]]
    return np.concatenate([outline, front, brow, inner]), full


@pytest.mark.parametrize("turn_deg", [0, 85, -95, 150])
def test_the_39_points_of_a_profile_find_their_places_among_the_68(turn_deg):
    marked, full = profile_and_truth()
    c, s = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    turn = lambda p: ((p - 20) @ np.array([[c, s], [-s, c]]) + 20).astype(np.float32)
    np.testing.assert_allclose(menpo.from_profile(turn(marked)), turn(full), atol=1e-4)
    # OpenFace's second table, for faces that look to the left, point by point (from 1 there, from 0 here).
    other = turn(marked) * [-1, 1] + [47, 0]
    got = menpo.from_profile(other.astype(np.float32))
    table = {17: 28, 21: 34, 22: 36, 23: 44, 24: 45, 26: 47, 28: 52, 29: 53, 32: 56, 34: 58, 36: 64, 39: 67}
    for mine, place in table.items():
        np.testing.assert_allclose(got[place - 1], other[mine - 1], atol=1e-4)
    np.testing.assert_allclose(got[[8, 16]], other[[9, 0]], atol=1e-4)  # chin and ear
    np.testing.assert_allclose(got, geometry.mirror_landmarks(turn(full), 48), atol=1e-4)


def test_menpo_has_semifrontal_faces_and_profiles(tmp_path):
    root, (marked, full) = tmp_path / "menpo", profile_and_truth()
    face(root, "aflw__face_39844.jpg", seed=1)
    face(root, "aflw__face_40060.jpg", marked + 1, seed=2)
    face(root, "more/fddb__face_1.jpg", marked * [-1, 1] + [48, 1], seed=3)
    accounts = roundtrip(specs()["menpo"], root, tmp_path)
    assert [(a.split, a.kept, a.expected) for a in accounts.values()][:3] == [
        ("train", 3, 8979),
        ("semifrontal", 1, 6679),
        ("profile", 2, 2300),
    ]
    right, left = read_all(open_folder("menpo", root, "profile")).values()
    np.testing.assert_allclose(right["landmarks_px"], full, atol=1e-3)
    np.testing.assert_array_equal(right["visible"], np.isfinite(full).all(-1))
    assert right["visible"].sum() == 37
    np.testing.assert_array_equal(left["visible"], right["visible"][geometry.FLIP_68])
    np.testing.assert_allclose(right["box_px"], [*marked.min(0) + 0.5, *marked.max(0) + 0.5], atol=1e-4)
    assert np.isnan(open_folder("menpo", root, "semifrontal")[0]["box_px"]).all()
    assert {rule for _, rule in accounts["profile"].remarks} == {"some landmarks unknown"}


def test_mtuns_fifth_of_menpo_is_apart_from_what_it_trains_on(tmp_path):
    for i in range(40):
        face(tmp_path, f"{i}.jpg")
    train, test = ({e.name for e in open_folder("menpo", tmp_path, s).entries} for s in ("mtun_train", "mtun_test"))
    assert not train & test
    assert len(train | test) == 40
    digest = lambda name: int(hashlib.sha256(name.encode()).hexdigest(), 16)
    assert test == {f"{i}.jpg" for i in range(40) if digest(f"{i}.jpg") % 5 == 0}


def test_menpo_names_what_is_broken(tmp_path):
    marked, _ = profile_and_truth()
    face(tmp_path, "a.jpg")
    face(tmp_path, "b.jpg", marked + 1)
    face(tmp_path, "c.jpg", ring(21))
    marked[3] = -2
    face(tmp_path, "d.jpg", marked + 1)
    write_image(tmp_path / "e.jpg")
    bad = {"c.jpg": "landmarks are not 68 or 39 points", "d.jpg": "a profile with unknown points"}
    account = check("menpo", tmp_path, "train")
    assert rules(account) == bad | {"e.jpg": "no .pts beside it"}
    account = check("menpo", tmp_path, "profile")
    assert (rules(account), account.kept) == (bad, 1)
    assert account.notes == ["1 files are without picture or .pts; split train names them"]
    assert rules(check("menpo", tmp_path, "semifrontal")).keys() == {"c.jpg"}


# ---- HELEN with 194 points


def helen_points():
    """194 points: eyes around (20, 15) and (32, 15), lips around (26, 30) between (19, 30) and (33, 30)."""
    points = ring(194, centre=(26, 22), radius=15)
    points[[0, 10, 20, 30]] = [11, 22], [41, 22], [26, 7], [26, 37]
    points[134:154], points[114:134] = ring(20, centre=(20, 15), radius=3), ring(20, centre=(32, 15), radius=3)
    lips = np.stack([np.linspace(19, 33, 14), np.full(14, 30.0)], -1)
    points[58:72], points[72:86] = lips, lips[::-1] * [0.9, 1] + [2.6, 1]
    return points


def annotate(root, number, name, points):
    body = "".join(f"{x:.6f} , {y:.6f}\n" for x, y in points)
    write(root / f"annotation/{number}.txt", f"{name}\n{body}")


@pytest.fixture
def helen(tmp_path):
    root = tmp_path / "helen"
    for number, name in ((1, "232194_1"), (2, "10405146_1"), (10, "9785_1")):
        annotate(root, number, name, helen_points())
        write_image(root / f"helen_{number % 5 + 1}/{name}.jpg", (52, 44), number)
    write(root / "trainnames.txt", "9785_1\n10405146_1 \n")
    write(root / "annotation/testnames.txt", "232194_1\n")
    return root


def test_helen_194_is_read_as_its_authors_publish_it(helen, tmp_path):
    accounts = roundtrip(specs()["helen194"], helen, tmp_path)
    assert [(a.split, a.kept, a.expected) for a in accounts.values()] == [
        ("train", 2, 2000),
        ("test", 1, 330),
        ("fsrnet_test", 3, 50),
    ]
    records = read_all(open_folder("helen194", helen))
    assert list(records) == ["9785_1.jpg", "10405146_1.jpg"]  # as the list has them
    record = records["9785_1.jpg"]
    want = [[20, 15], [32, 15], [np.nan, np.nan], [19, 30], [33, 30]]
    np.testing.assert_allclose(record["landmarks5_px"], want, atol=1e-4)
    np.testing.assert_allclose(record["box_px"], [11.5, 7.5, 41.5, 37.5])
    np.testing.assert_allclose(record["landmarks_px"], helen_points(), atol=1e-4)
    assert record["visible"].all()
    x0, y0, side = crops.square(crops.RULES["box"](record, 1.2))
    np.testing.assert_allclose((x0, y0, side), (8.5, 4.5, 36), atol=0.02)
    assert helen194.SPEC.counts["fsrnet_train"] == 2280


def test_a_mirror_takes_helens_eyes_brows_and_lips_to_the_other_side():
    """A face that is its own mirror image stays as it is: outline, nose and lips run across, eyes and brows inwards."""
    arc = lambda n, x0, x1, y, bulge: np.stack(
        [np.linspace(x0, x1, n), y + bulge * np.sin(np.linspace(0, np.pi, n))], -1
    )
    eye, brow = ring(20, centre=(20, 15), radius=3), arc(20, 14, 24, 9, -2)
    other = lambda points: [51, 0] + [-1, 1] * points
    face = np.concatenate(
        [
            *(arc(41, 11, 40, 22, 20), arc(17, 22, 29, 20, 5)),
            *(arc(13, 19, 32, 30, -3), arc(15, 32, 19, 30, 3), arc(14, 20, 31, 30, -1), arc(14, 31, 20, 30, 1)),
            *(other(eye), eye, other(brow), brow),
        ]
    ).astype(np.float32)
    np.testing.assert_allclose(geometry.mirror_landmarks(face, 52), face, atol=1e-4)
    names = np.array(aflw.NAMES)
    there = {"Left": "Right", "Right": "Left"}
    swapped = [re.sub("Left|Right", lambda m: there[m[0]], name) for name in names]
    assert names[geometry.FLIP_19].tolist() == swapped


def test_the_corners_of_a_mouth_follow_the_head_when_it_lies_on_its_side():
    c, s = np.cos(np.deg2rad(100)), np.sin(np.deg2rad(100))
    turn = np.array([[c, s], [-s, c]])
    upright = helen_points().astype(np.float32)
    got = helen194.five_points((upright @ turn).astype(np.float32))
    np.testing.assert_allclose(got, helen194.five_points(upright) @ turn, atol=1e-4)


def test_fsrnets_halves_of_helen_are_cut_before_the_last_50_names(tmp_path):
    names = [f"{number}_1" for number in range(100, 160)]
    for number, name in enumerate(names[::-1], 1):  # numbered the other way round
        write(tmp_path / f"annotation/{number}.txt", f"{name}\n")
        write(tmp_path / f"helen_1/{name}.jpg", "")
    wanted = [f"{name}.jpg" for name in names]
    assert [e.name for e in helen194.scan(tmp_path, "fsrnet_train").entries] == wanted[:10]
    assert [e.name for e in helen194.scan(tmp_path, "fsrnet_test").entries] == wanted[10:]


def test_helen_194_names_what_is_missing_or_broken(helen):
    for number, name in ((11, "a_1"), (12, "b_1"), (13, "c_1"), (14, "c_1"), (15, "")):
        annotate(helen, number, name, helen_points()[: 193 if name == "a_1" else 194])
    for name in ("a_1", "c_1"):
        write_image(helen / f"helen_1/{name}.jpg", (52, 44))
    cut_short(helen / "helen_1/c_1.jpg")
    write(helen / "trainnames.txt", "9785_1\na_1\nb_1\nc_1\nd_1\n")
    dropped = rules(check("helen194", helen, "train"))
    assert dropped.pop("c_1.jpg").startswith("cannot be decoded")
    assert dropped == {
        "a_1.jpg": "not a name and 194 lines x , y",
        "b_1.jpg": "no such picture",
        "d_1.jpg": "no annotation of it",
        "annotation/14.txt": "a second annotation of one picture",
        "annotation/15.txt": "no picture's name in its line 1",
    }
    write(helen / "trainnames.txt", "9785_1\na_1\n9785_1\n")
    with pytest.raises(ValueError, match=r"trainnames\.txt, line 3: a second line for 9785_1; keep one"):
        open_folder("helen194", helen)
    (helen / "trainnames.txt").unlink()
    with pytest.raises(ValueError, match=r"no trainnames\.txt in .*expected to hold\nannotation/1\.txt"):
        open_folder("helen194", helen)


# ---- AFLW

# In the order of their feature_id, from 1.
KINDS = [
    *("LeftBrowLeftCorner", "LeftBrowCenter", "LeftBrowRightCorner"),
    *("RightBrowLeftCorner", "RightBrowCenter", "RightBrowRightCorner"),
    *("LeftEyeLeftCorner", "LeftEyeCenter", "LeftEyeRightCorner"),
    *("RightEyeLeftCorner", "RightEyeCenter", "RightEyeRightCorner"),
    *("LeftEar", "NoseLeft", "NoseCenter", "NoseRight", "RightEar"),
    *("MouthLeftCorner", "MouthCenter", "MouthRightCorner", "ChinCenter"),
]
SCHEMA = """
CREATE TABLE Databases (db_id TEXT PRIMARY KEY, path TEXT, description TEXT);
CREATE TABLE Faces (face_id INTEGER PRIMARY KEY AUTOINCREMENT, file_id TEXT NOT NULL, db_id TEXT NOT NULL);
CREATE TABLE FaceImages (image_id INTEGER PRIMARY KEY AUTOINCREMENT, db_id TEXT, file_id TEXT, filepath TEXT,
  bw INTEGER, width INTEGER, height INTEGER);
CREATE TABLE FaceRect (face_id INTEGER PRIMARY KEY, x INTEGER, y INTEGER, w INTEGER, h INTEGER, annot_type_id INTEGER);
CREATE TABLE FacePose (face_id INTEGER PRIMARY KEY, roll REAL, pitch REAL, yaw REAL, annot_type_id INTEGER);
CREATE TABLE FeatureCoords (face_id INTEGER, feature_id INTEGER, x REAL, y REAL, annot_type_id INTEGER,
  PRIMARY KEY (face_id, feature_id));
CREATE TABLE FeatureCoordTypes (feature_id INTEGER PRIMARY KEY, descr TEXT, code TEXT, x REAL, y REAL, z REAL);
"""
FIVE = {"LeftEyeCenter": (40, 30), "RightEyeCenter": (60, 31), "NoseCenter": (51, 42), "MouthLeftCorner": (43, 52)}


def aflw_copy(root, faces):
    """Faces (picture, rectangle, (roll, pitch, yaw), points by name), None for what has no row."""
    (root / "data").mkdir(parents=True)
    database = sqlite3.connect(root / "data/aflw.sqlite")
    with database:
        database.executescript(SCHEMA)
        kinds = [(i, name, str(i), 0, 0, 0) for i, name in enumerate(KINDS, 1)]
        database.executemany("INSERT INTO FeatureCoordTypes VALUES (?,?,?,?,?,?)", kinds)
        for face_id, (picture, box, pose, points) in enumerate(faces, 39341):
            file_id = picture.rpartition("/")[2]
            database.execute("INSERT INTO Faces VALUES (?,?,'AFLW')", (face_id, file_id))
            if not database.execute("SELECT 1 FROM FaceImages WHERE file_id = ?", (file_id,)).fetchone():
                image = ("AFLW", file_id, picture, 0, 120, 100)
                insert = "INSERT INTO FaceImages (db_id, file_id, filepath, bw, width, height) VALUES (?,?,?,?,?,?)"
                database.execute(insert, image)
            if box:
                database.execute("INSERT INTO FaceRect VALUES (?,?,?,?,?,1)", (face_id, *box))
            if pose is not None:
                database.execute("INSERT INTO FacePose VALUES (?,?,?,?,1)", (face_id, *pose))
            rows = [(face_id, KINDS.index(name) + 1, *xy) for name, xy in points.items()]
            database.executemany("INSERT INTO FeatureCoords VALUES (?,?,?,?,1)", rows)
    database.close()
    for seed, picture in enumerate(dict.fromkeys(picture for picture, *_ in faces)):
        write_image(root / "data/flickr" / picture, (120, 100), seed)
    return root


def test_aflw_is_read_from_its_database(tmp_path):
    root = aflw_copy(
        tmp_path / "aflw",
        [
            ("0/image00002.jpg", (35, 20, 30, 30), np.deg2rad([10, -20, 30]), FIVE | {"LeftBrowCenter": (41, 25)}),
            ("3/image09.jpg", (-4, 5, 20, 20), None, {"LeftEyeCenter": (3, 9), "NoseCenter": (-1, -1)}),
            ("0/image00002.jpg", (80, 40, 20, 20), (0, 0, 6.5), {}),
        ],
    )
    account = roundtrip(specs()["aflw"], root, tmp_path)["full"]
    assert (account.found, account.kept, account.expected) == (3, 3, 25_993)
    source = open_folder("aflw", root)
    first, second, third = (source[i] for i in range(3))
    assert [r["name"] for r in (first, second, third)] == ["0/image00002.jpg", "3/image09.jpg", "0/image00002.jpg#2"]
    np.testing.assert_allclose(first["pose_deg"], [30, -20, -10], atol=1e-4)  # roll changes its sign
    assert np.isnan(second["pose_deg"]).all()
    assert np.isnan(third["pose_deg"]).all()
    assert source.notes == ["1 faces have an angle beyond ±π: their pose is unknown", "1 faces have no pose"]
    # Three sides of 30 px around (50, 35): the region begins at (5, -10), cut to (5, 0), and ends at (95, 80).
    assert first["image"].shape == (80, 90, 3)
    np.testing.assert_array_equal(first["box_px"], [30, 20, 60, 50])
    want = [(35, 30), (55, 31), (46, 42), (38, 52), (np.nan, np.nan)]
    np.testing.assert_array_equal(first["landmarks5_px"], want)
    # Around (6, 15): from (-24, -15), cut to (0, 0), to (36, 45).
    assert second["image"].shape == (45, 36, 3)
    np.testing.assert_array_equal(second["landmarks5_px"][:3], [(3, 9), (np.nan,) * 2, (np.nan,) * 2])
    assert first["landmarks_px"].shape == (19, 2)
    marked = dict(zip(aflw.NAMES, first["landmarks_px"], strict=True))
    np.testing.assert_array_equal(marked["LeftBrowCenter"], (36, 25))
    assert [name for name, seen in zip(aflw.NAMES, first["visible"], strict=True) if seen] == [
        *("LeftBrowCenter", "LeftEyeCenter", "RightEyeCenter", "NoseCenter", "MouthLeftCorner")
    ]
    assert not third["visible"].any()
    assert crops.square(crops.RULES["box"](first, 1.2)) == (45 - 18, 35 - 18, 36)


def test_aflw_names_what_is_missing_or_broken(tmp_path):
    root = aflw_copy(
        tmp_path,
        [
            ("0/a.jpg", (10, 10, 30, 30), None, {}),
            ("0/a.jpg", (10, 10, 0, 30), None, {}),
            ("0/a.jpg", None, None, {}),
            ("0/a.jpg", (300, 10, 30, 30), None, {}),
            ("0/a.jpg", (10, 10, 30, 30), None, {"NoseCenter": (500, 500)}),
            ("2/b.jpg", (10, 10, 30, 30), None, {}),
            ("2/c.jpg", (10, 10, 30, 30), None, {}),
        ],
    )
    (root / "data/flickr/2/b.jpg").unlink()
    cut_short(root / "data/flickr/2/c.jpg")
    account = check("aflw", root, "full")
    dropped = rules(account)
    assert dropped.pop("2/c.jpg").startswith("cannot be decoded")
    assert dropped.pop("0/a.jpg#4").endswith("box outside the picture")
    assert dropped == {
        "0/a.jpg#2": "face rectangle without width or height",
        "0/a.jpg#3": "no face rectangle",
        "0/a.jpg#5": "every landmark lies outside the picture",
        "2/b.jpg": "no such picture",
    }
    assert (account.found, account.kept) == (7, 1)
    with pytest.raises(ValueError, match=r"no AFLWinfo_release\.mat in .*expected to hold\ndata/aflw\.sqlite"):
        open_folder("aflw", root, "train")
    write(root / "data/aflw.sqlite", "no database, and longer than a header of a hundred bytes. " * 3)
    with pytest.raises(ValueError, match=r"aflw\.sqlite: not AFLW's database \(file is not a database\)"):
        open_folder("aflw", root)
    (root / "data/aflw.sqlite").unlink()
    with pytest.raises(ValueError, match=r"no .*aflw\.sqlite; it is in aflw-db\.tar\.gz"):
        open_folder("aflw", root)


def test_aflw_19s_list_gives_the_splits_of_the_papers(tmp_path, monkeypatch):
    monkeypatch.setattr(aflw, "TRAIN", 2)
    pictures = ["0/a.jpg", "2/b.jpg", "0/a.jpg"]
    for seed, picture in enumerate(pictures[:2]):
        write_image(tmp_path / "data/flickr" / picture, (120, 100), seed)
    names = np.empty((3, 1), object)
    names[:, 0] = pictures
    data = np.concatenate([np.tile(np.arange(19.0) + 40, (3, 1)), np.tile(np.arange(19.0) + 30, (3, 1))], -1)
    data[2] += 1
    mask = np.ones((3, 19))
    mask[2, 4] = 0
    mat = {
        "nameList": names,
        "bbox": np.array([[40, 70, 20, 55]] * 3, float),
        "data": data,
        "mask_new": mask,
        "ra": np.array([[3, 1, 2]], float),
    }
    savemat(tmp_path / "AFLWinfo_release.mat", mat)
    train, test = open_folder("aflw", tmp_path, "train"), open_folder("aflw", tmp_path, "test")
    assert [e.name for e in train.entries] == ["0/a.jpg#2", "0/a.jpg"]
    assert [e.name for e in test.entries] == ["2/b.jpg"]
    entry = train.entries[0]
    labels = aflw.read(tmp_path, entry)
    np.testing.assert_array_equal(labels["box_px"], [40, 20, 70, 55])  # left, right, top, bottom
    np.testing.assert_array_equal(labels["landmarks5_px"], [[41 + i, 31 + i] for i in (7, 10, 13, 15, 17)])
    assert np.isnan(labels["pose_deg"]).all()
    np.testing.assert_array_equal(labels["landmarks_px"], [[41 + i, 31 + i] for i in range(19)])
    assert np.flatnonzero(~labels["visible"]).tolist() == [4]  # placed by hand, hidden
    assert list(aflw.NAMES) == [name for name in KINDS if "Ear" not in name]
    savemat(tmp_path / "AFLWinfo_release.mat", mat | {"ra": np.array([[3, 1, 1]], float)})
    with pytest.raises(
        ValueError, match=r"AFLWinfo_release\.mat: nameList, bbox, data, mask_new and ra are not of equally many"
    ):
        open_folder("aflw", tmp_path, "test")


def nineteen(five):
    """The landmarks of a Face of ``aflw`` of which five are known."""
    points = np.full((19, 3), np.nan)
    points[aflw.FIVE] = np.concatenate([five, np.ones((5, 1))], -1)
    return tuple(points.ravel().tolist())


def head(yaw, pitch, roll, rng):
    """Eyes, nose and mouth corners of a head at a pose, as a Face of ``aflw`` without other landmarks."""
    points = np.array([[-3, -3, 0], [3, -3, 0], [0, 0, 3], [-2, 3, 0.5], [2, 3, 0.5]], np.float32)
    y, p, r = np.deg2rad([-yaw, pitch, roll])
    R = Rotation.from_euler("XYZ", [p, y, r]).as_matrix()  # Rx(pitch) Ry(-yaw) Rz(roll), as geometry says
    xy = (points @ R.T)[:, :2] * 8 + 60 + rng.normal(0, 0.5, (5, 2))
    return ("a", "a", (0.0,) * 4, (yaw, pitch, roll), nineteen(xy))


def test_angles_of_the_other_sign_are_noticed():
    rng = np.random.default_rng(1)
    faces = [head(*rng.uniform(-45, 45, 3).tolist(), rng) for _ in range(60)]
    assert aflw.sign_notes(faces) == []
    for axis, name in enumerate(geometry.POSE_NAMES):
        turned = [(*a, tuple(-v if i == axis else v for i, v in enumerate(pose)), points) for *a, pose, points in faces]
        (note,) = aflw.sign_notes(turned)
        assert note.startswith(f"{name} seems to have the other sign here")
    assert aflw.sign_notes(turned[:10]) == []  # too few faces


def test_the_real_aflw2000_has_the_signs_that_aflw_is_held_to(shared):
    source = open_folder("aflw2000", shared / "faces/val/aflw2000")
    records = [source[i] for i in range(len(source))]
    numbers = lambda array: tuple(array.ravel().tolist())
    faces = [("a", "a", (0.0,) * 4, numbers(r["pose_deg"]), nineteen(r["landmarks5_px"])) for r in records]
    assert aflw.sign_notes(faces) == []
    mirrored = [(*a, (-yaw, -pitch, -roll), points) for *a, (yaw, pitch, roll), points in faces]
    assert len(aflw.sign_notes(mirrored)) == 3


# ---- WIDER FACE

BOXES = """0--Parade/0_Parade_marchingband_1_849.jpg
1
20 10 30 40 0 0 0 0 0 0 \n0--Parade/0_Parade_Parade_0_452.jpg
0
0 0 0 0 0 0 0 0 0 0 \n9--Press_Conference/9_Press_9_1.jpg
6
78 21 7 8 2 0 0 0 0 0 \n60 20 20 20 0 0 0 0 2 1 \n10 10 20 20 0 0 0 1 0 0 \n10 10 0 20 0 0 0 0 0 0 \n\
300 10 20 20 0 0 0 0 0 0 \n40 40 16 16 0 0 0 0 0 0 \n"""


@pytest.fixture
def wider(tmp_path):
    root = tmp_path / "wider"
    for half in ("train", "val"):
        write(root / f"wider_face_split/wider_face_{half}_bbx_gt.txt", BOXES)
        for seed, line in enumerate(line for line in BOXES.splitlines() if line.endswith(".jpg")):
            write_image(root / f"WIDER_{half}/images/{line}", (100, 90), seed)
    return root


def test_wider_face_is_read_box_by_box(wider, tmp_path):
    accounts = roundtrip(specs()["wider_face"], wider, tmp_path)
    assert {a.split: (a.found, a.kept, a.expected) for a in accounts.values()} == {
        "train": (7, 3, 159_424),
        "val": (7, 3, 39_708),
        # By the longer side: five boxes of 16 to 24 px, of which three cannot be used, and one of 8 to 12.
        "val_16px": (5, 2, 0),
        "val_8px": (1, 1, 0),
    }
    account = accounts["val"]
    assert account.notes == ["1 pictures have no face"]
    dropped, press = rules(account), "9--Press_Conference/9_Press_9_1.jpg"
    assert dropped.pop(f"{press}#5").endswith("box outside the picture")
    assert dropped == {
        press: "box under 16 pixels",
        f"{press}#3": "marked invalid",
        f"{press}#4": "box without width or height",
    }
    small = {split: list(read_all(open_folder("wider_face", wider, split))) for split in wider_face.SMALL_PX}
    assert small == {"val_16px": [f"{press}#2", f"{press}#6"], "val_8px": [press]}
    records = read_all(open_folder("wider_face", wider, "val"))
    assert list(records) == ["0--Parade/0_Parade_marchingband_1_849.jpg", f"{press}#2", f"{press}#6"]
    record = records[f"{press}#2"]
    # Three sides of 20 px around (70, 30): from (40, 0) to (100, 60).
    assert record["image"].shape == (60, 60, 3)
    np.testing.assert_array_equal(record["box_px"], [20, 20, 40, 40])
    assert crops.square(crops.RULES["box"](record, 1.3)) == (17, 17, 26)
    for key in ("pose_deg", "landmarks_px", "landmarks5_px"):
        assert np.isnan(record[key]).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n0--Parade/0_Parade_Parade_0_452.jpg", "\n17", r"line 4: '17'; expected a picture, 0--Parade/NAME\.jpg"),
        (
            "\n1\n",
            "\none\n",
            r"line 2: 'one'; expected the number of faces of 0--Parade/0_Parade_m",
        ),
        ("20 10 30 40 0 0 0 0 0 0", "20 10 30 40 0 0 0 0 0", r"line 3: .*; expected the 10 numbers of a face"),
        ("20 10 30 40", "20 10 30.5 40", r"line 3: .*; expected the 10 numbers of a face"),
        ("0 0 0 0 0 0 0 0 0 0 \n", "", r"line 6: '9--Press_Conference.*; expected the 10 numbers of a face"),
        ("\n6\n", "\n7\n", r"line 15: ''; expected the 10 numbers of a face"),
        ("\n6\n", "\n5\n", r"line 14: '40 40 16 16.*; expected a picture"),
    ],
)
def test_a_malformed_list_of_wider_face_names_the_line(wider, old, new, message):
    file = wider / "wider_face_split/wider_face_train_bbx_gt.txt"
    assert old in BOXES
    write(file, BOXES.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"wider_face_train_bbx_gt\.txt, {message}"):
        list(wider_face.read_boxes(file))


def test_wider_face_names_what_is_missing(wider):
    press = "9--Press_Conference/9_Press_9_1.jpg"
    cut_short(wider / f"WIDER_train/images/{press}")
    (wider / "WIDER_train/images/0--Parade/0_Parade_marchingband_1_849.jpg").unlink()
    with pytest.raises(BadRecord, match=r"9_Press_9_1\.jpg: cannot be decoded"):
        open_folder("wider_face", wider)[0]
    dropped = rules(check("wider_face", wider, "train"))
    assert dropped["0--Parade/0_Parade_marchingband_1_849.jpg"] == "no such picture"
    assert dropped[f"{press}#2"].startswith("cannot be decoded")
    with pytest.raises(ValueError, match="has no split 'test'"):
        open_folder("wider_face", wider, "test")
    (wider / "wider_face_split/wider_face_val_bbx_gt.txt").unlink()
    with pytest.raises(ValueError, match=r"no wider_face_val_bbx_gt\.txt in .*expected to hold\nWIDER_train/images"):
        open_folder("wider_face", wider, "val")
