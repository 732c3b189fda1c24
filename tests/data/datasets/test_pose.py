"""300W-LP, AFLW2000-3D, BIWI and Pointing'04 on tiny copies in their true formats, and on real files where present."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.spatial.transform import Rotation
from support.official_layouts import cut_short, read_all, roundtrip, rules, write_image

from jfsr import geometry
from jfsr.data import crops
from jfsr.data.datasets import biwi, checking, official, specs, w300lp
from jfsr.data.records import BadRecord, Pictures

RNG = np.random.default_rng(0)


def para(yaw, pitch, roll):
    """Pose_Para [1, 7] of degrees."""
    return np.array([[*np.deg2rad([pitch, yaw, roll]), 220, 230, 0, 1e-3]], np.float32)


def open_folder(name, root, split=""):
    return official.OfficialFolder(specs()[name], root, split=split)


# ---- AFLW2000-3D


@pytest.fixture
def aflw2000(tmp_path):
    """Two faces in AFLW2000-3D's layout; jaw and chin at Matlab's first and last pixel."""
    root = tmp_path / "AFLW2000"
    for index in (2, 10):
        write_image(root / f"image{index:05}.jpg", (45, 45), index)
        points = RNG.uniform(1, 45, (3, 68)).astype(np.float32)
        points[:2, 0], points[:2, 8] = 1, 45
        labels = {"Pose_Para": para(-30, index, 100), "pt3d_68": points, "pt2d": -np.ones((2, 21))}
        savemat(root / f"image{index:05}.mat", labels)
    return root


def test_aflw2000_is_read_as_its_authors_publish_it(aflw2000, tmp_path):
    source = open_folder("aflw2000", aflw2000)
    assert isinstance(source, Pictures)
    assert list(read_all(source)) == ["image00002.jpg", "image00010.jpg"]
    record = source[1]
    np.testing.assert_allclose(record["pose_deg"], [-30, 10, 100], rtol=1e-5)
    np.testing.assert_array_equal(record["landmarks_px"][[0, 8]], [[0, 0], [44, 44]])
    np.testing.assert_array_equal(record["landmarks5_px"][2], record["landmarks_px"][30])
    assert record["visible"].all()
    assert record["image"].shape == (45, 45, 3)
    # As Hopenet reads them, points from 1 to 45: x0 = 1 - .4·44 = -16.6, x1 = 45 + .4·61.6 = 69.6,
    # y1 = 45 + .12·61.6 = 52.4; -16 -16 69 52, whose centre square has 68 px.
    assert crops.square(crops.RULES["hopenet_aflw2000"](record, 0.0)) == (-7.5, -16, 68)
    account = roundtrip(specs()["aflw2000"], aflw2000, tmp_path)["test"]
    assert "found 2, kept 2, dropped 0; the complete set has 2,000: NOT matched" in account.text()


def test_aflw2000_names_what_is_missing_or_broken(aflw2000, tmp_path):
    good = (aflw2000 / "image00002.mat").read_bytes()
    faults = {
        "image00011": "no .mat beside it",
        "image00012": "not a .mat with Pose_Para and pt3d_68",
        "image00013": "not a .mat with Pose_Para and pt3d_68",
        "image00014": "not a .mat with Pose_Para and pt3d_68",
        "image00015": "landmarks are not 68 points",
        "image00016": "Pose_Para does not begin with three angles",
        "image00017": "every landmark lies outside the picture",
        "image00018": "cannot be decoded",
    }
    for seed, name in enumerate(faults):
        write_image(aflw2000 / f"{name}.jpg", (45, 45), seed)
        (aflw2000 / f"{name}.mat").write_bytes(good)
    mats = {
        "image00014": {"Pose_Para": para(0, 0, 0)},
        "image00015": {"Pose_Para": para(0, 0, 0), "pt3d_68": np.ones((3, 21))},
        "image00016": {"Pose_Para": para(np.nan, 0, 0), "pt3d_68": np.ones((3, 68))},
        "image00017": {"Pose_Para": para(0, 0, 0), "pt3d_68": np.full((3, 68), 99.0)},
    }
    for name, mat in mats.items():
        savemat(aflw2000 / f"{name}.mat", mat)
    (aflw2000 / "image00011.mat").unlink()
    (aflw2000 / "image00012.mat").write_bytes(b"no Matlab")
    cut_short(aflw2000 / "image00013.mat")
    cut_short(aflw2000 / "image00018.jpg")
    account = roundtrip(specs()["aflw2000"], aflw2000, tmp_path)["test"]
    assert (account.found, account.kept) == (10, 2)
    dropped = rules(account)
    assert dropped.keys() == {f"{name}.jpg" for name in faults}
    for name, rule in faults.items():
        assert dropped[f"{name}.jpg"].startswith(rule), (name, dropped[f"{name}.jpg"])
    assert "dropped 3 × not a .mat with Pose_Para and pt3d_68: image00012.jpg, image00013.jpg" in account.text()
    assert open_folder("aflw2000", aflw2000).skipped == [("image00011.jpg", "no .mat beside it")]
    with pytest.raises(BadRecord, match=r"image00012\.mat: not a \.mat with Pose_Para and pt3d_68"):
        open_folder("aflw2000", aflw2000)[2]


def test_some_landmarks_outside_or_unknown_are_counted_and_kept(aflw2000, tmp_path):
    points = RNG.uniform(1, 45, (3, 68))
    points[0, 5] = 47  # one that lies outside
    points[:2, 6] = -1  # one that is unknown
    savemat(aflw2000 / "image00010.mat", {"Pose_Para": para(0, 0, 120), "pt3d_68": points})
    account = roundtrip(specs()["aflw2000"], aflw2000, tmp_path)["test"]
    kept = {rule for name, rule in account.remarks if name == "image00010.jpg"}
    assert {"some landmarks outside the picture", "some landmarks unknown"} <= kept
    record = open_folder("aflw2000", aflw2000)[1]
    assert np.isnan(record["landmarks_px"][6]).all()
    assert not record["visible"][6]
    assert record["pose_deg"][2] == pytest.approx(120)  # the data set keeps angles beyond ±99°


def test_the_real_aflw2000_has_its_landmarks_on_the_face_and_poses_of_the_convention(shared):
    source = open_folder("aflw2000", shared / "faces/val/aflw2000")
    faces = [source[i] for i in range(len(source))]
    assert (len(faces), source.skipped) == (64, [])
    pose = np.stack([f["pose_deg"] for f in faces])
    near = np.abs(pose).max(1) < 60
    assert near.sum() > 30
    five = np.stack([f["landmarks5_px"] for f in faces])
    tilt = np.rad2deg(np.arctan2(*(five[:, 1] - five[:, 0]).T[::-1]))  # of the line between the eyes, y down
    assert np.corrcoef(tilt[near], pose[near, 2])[0, 1] > 0.9  # roll > 0 is clockwise
    nose = five[:, 2, 0] - five[:, :2, 0].mean(1)
    assert np.corrcoef(nose[near], pose[near, 0])[0, 1] < -0.7  # yaw > 0 is to the viewer's left
    account = checking.check(specs()["aflw2000"], shared / "faces/val/aflw2000", workers=1)[0][0]
    assert (account.found, account.kept) == (64, 64)


# ---- 300W-LP


def lp_face(root, subset, name, *, pose, points, variants=None, flip=False, size=60):
    """One face in 300W-LP's layout: ``pt2d`` as given, ``pts_3d`` 2 px further right."""
    path = root / (subset + "_Flip" * flip) / name
    image = path.with_suffix(".jpg")
    write_image(image, (size, size), sum(map(ord, name)) + flip)
    savemat(path.with_suffix(".mat"), {"Pose_Para": pose, "pt2d": points.T, "roi": np.zeros((1, 4), np.int16)})
    if variants is not None:
        (root / "landmarks" / subset).mkdir(parents=True, exist_ok=True)
        file = root / "landmarks" / subset / f"{name}_pts.mat"
        savemat(file, {"pts_2d": (variants + 1).astype(np.float32), "pts_3d": variants.astype(np.float32)})


def lp_copy(root, *, repeated=False, variants=True):
    """Two photographs with three and two poses, and one pose mirrored."""
    fixed = RNG.uniform(5, 55, (68, 2))
    for subset, photograph, poses in (("AFW", "AFW_134212_1", 3), ("LFPW", "LFPW_image_train_0001", 2)):
        for pose in range(poses):
            points = fixed if repeated else RNG.uniform(5, 55, (68, 2))
            options = {"variants": RNG.uniform(5, 55, (68, 2)) if variants else None}
            lp_face(root, subset, f"{photograph}_{pose}", pose=para(20 * pose, -5, 8), points=points, **options)
    lp_face(root, "AFW", "AFW_134212_1_0", pose=para(-11, 3, -4), points=fixed, flip=True)
    return root


def test_300w_lp_is_read_as_its_authors_publish_it(tmp_path):
    root = lp_copy(tmp_path / "300W_LP")
    source = open_folder("300w_lp", root.parent)  # the folder around it will do
    assert list(read_all(source)) == [
        *(f"AFW/AFW_134212_1_{i}.jpg" for i in range(3)),
        *(f"LFPW/LFPW_image_train_0001_{i}.jpg" for i in range(2)),
    ]
    assert [int(source[i]["identity"]) for i in range(5)] == [0, 0, 0, 1, 1]
    assert source.people == ["AFW_134212_1", "LFPW_image_train_0001"]
    np.testing.assert_allclose(source[2]["pose_deg"], [40, -5, 8], rtol=1e-5)
    assert "AFW has 3 of 5,207 pictures" in source.notes
    accounts = roundtrip(specs()["300w_lp"], root, tmp_path)
    assert [(a.found, a.kept) for a in accounts.values()] == [(5, 5), (1, 1)]
    assert "the complete set has 61,225: NOT matched" in accounts["train"].text()


def test_300w_lps_landmarks_are_pts_3d_and_without_them_pt2d(tmp_path):
    ramp = np.stack([np.linspace(1, 60, 68), np.linspace(60, 1, 68)], -1)  # Matlab's first to last pixel
    lp_face(tmp_path, "AFW", "AFW_1_1_0", pose=para(0, 0, 0), points=ramp + np.array([0, 99]), variants=ramp)
    missing = ramp.copy()
    missing[3] = -1
    lp_face(tmp_path, "AFW", "AFW_1_1_1", pose=para(30, 0, 0), points=missing)
    source = open_folder("300w_lp", tmp_path)
    first, second = source[0], source[1]
    np.testing.assert_allclose(first["landmarks_px"], ramp - 1, atol=1e-5)
    np.testing.assert_allclose(np.delete(second["landmarks_px"], 3, 0), np.delete(ramp, 3, 0) - 1, atol=1e-5)
    assert np.isnan(second["landmarks_px"][3]).all()
    np.testing.assert_array_equal(second["visible"], np.arange(68) != 3)
    assert "1 faces have no pts_3d in landmarks/; pt2d instead" in source.notes
    # As Hopenet reads them, points from 1 to 60, k = .3: x0 = 1 - .18·59 = -9.6, y0 = 1 - .6·59 = -34.4,
    # x1 = 60 + .18·69.6 = 72.5, y1 = 60 + .18·94.4 = 77 - 1e-2; -9 -34 72 76, whose centre square has 81 px.
    x0, y0, side = crops.square(crops.RULES["hopenet_300wlp"](first, 0.3))
    assert (x0, y0, side) == (-9, -19.5, 81)


def test_a_mirrored_300w_lp_face_is_the_mirror_of_its_original(tmp_path):
    root = lp_copy(tmp_path)
    original, flipped = open_folder("300w_lp", root)[0], open_folder("300w_lp", root, "flipped")[0]
    assert flipped["name"] == "AFW_Flip/AFW_134212_1_0.jpg"
    np.testing.assert_allclose(flipped["pose_deg"], [-11, 3, -4], rtol=1e-5)  # from its own .mat
    for i in range(68):  # pixel 0 of 60 becomes 59
        x, y = original["landmarks_px"][geometry.FLIP_68[i]]
        np.testing.assert_allclose(flipped["landmarks_px"][i], [59 - x, y], atol=1e-4)


def test_the_known_bad_copy_of_300w_lp_is_recognised(tmp_path):
    good = open_folder("300w_lp", lp_copy(tmp_path / "good"))
    assert not any("duplicated landmarks" in note for note in good.notes)
    beside = open_folder("300w_lp", lp_copy(tmp_path / "beside", repeated=True))
    assert any("known bad copy with duplicated landmarks" in note for note in beside.notes)
    assert np.isfinite(beside[0]["landmarks_px"]).all()  # landmarks/ is right
    bad = open_folder("300w_lp", lp_copy(tmp_path / "bad", repeated=True, variants=False))
    assert "5 faces have no pts_3d in landmarks/; none instead" in bad.notes
    assert np.isnan(bad[0]["landmarks_px"]).all()  # rather unknown than wrong
    assert np.isfinite(bad[0]["pose_deg"]).all()
    alike = tmp_path / "alike"  # one pose twice may have its landmarks twice
    for i in range(2):
        lp_face(alike, "IBUG", f"IBUG_image_011_1_{i}", pose=para(9, 0, 0), points=np.full((68, 2), 30.0))
    assert not any("duplicated" in note for note in open_folder("300w_lp", alike).notes)


def test_300w_lp_names_what_is_missing_or_broken(tmp_path):
    root = lp_copy(tmp_path)
    (root / "AFW/AFW_134212_1_0.mat").unlink()
    (root / "AFW/AFW_134212_1_1.mat").write_bytes(b"")
    cut_short(root / "AFW/AFW_134212_1_2.jpg")
    savemat(root / "landmarks/LFPW/LFPW_image_train_0001_0_pts.mat", {"pts_2d": np.ones((68, 2))})
    account = roundtrip(specs()["300w_lp"], root, tmp_path)["train"]
    dropped = rules(account)
    assert dropped.pop("AFW/AFW_134212_1_2.jpg").startswith("cannot be decoded")
    assert dropped == {
        "AFW/AFW_134212_1_0.jpg": "no .mat beside it",
        "AFW/AFW_134212_1_1.jpg": "not a .mat with Pose_Para",
        "LFPW/LFPW_image_train_0001_0.jpg": "not a .mat with pts_3d",
    }
    with pytest.raises(ValueError, match=r"no folder AFW, HELEN, IBUG, LFPW in .*expected to hold\nAFW/AFW_134212"):
        open_folder("300w_lp", root / "landmarks" / "AFW")
    with pytest.raises(ValueError, match="no split 'flips'; did you mean 'flipped'"):
        open_folder("300w_lp", root, "flips")


@pytest.mark.parametrize(
    ("stem", "person"),
    [
        ("AFW_134212_1_17", "AFW_134212_1"),
        ("LFPW_image_train_0001_0", "LFPW_image_train_0001"),
        ("strange", "strange"),
        ("HELEN_x_y", "HELEN_x_y"),
    ],
)
def test_the_poses_of_a_photograph_are_one_person(stem, person):
    assert w300lp.person_of(stem) == person


# ---- BIWI

# rgb.cal and frame 3 of recording 12, as Hugging Face's data card quotes them.
CAL = """517.679 0 320
0 517.679 240.5
0 0 1

0 0 0 0

0.999947 0.00432361 0.00929419
-0.00446314 0.999877 0.0150443
-0.009228 -0.015085 0.999844

-24.0198 5.8896 -13.2308

640 480
"""
POSE = """0.980639 0.109899 0.162077
-0.11023 0.993882 -0.00697376
-0.161851 -0.011027 0.986754

43.4019 -30.7038 906.864
"""


def frame(root, recording, number, pose=POSE, image=None):
    path = root / recording / f"frame_{number:05}_rgb.png"
    drawn = root / "02" / "frame_00003_rgb.png"  # one picture for all: writing 640×480 takes the time
    if image is not None:
        Image.fromarray(image).save(path)
    elif drawn.exists():
        shutil.copyfile(drawn, path)
    else:
        write_image(path, (640, 480))
    path.with_name(f"frame_{number:05}_pose.txt").write_text(pose)
    return path


@pytest.fixture
def kinect(tmp_path):
    """Two recordings of one person and one of another."""
    root = tmp_path / "kinect"
    for recording in ("02", "12", "21"):
        (root / "faces_0" / recording).mkdir(parents=True)
        (root / "faces_0" / recording / "rgb.cal").write_text(CAL)
        frame(root / "faces_0", recording, 3)
    frame(root / "faces_0", "12", 4)
    (root / "faces_0/12/frame_00003_depth.bin").write_bytes(b"not read")
    return root


def test_biwi_is_read_as_its_authors_publish_it(kinect, tmp_path):
    source = open_folder("biwi", kinect)
    assert list(read_all(source)) == [
        "02/frame_00003_rgb.png",
        "12/frame_00003_rgb.png",
        "12/frame_00004_rgb.png",
        "21/frame_00003_rgb.png",
    ]
    assert source.people == ["02", "12"]
    assert [int(source[i]["identity"]) for i in range(4)] == [0, 1, 1, 0]  # 21 is the person of 02
    assert "recordings 01, 03, 04, 05, 06, 07, 08, 09, 10, 11, 13," in source.notes[0]
    record = source[1]
    # atan2(.162077, hypot(.980639, .109899)), atan2(-.00697376, .986754), atan2(-.109899, .980639)
    np.testing.assert_allclose(record["pose_deg"], [9.3276, -0.4049, -6.3943], atol=1e-3)
    # In the colour camera: x = 27.6756, y = -11.3610, z = 893.5544, so pixel 336.034, 233.918 and .57935 px a mm.
    box = [336.534 - 43.451, 234.418 - 55.038, 336.534 + 43.451, 234.418 + 55.038]
    np.testing.assert_allclose(record["box_px"], box, atol=2e-3)
    assert np.isnan(record["landmarks_px"]).all()
    # x0 = 293.083 - .21·86.90 = 274.83, x1 = 379.985 + .21·105.15 = 402.07, y0 = 179.38 - .35·110.08 = 140.85,
    # y1 = 289.456 + .21·148.6 = 320.66; 274 140 402 320, whose centre square has 128 px.
    assert crops.square(crops.RULES["hopenet_biwi"](record, 0.0)) == (274, 166, 128)
    account = roundtrip(specs()["biwi"], kinect, tmp_path)["full"]
    assert "found 4, kept 4, dropped 0; the complete set has 15,678: NOT matched" in account.text()


def test_twenty_people_made_biwi():
    people = {biwi.AGAIN.get(number, number) for number in biwi.RECORDINGS}
    assert (len(biwi.RECORDINGS), len(people)) == (24, 20)


@pytest.mark.parametrize("angles", [(0, 0, 0), (35, 0, 0), (-50, 20, 10), (0, -40, -25)])  # yaw, pitch, roll
def test_a_rendered_biwi_head_lies_in_its_box_and_looks_where_its_pose_says(kinect, angles):
    yaw, pitch, roll = angles
    R = Rotation.from_euler("XYZ", [-pitch, yaw, roll], degrees=True).as_matrix()  # z away from the viewer
    centre = np.array([-120.0, 60.0, 1000.0])
    # An independent camera: one 3×4 matrix from the lines of rgb.cal.
    lines = [line.split() for line in CAL.splitlines() if line]
    K, turn, shift = (np.array(lines[a:b], float) for a, b in ((0, 3), (4, 7), (7, 8)))
    camera = K @ np.hstack([turn, shift.T])

    def seen(point):
        u, v, w = camera @ [*point, 1.0]
        return np.array([u / w, v / w])

    # The head is a bright dot at its centre, the nose another one 100 mm before it.
    middle, nose = seen(centre), seen(centre + R @ [0, 0, -100])
    row, column = np.mgrid[:480, :640]
    dot = np.exp(-((column - middle[0]) ** 2 + (row - middle[1]) ** 2) / 18)
    image = np.repeat(np.round(255 * dot).astype(np.uint8)[..., None], 3, -1)
    text = "\n".join(" ".join(f"{v:.6f}" for v in line) for line in R) + "\n\n" + " ".join(map(str, centre)) + "\n"
    frame(kinect / "faces_0", "12", 3, text, image)
    record = open_folder("biwi", kinect)[1]
    np.testing.assert_allclose(record["pose_deg"], angles, atol=1e-3)
    weight = record["image"][..., 0].astype(float)
    centroid = [(weight * axis).sum() / weight.sum() for axis in (column, row)]
    x0, y0, x1, y1 = record["box_px"]
    np.testing.assert_allclose([(x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2], centroid, atol=0.05)
    # 100 mm along the convention's blue axis (z towards the viewer) is the nose; the 1° between the cameras is left.
    blue = np.asarray(geometry.rotation_from_pose(jnp.asarray(record["pose_deg"])))[:, 2] * 100
    scale = (x1 - x0) / biwi.FACE_MM[0]  # pixels per mm at the head
    depth, axis = K[0, 0] / scale, K[:2, 2]
    wanted = axis + K[0, 0] * ((middle - axis) / scale + blue[:2]) / (depth - blue[2])
    np.testing.assert_allclose(nose, wanted, atol=2.5)
    assert np.abs(nose - middle).max() > 15 or angles == (0, 0, 0)


def test_biwi_names_what_is_missing_or_broken(kinect, tmp_path):
    base = kinect / "faces_0"
    cases = {
        10: (POSE.replace("43.4019", "left"), "not three lines of R and one of the head's centre"),
        11: (POSE.rsplit("\n", 2)[0], "not three lines of R and one of the head's centre"),
        12: (POSE.replace("0.986754", "nan"), "not three lines of R and one of the head's centre"),
        13: (POSE.replace("0.980639", "0.880639"), "R is no rotation"),
        14: (POSE.replace("906.864", "-906.864"), "the head's centre lies outside the picture"),
        15: (POSE.replace("43.4019", "943.4019"), "the head's centre lies outside the picture"),
    }
    wanted = {}
    for number, (text, rule) in cases.items():
        frame(base, "12", number, text)
        wanted[f"12/frame_{number:05}_rgb.png"] = rule
    frame(base, "12", 16).with_name("frame_00016_pose.txt").unlink()
    frame(base, "12", 17).unlink()
    cut_short(frame(base, "12", 18))
    (base / "21/rgb.cal").unlink()
    wanted |= {
        "12/frame_00016_rgb.png": "no _pose.txt beside it",
        "12/frame_00017_rgb.png": "no picture for this pose",
        "21/frame_00003_rgb.png": "no rgb.cal beside it",
    }
    account = roundtrip(specs()["biwi"], kinect, tmp_path)["full"]
    dropped = rules(account)
    assert dropped.pop("12/frame_00018_rgb.png").startswith("cannot be decoded")
    assert dropped == wanted
    assert (account.found, account.kept) == (13, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CAL.replace("0 517.679 240.5", "0 517.679"), "line 2: '0 517.679'; it holds K"),
        (CAL.replace("640 480", "640 x"), "line 13: '640 x'; it holds K"),
        (CAL.replace("\n640 480\n", ""), "8 lines of numbers, not 9; it holds K"),
    ],
)
def test_a_malformed_calibration_names_its_line(kinect, text, message):
    (kinect / "faces_0/12/rgb.cal").write_text(text)
    with pytest.raises(ValueError, match=r"12/rgb\.cal.*" + message):
        open_folder("biwi", kinect)


def test_biwi_is_found_in_the_authors_archive_too(kinect):
    (kinect / "faces_0").rename(kinect / "hpdb")
    source = open_folder("biwi", kinect)
    assert (len(source), source[0]["name"]) == (4, "02/frame_00003_rgb.png")
    assert len(open_folder("biwi", kinect / "hpdb")) == 4
    (kinect / "hpdb/12/rgb.cal").write_text(CAL.replace("0 0 0 0", "0.1 0 0 0"))
    assert "the colour camera of recording 12 has distortion" in open_folder("biwi", kinect).notes[1]
    with pytest.raises(ValueError, match=r"no folder 01 to 24 in .*expected to hold\nfaces_0/01/frame_00003_rgb"):
        open_folder("biwi", kinect / "hpdb/12")


# ---- Pointing'04


@pytest.fixture
def pointing(tmp_path):
    """One person with boxes, another from the archive of 2004 without."""
    root = tmp_path / "HeadPoseImageDatabase"
    for series in (1, 2):
        for number, pose in ((0, "-90+0"), (46, "+0+15"), (92, "+60-75")):
            path = root / "Person01" / f"person01{series}{number:02}{pose}.jpg"
            write_image(path, (384, 288), series)
            path.with_suffix(".txt").write_text(f"{path.name}\n\nFace\n186\n144\n80\n100\n")
    write_image(root / "Person02-1" / "personne02123-30+45.jpg", (384, 288))
    write_image(root / "Front" / "person01146+0+0.jpg", (384, 288))
    return root


def test_pointing04_is_read_as_its_authors_publish_it(pointing, tmp_path):
    source = open_folder("pointing04", pointing)
    poses = {record["name"]: record["pose_deg"].tolist()[:2] for record in read_all(source).values()}
    assert poses == {
        "Person01/person01100-90+0.jpg": [0, -90],
        "Person01/person01146+0+15.jpg": [15, 0],
        "Person01/person01192+60-75.jpg": [-75, 60],
        "Person01/person01200-90+0.jpg": [0, -90],
        "Person01/person01246+0+15.jpg": [15, 0],
        "Person01/person01292+60-75.jpg": [-75, 60],
        "Person02-1/personne02123-30+45.jpg": [45, -30],
    }
    assert np.isnan([record["pose_deg"][2] for record in read_all(source).values()]).all()
    assert [int(source[i]["identity"]) for i in (0, 6)] == [0, 1]
    np.testing.assert_array_equal(source[0]["box_px"], [146, 94, 226, 194])
    assert crops.square(crops.RULES["box"](source[0], 1.2)) == (126, 84, 120)
    assert np.isnan(source[6]["box_px"]).all()
    assert source.notes == ["1 pictures have no .txt beside them; their box is unknown"]
    accounts = roundtrip(specs()["pointing04"], pointing, tmp_path)
    assert {s: (a.found, a.kept, a.expected) for s, a in accounts.items()} == {
        "full": (7, 7, 2790),
        "series1": (4, 4, 1395),
        "series2": (3, 3, 1395),
    }


def test_pointing04_names_what_is_missing_or_broken(pointing, tmp_path):
    base = pointing / "Person01"
    write_image(base / "face.jpg", (384, 288))
    write_image(base / "person01101+10+0.jpg", (384, 288))
    (base / "person01100-90+0.txt").write_text("person01100-90+0.jpg\n\nFace\n186\n144\n80\n")
    (base / "person01146+0+15.txt").write_text("person01146+0+15.jpg\n\nFace\n186\n144\n0\n100\n")
    cut_short(base / "person01192+60-75.jpg")
    dropped = rules(roundtrip(specs()["pointing04"], pointing, tmp_path)["full"])
    assert dropped.pop("Person01/person01192+60-75.jpg").startswith("cannot be decoded")
    assert dropped == {
        "Person01/face.jpg": "not named as person01146+0+15.jpg",
        "Person01/person01101+10+0.jpg": "no pose of the set",
        "Person01/person01100-90+0.jpg": "no line Face with centre x, centre y, width and height after it",
        "Person01/person01146+0+15.jpg": "a box without width or height",
    }
    with pytest.raises(ValueError, match=r"no folder Person01 in .*expected to hold\nPerson01/person01100-90"):
        open_folder("pointing04", base)
