"""CelebA, LFW, VGGFace2 and CFP in tiny copies of their official layouts: labels, pairs, crops, builds, faults."""

import collections
import os

import numpy as np
import pytest
from PIL import Image

from jfsr.data.crops import crop_record
from jfsr.data.datasets import building, celeba, celeba_wild, cfp, checking, lfw, official, vggface2
from jfsr.data.pairs import Pair
from jfsr.data.records import BadRecord, Pictures

SPECS = {spec.name: spec for spec in (celeba.SPEC, celeba_wild.SPEC, lfw.SPEC, vggface2.SPEC, cfp.SPEC)}


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def picture(file, size, points=()):
    """Black, with a white square at each point."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for x, y in points:
        image[y - 3 : y + 4, x - 3 : x + 4] = 255
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(file, quality=95)


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


# ---- The layouts


# The first face's labels are the real ones of 000001.jpg, as many web pages print them.
ALIGNED = [
    [69, 109, 106, 113, 77, 142, 73, 152, 108, 154],
    *([60 + i, 110, 110, 111, 85, 140, 70, 155, 105, 156] for i in range(4)),
]
WILD = [
    [165, 184, 244, 176, 196, 249, 194, 271, 266, 260],
    *([50 + i, 60, 90, 61, 70, 80, 55, 100, 85, 101] for i in range(4)),
]
BOXES = [[95, 71, 226, 313], [40, 30, 60, 90], [40, 30, 0, 0], [40, 30, 60, 90], [40, 30, 60, 90]]


def make_celeba(root):
    names = [f"{i:06}.jpg" for i in range(1, 6)]
    columns = " ".join(celeba.POINTS)
    row = lambda name, numbers: f"{name} " + " ".join(f"{n:3}" for n in numbers)
    table = lambda head, rows: f"5\n{head}\n" + "".join(row(n, r) + "\n" for n, r in zip(names, rows, strict=True))
    write(root / "Anno/list_landmarks_align_celeba.txt", table(columns, ALIGNED))
    write(root / "Anno/list_landmarks_celeba.txt", table(columns, WILD))
    write(root / "Anno/list_bbox_celeba.txt", table("image_id x_1 y_1 width height", BOXES))
    write(
        root / "Anno/identity_CelebA.txt",
        "".join(f"{n} {p}\n" for n, p in zip(names, (2880, 75, 2880, 9, 75), strict=True)),
    )
    write(
        root / "Eval/list_eval_partition.txt",
        "".join(f"{n} {p}\n" for n, p in zip(names, (0, 0, 0, 1, 2), strict=True)),
    )
    for name, aligned, wild in zip(names, ALIGNED, WILD, strict=True):
        picture(root / "img_align_celeba" / name, (178, 218), zip(aligned[::2], aligned[1::2], strict=True))
        picture(root / "img_celeba" / name, (409, 687), zip(wild[::2], wild[1::2], strict=True))


PEOPLE = {"AJ_Cook": 1, "Aaron_Peirsol": 3, "Al-Bo": 2, "Zico": 3}


def make_lfw(root):
    for person, count in PEOPLE.items():
        for i in range(1, count + 1):
            face = np.zeros((250, 250, 3), np.uint8)
            face[53:197, 53:197] = 255  # the central 144 pixels
            file = root / "lfw-deepfunneled" / person / f"{person}_{i:04}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(face).save(file, quality=95)
    write(root / "pairs.txt", "2\t1\nZico\t1\t3\nAJ_Cook\t1\tZico\t2\nAl-Bo\t2\t1\nAaron_Peirsol\t3\tAl-Bo\t1\n")
    write(root / "pairsDevTest.txt", "1\nAl-Bo\t1\t2\nAl-Bo\t1\tZico\t1\n")
    write(root / "pairsDevTrain.txt", "1\nAaron_Peirsol\t1\t2\nAaron_Peirsol\t1\tAJ_Cook\t1\n")
    write(root / "peopleDevTrain.txt", "2\nAaron_Peirsol\t3\nAJ_Cook\t1\n")
    write(root / "peopleDevTest.txt", "2\nAl-Bo\t2\nZico\t3\n")


# The first row of either list is real (public examples print it); the picture's size is made up.
VGG_BOX, VGG_POINTS = (
    "161,140,224,324",
    "239.4643,276.5054,349.8496,282.2599,311.2406,354.8974,236.0358,391.3312,342.1541,392.2661",
)


def make_vggface2(root):
    for split, people in (("train", {"n000002": 25, "n000003": 2}), ("test", {"n000001": 2})):
        boxes, points = ["NAME_ID,X,Y,W,H"], ["NAME_ID," + ",".join(f"P{i}{a}" for i in range(1, 6) for a in "XY")]
        for person, count in people.items():
            for i in range(1, count + 1):
                picture(
                    root / split / person / f"{i:04}_01.jpg",
                    (500, 600),
                    [(239, 277), (350, 282), (236, 391), (342, 392)],
                )
                boxes.append(f'"{person}/{i:04}_01",{VGG_BOX}')
                points.append(f'"{person}/{i:04}_01",{VGG_POINTS}')
        write(root / f"bb_landmark/loose_bb_{split}.csv", "\n".join(boxes) + "\n")
        write(root / f"bb_landmark/loose_landmark_{split}.csv", "\n".join(points) + "\n")


def make_cfp(root):
    frontal, profile = [], []
    for person in ("001", "002"):
        for view, count, names in (("frontal", 10, frontal), ("profile", 4, profile)):
            for i in range(1, count + 1):
                names.append(f"{person}/{view}/{i:02}.jpg")
                picture(root / "Data/Images" / names[-1], (40, 50))
    for letter, names in (("F", frontal), ("P", profile)):
        lines = "".join(f"{i} ../Data/Images/{name}\n" for i, name in enumerate(names, 1))
        write(root / f"Protocol/Pair_list_{letter}.txt", lines)
    for fold in range(1, 11):
        write(root / f"Protocol/Split/FP/{fold:02}/same.txt", f"{fold},1\n{fold + 10},8\n")
        write(root / f"Protocol/Split/FP/{fold:02}/diff.txt", f"{fold},5\n{fold + 10},4\n")
        write(root / f"Protocol/Split/FF/{fold:02}/same.txt", f"{fold},{fold % 10 + 1}\n")
        write(root / f"Protocol/Split/FF/{fold:02}/diff.txt", f"{fold},{fold + 10}\n")


MAKE = {"celeba": make_celeba, "celeba_wild": make_celeba, "lfw": make_lfw, "vggface2": make_vggface2, "cfp": make_cfp}
FACES = {
    "celeba": {"train": 3, "validation": 1, "test": 1, "full": 5},
    "celeba_wild": {"train": 2, "validation": 1, "test": 1, "full": 4},
    "lfw": {"full": 9, "view1_train": 4, "view1_test": 5},
    "vggface2": {"train": 27, "test": 2, "train22": 24},
    "cfp": {"full": 28, "frontal": 20, "profile": 8},
}


@pytest.fixture
def copy(tmp_path):
    """Makes the tiny copy of a set; gives its root."""

    def make(name):
        MAKE[name](tmp_path / name)
        return tmp_path / name

    return make


def open_folder(name, root, split=""):
    return official.OfficialFolder(SPECS[name], root, split=split)


def equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)
        assert np.asarray(a[key]).dtype == np.asarray(b[key]).dtype, key


# ---- What all have in common


@pytest.mark.parametrize("name", SPECS)
def test_a_set_is_read_built_and_read_back_the_same(copy, tmp_path, name):
    spec, root = SPECS[name], copy(name)
    builder, accounts = building.build(spec, root, dir=str(tmp_path / "built"), workers=1)
    assert {a.split: a.kept for a in accounts} == FACES[name]
    assert all("NOT matched" in a.text() for a in accounts)  # a tiny copy
    assert "1.0.0" in str(builder.data_path)
    for split, count in FACES[name].items():
        source, built = open_folder(name, root, split), building.Built(spec, str(tmp_path / "built"), split=split)
        assert isinstance(source, Pictures)
        assert isinstance(built, Pictures)
        assert len(source) == len(built) == count
        for i in range(count):
            equal(source[i], built[i])
            assert source[i]["name"] == source.name_of(i)
        if spec.pairs and (name, split) != ("cfp", "profile"):
            assert source.pairs() == built.pairs()


@pytest.mark.parametrize("name", SPECS)
def test_a_picture_cut_short_is_dropped_by_name(copy, name):
    root = copy(name)
    source = open_folder(name, root)
    file = root / source.entries[1].image
    file.write_bytes(file.read_bytes()[:-300])
    split = source.split_name
    (account,), _ = checking.check(SPECS[name], root, splits=(split,), workers=1)
    cut = [dropped for dropped in account.dropped if dropped[0] == source.entries[1].name]
    assert [rule.startswith("cannot be decoded") for _, rule in cut] == [True]
    assert account.kept == FACES[name][split] - 1


MISSING = [
    ("celeba", "img_align_celeba/000002.jpg", "no picture in img_align_celeba"),
    ("celeba_wild", "img_celeba/000002.jpg", "no picture in img_celeba"),
    ("lfw", "lfw-deepfunneled/Zico/Zico_0002.jpg", "no such picture"),
    ("vggface2", "train/n000003/0001_01.jpg", "no such picture"),
    ("cfp", "Data/Images/002/profile/03.jpg", "no such picture"),
]


@pytest.mark.parametrize(("name", "file", "rule"), MISSING)
def test_a_listed_picture_that_is_absent_is_dropped_and_counted(copy, name, file, rule):
    root = copy(name)
    if name == "lfw":  # without a list of people nothing says that there was a second Zico
        write(root / "lfw-names.txt", "".join(f"{person}\t{count}\n" for person, count in PEOPLE.items()))
    (root / file).unlink()
    source = open_folder(name, root)
    dropped = [face for face, why in source.skipped if why == rule]
    assert len(dropped) == 1
    assert file.endswith(dropped[0])
    assert f"1 × {rule}" in source.report()
    assert len(source) == FACES[name][source.split_name] - 1


LISTS = [
    ("celeba", "train", "Anno/list_landmarks_align_celeba.txt", "list_landmarks_align_celeba"),
    ("celeba", "train", "Eval/list_eval_partition.txt", "list_eval_partition"),
    ("celeba_wild", "full", "Anno/list_bbox_celeba.txt", "list_bbox_celeba"),
    ("lfw", "view1_train", "peopleDevTrain.txt", "peopleDevTrain.txt"),
    ("vggface2", "train", "bb_landmark/loose_landmark_train.csv", "loose_landmark_train.csv"),
    ("cfp", "profile", "Protocol/Pair_list_P.txt", "Pair_list_P.txt"),
]


@pytest.mark.parametrize(("name", "split", "file", "named"), LISTS)
def test_a_list_that_is_missing_is_named_with_the_layout(copy, name, split, file, named):
    root = copy(name)
    (root / file).unlink()
    with pytest.raises(ValueError, match=f"(?s){name}, split '{split}': .*{named}.*expected to hold\n"):
        open_folder(name, root, split)


FAULTS = [
    ("celeba", "Anno/list_landmarks_align_celeba.txt", "109", "x", "line 3: .*name and 10 whole number"),
    ("celeba", "Anno/list_landmarks_align_celeba.txt", "109", "", "line 3: .*name and 10 whole number"),
    ("celeba", "Anno/list_landmarks_align_celeba.txt", "nose_x", "nose_z", "line 2: .*its columns are lefteye_x"),
    ("celeba", "Anno/list_landmarks_align_celeba.txt", "000002.jpg", "000001.jpg", "line 4: a second line for 000001"),
    ("celeba", "Eval/list_eval_partition.txt", "000004.jpg 1", "000004.jpg 3", "line 4: .*one of 0, 1, 2"),
    ("celeba", "Anno/identity_CelebA.txt", "000003.jpg 2880", "000003.jpg", "line 3: .*1 whole number"),
    ("vggface2", "bb_landmark/loose_bb_train.csv", "161,140,224,324", "161,140,224", "line 2: 4 cells, not 5"),
    ("vggface2", "bb_landmark/loose_bb_train.csv", "161,", "wide,", "line 2: could not convert.*wide"),
    ("vggface2", "bb_landmark/loose_bb_train.csv", "n000002/0003", "n000002/0033", "line 4: .*must name one face"),
    (
        "vggface2",
        "bb_landmark/loose_landmark_train.csv",
        '"n000003/0002_01",' + VGG_POINTS,
        "",
        "line 28: 1 cells, not 11",
    ),
    ("cfp", "Protocol/Pair_list_F.txt", "3 ../Data", "3 ../Pictures", "line 3: .*a line is 1 ../Data/Images"),
    ("cfp", "Protocol/Pair_list_F.txt", "3 ../", "2 ../", "line 3: a second line for number 2"),
]


@pytest.mark.parametrize(("name", "file", "old", "new", "message"), FAULTS)
def test_a_malformed_list_names_the_line(copy, name, file, old, new, message):
    root = copy(name)
    edit(root / file, old, new)
    with pytest.raises(ValueError, match=message):
        open_folder(name, root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("AJ_Cook\t1", "AJ_Cook\tone", "line 3: .*a name and the number"),
        ("AJ_Cook\t1", "AJ_Cook", "line 3: .*a name and the number"),
        ("AJ_Cook\t1", "Aaron_Peirsol\t1", "line 3: a second line for Aaron_Peirsol"),
        ("2\n", "3\n", "line 1: '3' people, it lists 2"),
    ],
)
def test_a_malformed_list_of_people_names_the_line(copy, old, new, message):
    root = copy("lfw")
    edit(root / "peopleDevTrain.txt", old, new)
    with pytest.raises(ValueError, match=message):
        open_folder("lfw", root, "view1_train")


def outside(root, name, face):
    (account,), _ = checking.check(SPECS[name], root, splits=("train",), workers=1)
    return [rule for found, rule in account.dropped if found == face], [
        rule for f, rule in account.remarks if f == face
    ]


def test_landmarks_outside_are_counted_and_a_face_outside_is_dropped(copy):
    root = copy("celeba_wild")
    table = root / "Anno/list_landmarks_celeba.txt"
    edit(table, "000001.jpg 165", "000001.jpg 465")
    assert outside(root, "celeba_wild", "000001.jpg") == ([], ["some landmarks outside the picture"])
    edit(table, "465 184 244 176 196 249 194 271 266 260", "465 184 444 176 496 249 494 271 466 260")
    assert outside(root, "celeba_wild", "000001.jpg") == (["every landmark lies outside the picture"], [])


# ---- CelebA


def at_landmarks(record):
    """Brightness of the picture at each known of the five landmarks."""
    points = np.round(record["landmarks5_px"]).astype(int)
    return record["image"][points[:, 1], points[:, 0], 0]


def test_celeba_gives_points_people_and_its_crop(copy):
    source = open_folder("celeba", copy("celeba"), "full")
    assert source.people == ["00009", "00075", "02880"]
    assert [int(source[i]["identity"]) for i in range(5)] == [2, 1, 2, 0, 1]
    record = source[0]
    np.testing.assert_array_equal(record["landmarks5_px"], np.reshape(ALIGNED[0], (5, 2)))
    assert np.isnan(record["box_px"]).all()
    assert (at_landmarks(record) > 200).all()
    crop = crop_record(record, rule="celeba_aligned", size=128)
    # By hand: the square of 178 from row 20; (69.5 · 128/178 - .5, 89.5 · 128/178 - .5).
    np.testing.assert_allclose(crop["landmarks5_px"][0], [49.4775, 63.8596], atol=1e-3)
    assert (at_landmarks(crop) > 200).all()
    assert source.notes == []


def test_celeba_in_the_wild_adds_the_box_and_drops_empty_ones(copy):
    source = open_folder("celeba_wild", copy("celeba_wild"), "full")
    assert source.skipped == [("000003.jpg", "box without width or height")]
    record = source[0]
    np.testing.assert_array_equal(record["box_px"], [95, 71, 321, 384])
    np.testing.assert_array_equal(record["landmarks5_px"][2], [196, 249])
    crop = crop_record(record, rule="eyes_mouth", margin=1.2, size=128)
    eyes, mouth = crop["landmarks5_px"][:2].mean(0), crop["landmarks5_px"][3:].mean(0)
    np.testing.assert_allclose(np.linalg.norm(eyes - mouth), 128 / 1.2 / 2.22, rtol=1e-5)
    assert (at_landmarks(crop) > 200).all()
    boxed = crop_record(record, rule="box", margin=1.0, size=313)
    np.testing.assert_allclose(boxed["landmarks5_px"][0], [165 - (208 - 156.5), 184 - 71], atol=1e-3)


def test_celeba_reads_kaggles_copy(copy):
    root = copy("celeba")
    (root / "img_align_celeba").rename(root / "inner")
    (root / "img_align_celeba").mkdir()
    (root / "inner").rename(root / "img_align_celeba/img_align_celeba")
    for file in ("Anno/list_landmarks_align_celeba.txt", "Eval/list_eval_partition.txt"):
        rows = [line.split() for line in (root / file).read_text().splitlines()]
        head = ["partition"] if "Eval" in file else rows[1]
        body = rows if "Eval" in file else rows[2:]
        write(
            root / file.split("/")[1].replace(".txt", ".csv"),
            "\r\n".join(",".join(r) for r in [["image_id", *head], *body]),
        )
        (root / file).unlink()
    (root / "Anno/identity_CelebA.txt").unlink()
    source = open_folder("celeba", root, "train")
    assert source.notes == ["there is no identity_CelebA.txt, so identities are unknown"]
    assert [source[i]["name"] for i in range(3)] == ["000001.jpg", "000002.jpg", "000003.jpg"]
    np.testing.assert_array_equal(source[0]["landmarks5_px"], np.reshape(ALIGNED[0], (5, 2)))
    assert source[0]["identity"] == -1
    edit(root / "list_eval_partition.csv", "image_id,partition", "image_id,split")
    with pytest.raises(ValueError, match=r"list_eval_partition\.csv, line 1: .*its columns are partition"):
        open_folder("celeba", root, "train")


def test_celeba_notes_what_lists_and_pictures_do_not_share(copy):
    root = copy("celeba")
    edit(root / "Anno/list_landmarks_align_celeba.txt", "5\n", "6\n")
    edit(root / "Eval/list_eval_partition.txt", "000005.jpg 2\n", "000009.jpg 0\n")
    edit(root / "Anno/identity_CelebA.txt", "000002.jpg 75\n", "")
    picture(root / "img_align_celeba/000009.jpg", (178, 218))
    source = open_folder("celeba", root, "train")
    assert source.skipped == [("000009.jpg", "not in list_landmarks_align_celeba")]
    assert source.notes == [
        "list_landmarks_align_celeba.txt says 6 faces and lists 5",
        "1 faces are in no split, e.g. 000005.jpg",
        "1 pictures are not in list_landmarks_align_celeba, e.g. 000009.jpg",
        "1 faces are not in identity_CelebA, e.g. 000002.jpg",
    ]
    assert source[1]["identity"] == -1


def test_celeba_refuses_resized_pictures_and_other_folders(copy):
    root = copy("celeba")
    picture(root / "img_align_celeba/000001.jpg", (64, 64))
    source = open_folder("celeba", root)
    with pytest.raises(BadRecord, match=r"000001\.jpg: not the 178×218 of the aligned pictures"):
        source[0]
    (root / "img_align_celeba").rename(root / "pictures")
    with pytest.raises(ValueError, match="no folder img_align_celeba in"):
        open_folder("celeba", root)


# ---- LFW


def test_lfw_lists_people_and_the_two_views(copy):
    root = copy("lfw")
    source = open_folder("lfw", root)
    names = [entry.name for entry in source.entries]
    assert names[:2] == ["AJ_Cook/AJ_Cook_0001.jpg", "Aaron_Peirsol/Aaron_Peirsol_0001.jpg"]
    assert names == [lfw.name_of(p, i + 1) for p, n in PEOPLE.items() for i in range(n)]
    assert [int(source[i]["identity"]) for i in range(9)] == [0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert source.notes == []
    train, test = open_folder("lfw", root, "view1_train"), open_folder("lfw", root, "view1_test")
    assert [e.person for e in train.entries] == ["Aaron_Peirsol"] * 3 + ["AJ_Cook"]
    assert {e.name for e in train.entries} | {e.name for e in test.entries} == set(names)
    edit(root / "peopleDevTest.txt", "Zico\t3", "Zico\t2")
    assert open_folder("lfw", root, "view1_test").notes == [
        "1 pictures are beyond what peopleDevTest.txt says of a person, and left out"
    ]


def test_lfws_crop_is_the_central_144_pixels(copy):
    record = open_folder("lfw", copy("lfw"))[0]
    inside = crop_record(record, rule="center", margin=144 / 250, size=144)["image"]
    assert inside.min() > 240
    around = crop_record(record, rule="center", margin=148 / 250, size=148)["image"]
    assert around[0].max() < 16
    assert around[:, -1].max() < 16


@pytest.mark.parametrize("place", ["lfw", "lfw_funneled", "."])
def test_lfw_is_found_where_it_lies_under_the_same_names(copy, place):
    root = copy("lfw")
    wanted = [entry.name for entry in open_folder("lfw", root).entries]
    if place == ".":
        source = open_folder("lfw", root / "lfw-deepfunneled")
        assert lfw.pairs(root / "lfw-deepfunneled") == lfw.pairs(root)  # the list lies beside it
        assert source.notes == []
    else:
        (root / "lfw-deepfunneled").rename(root / place)
        source = open_folder("lfw", root)
        assert source.notes == [f"the folder {place} does not say deep-funneled, which the usual crop is made for"]
    assert [entry.name for entry in source.entries] == wanted
    assert source[0]["image"].shape == (250, 250, 3)


def test_lfw_names_strange_files_and_refuses_crops_of_others(copy):
    root = copy("lfw")
    picture(root / "lfw-deepfunneled/Zico/Zico_1.jpg", (250, 250))
    picture(root / "lfw-deepfunneled/Zico/Zico_0001.jpg", (112, 112))
    source = open_folder("lfw", root)
    assert source.skipped == [("Zico/Zico_1.jpg", "not named as NAME_0001.jpg in the folder NAME")]
    with pytest.raises(BadRecord, match=r"Zico_0001\.jpg: not LFW's 250×250"):
        source[6]
    with pytest.raises(ValueError, match=r"(?s)no NAME/NAME_0001\.jpg in .*expected to hold"):
        open_folder("lfw", root / "lfw-deepfunneled/Zico")


def test_lfw_pairs_have_folds_and_the_names_of_the_records(copy):
    root = copy("lfw")
    pairs = lfw.pairs(root)
    assert pairs == [
        Pair("Zico/Zico_0001.jpg", "Zico/Zico_0003.jpg", True, 0),
        Pair("AJ_Cook/AJ_Cook_0001.jpg", "Zico/Zico_0002.jpg", False, 0),
        Pair("Al-Bo/Al-Bo_0002.jpg", "Al-Bo/Al-Bo_0001.jpg", True, 1),
        Pair("Aaron_Peirsol/Aaron_Peirsol_0003.jpg", "Al-Bo/Al-Bo_0001.jpg", False, 1),
    ]
    for split, listed in (
        ("full", pairs),
        ("view1_train", lfw.pairs(root, "view1_train")),
        ("view1_test", lfw.pairs(root, "view1_test")),
    ):
        names = {entry.name for entry in open_folder("lfw", root, split).entries}
        assert {name for pair in listed for name in (pair.a, pair.b)} <= names
    assert [(p.same, p.fold) for p in listed] == [(True, 0), (False, 1)]  # dealt to folds, because View 1 has none


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2\t1\n", "", r"line 1: 'Zico 1 3'; it gives the folds and the pairs of a kind: 10 300"),
        ("2\t1\n", "3\t1\n", "line 1 promises 3 × 2 × 1 pairs, there are 4 lines"),
        ("Zico\t1\t3\n", "Zico\t1\tZico\t3\n", "line 2: .*a pair of one person: name i j"),
        ("AJ_Cook\t1\tZico\t2", "Zico\t1\t2", "line 3: .*a pair of two people: name1 i name2 j"),
        ("AJ_Cook\t1\tZico\t2", "Zico\t1\tZico\t2", "line 3: .*no two faces of two"),
        ("Zico\t1\t3", "Zico\t1\t1", "line 2: .*no two faces of one"),
        ("Zico\t1\t3", "Zico\t0\t3", "line 2: .*numbered from 1"),
        (
            "Zico\t1\t3",
            "Zico\t1\t4",
            r"line 2: the pair Zico/Zico_0001.jpg, Zico/Zico_0004.jpg wants Zico/Zico_0004.jpg, which is",
        ),
        ("AJ_Cook\t1\tZico", "Nobody\t1\tZico", "line 3: the pair .*wants Nobody/Nobody_0001.jpg, which is missing"),
    ],
)
def test_a_wrong_line_of_pairs_is_named(copy, old, new, message):
    root = copy("lfw")
    edit(root / "pairs.txt", old, new)
    with pytest.raises(ValueError, match=message):
        lfw.pairs(root)


def test_pairs_that_are_not_there_are_named_and_kaggles_are_refused(copy):
    root = copy("lfw")
    (root / "pairs.txt").rename(root / "pairs.csv")
    with pytest.raises(
        ValueError, match=r"no pairs\.txt in .* or beside it \(the \.csv of Kaggle's copy is not read\)"
    ):
        lfw.pairs(root)
    with pytest.raises(ValueError, match="no split 'view2'"):
        lfw.pairs(root, "view2")
    with pytest.raises(ValueError, match="no file"):
        lfw.read_pairs(root / "nothing.txt")


# ---- VGGFace2


def test_vggface2_gives_mtcnns_box_and_points(copy):
    source = open_folder("vggface2", copy("vggface2"))
    record = source[0]
    assert record["name"] == "train/n000002/0001_01.jpg"
    np.testing.assert_array_equal(record["box_px"], [161, 140, 385, 464])
    np.testing.assert_array_equal(
        record["landmarks5_px"][[0, 4]], np.float32([[239.4643, 276.5054], [342.1541, 392.2661]])
    )
    assert source.people == ["n000002", "n000003"]
    assert [int(source[i]["identity"]) for i in (0, 24, 25, 26)] == [0, 0, 1, 1]
    assert (at_landmarks(record)[[0, 1, 3, 4]] > 200).all()
    crop = crop_record(record, rule="eyes_mouth", margin=1.2, size=128)
    assert (at_landmarks(crop)[[0, 1, 3, 4]] > 200).all()
    eyes, mouth = crop["landmarks5_px"][:2].mean(0), crop["landmarks5_px"][3:].mean(0)
    np.testing.assert_allclose(np.linalg.norm(eyes - mouth), 48, atol=0.1)


def test_vggface2_chooses_22_of_a_person_whatever_the_order_of_the_list(copy):
    root = copy("vggface2")
    everyone = open_folder("vggface2", root)
    few = open_folder("vggface2", root, "train22")
    assert collections.Counter(e.person for e in few.entries) == {"n000002": 22, "n000003": 2}
    assert [e for e in everyone.entries if e in few.entries] == few.entries
    left_out = {e.name for e in everyone.entries} - {e.name for e in few.entries}
    assert {e.name for e in vggface2.chosen(everyone.entries[24::-1])} == {e.name for e in few.entries[:22]}
    # Frozen, by sha256sum: a training set must not change under a config that names it.
    assert left_out == {f"train/n000002/{i:04}_01.jpg" for i in (5, 21, 22)}


def test_vggface2_drops_empty_boxes_and_counts_what_no_list_names(copy):
    root = copy("vggface2")
    edit(root / "bb_landmark/loose_bb_train.csv", f'"n000003/0001_01",{VGG_BOX}', '"n000003/0001_01",161,140,0,324')
    picture(root / "train/n000003/0009_01.jpg", (40, 40))
    source = open_folder("vggface2", root)
    assert source.skipped == [("train/n000003/0001_01.jpg", "box without width or height")]
    assert source.notes == ["1 pictures are in no list, and left out"]
    for stem, label in (("loose_bb", VGG_BOX), ("loose_landmark", VGG_POINTS)):
        with (root / f"bb_landmark/{stem}_train.csv").open("a") as stream:
            stream.write(f'"n000002/0009_01",{label}\n')
    with pytest.raises(ValueError, match="the faces of n000002 are not together; sort both lists"):
        open_folder("vggface2", root)


# ---- CFP


def test_cfp_lists_both_views(copy):
    root = copy("cfp")
    source = open_folder("cfp", root)
    assert [source.entries[i].name for i in (0, 19, 20, 27)] == [
        "001/frontal/01.jpg",
        "002/frontal/10.jpg",
        "001/profile/01.jpg",
        "002/profile/04.jpg",
    ]
    assert source.people == ["001", "002"]
    assert (source[20]["identity"], source[27]["identity"]) == (0, 1)
    assert crop_record(source[0], rule="center", margin=1.0, size=40)["image"].shape == (40, 40, 3)


def test_cfp_pairs_are_a_frontal_and_a_profile_picture(copy):
    root = copy("cfp")
    pairs = cfp.pairs(root)
    assert len(pairs) == 40
    assert pairs[:4] == [
        Pair("001/frontal/01.jpg", "001/profile/01.jpg", True, 0),
        Pair("002/frontal/01.jpg", "002/profile/04.jpg", True, 0),
        Pair("001/frontal/01.jpg", "002/profile/01.jpg", False, 0),
        Pair("002/frontal/01.jpg", "001/profile/04.jpg", False, 0),
    ]
    assert collections.Counter(p.fold for p in pairs) == dict.fromkeys(range(10), 4)
    frontal = cfp.pairs(root, "FF")
    assert frontal[2:4] == [
        Pair("001/frontal/02.jpg", "001/frontal/03.jpg", True, 1),
        Pair("001/frontal/02.jpg", "002/frontal/02.jpg", False, 1),
    ]
    with pytest.raises(ValueError, match="no pairs of kind 'PP'; kinds: FP, FF"):
        cfp.pairs(root, "PP")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("03/same.txt", "3,1\n", "3;1\n", r"03/same\.txt, line 1: '3;1'; a line is two numbers"),
        ("03/same.txt", "3,1\n", "3,9\n", r"03/same\.txt, line 1: no picture of number 9"),
        (
            "03/same.txt",
            "3,1\n",
            "3,5\n",
            "line 1: 001/frontal/03.jpg and 002/profile/01.jpg are no pair of one person",
        ),
        ("03/diff.txt", "3,5\n", "3,1\n", "line 1: .* are no pair of two people"),
        ("10/diff.txt", "20,4\n", "", r"10/diff\.txt: 1 pairs, the first file has 2; take complete files"),
    ],
)
def test_a_wrong_pair_of_cfp_is_named(copy, file, old, new, message):
    root = copy("cfp")
    edit(root / "Protocol/Split/FP" / file, old, new)
    with pytest.raises(ValueError, match=message):
        cfp.pairs(root)


def test_a_pair_of_cfp_without_its_picture_or_file_is_named(copy):
    root = copy("cfp")
    (root / "Data/Images/002/profile/04.jpg").unlink()
    with pytest.raises(
        ValueError, match=r"the pair 002/frontal/01.jpg, 002/profile/04.jpg of fold 1 wants 002/profile/04.jpg"
    ):
        cfp.pairs(root)
    (root / "Protocol/Split/FP/07/diff.txt").unlink()
    with pytest.raises(ValueError, match=r"(?s)07/diff\.txt.*expected to hold"):
        cfp.pairs(root)


# ---- The real lists and faces


def test_lfws_own_pairs_are_read_whole(shared):
    pairs = lfw.read_pairs(shared / "faces/layouts/lfw_pairs.txt")
    assert collections.Counter((p.fold, p.same) for p in pairs) == {
        (f, s): 300 for f in range(10) for s in (True, False)
    }
    assert pairs[0] == Pair("Abel_Pacheco/Abel_Pacheco_0001.jpg", "Abel_Pacheco/Abel_Pacheco_0004.jpg", True, 0)
    assert pairs[-1] == Pair("Slobodan_Milosevic/Slobodan_Milosevic_0002.jpg", "Sok_An/Sok_An_0001.jpg", False, 9)
    # View 2's folds share no person (Huang et al., 2007).
    people = [{n.split("/")[0] for p in pairs if p.fold == f for n in (p.a, p.b)} for f in range(10)]
    assert sum(map(len, people)) == len(set.union(*people))


def test_the_4038_people_of_view_1_are_found_under_their_official_names(shared, tmp_path):
    real = shared / "faces/train/identities"
    rows = [line.split(",") for line in (real / "labels.csv").read_text(encoding="utf-8").splitlines()[1:]]
    for file, person in rows:
        folder = tmp_path / "lfw-deepfunneled" / person
        folder.mkdir(parents=True, exist_ok=True)
        os.symlink(real / file, folder / f"{person}_{file.split('/')[1]}")
    counts = collections.Counter(person for _, person in rows)
    write(tmp_path / "peopleDevTrain.txt", f"{len(counts)}\n" + "".join(f"{p}\t{n}\n" for p, n in counts.items()))
    for split in ("full", "view1_train"):
        source = open_folder("lfw", tmp_path, split)
        assert (len(source), len(source.people), source.skipped) == (lfw.SPEC.counts["view1_train"], 4038, [])
        wanted = [f"{person}/{person}_{file.split('/')[1]}" for file, person in rows]
        assert sorted(e.name for e in source.entries) == sorted(wanted)
