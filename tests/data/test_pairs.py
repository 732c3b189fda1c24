"""Pairs of faces: people kept apart by folds, and the file pairs.csv."""

import logging

import numpy as np
import pytest
from PIL import Image

from jfsr.data import pairs as pair_lists
from jfsr.data.pairs import Pair, read_pairs_csv


def test_folds_share_no_person_and_hold_the_same_numbers_of_either_kind():
    rng = np.random.default_rng(11)
    a = rng.integers(0, 900, 600)
    same = np.arange(600) % 2 == 0
    b = np.where(same, a, a - a % 3 + (a + 1) % 3)  # people know each other by threes
    fold = pair_lists.folds(a, b, same)
    assert pair_lists.shared(a, b, fold) == 0
    for kind in (same, ~same):
        np.testing.assert_allclose(np.bincount(fold[kind], minlength=10), 30, atol=1)
    np.testing.assert_array_equal(fold, pair_lists.folds(a + 17, b + 17, same))


def test_people_who_are_all_joined_cannot_be_kept_apart():
    a = np.zeros(40, int)
    b = np.arange(1, 41)
    fold = pair_lists.folds(a, b, np.zeros(40, bool), count=4)
    np.testing.assert_array_equal(np.bincount(fold), 10)
    assert pair_lists.shared(a, b, fold) == 1  # person 0
    with pytest.raises(ValueError, match="3 pairs cannot be dealt to 10 folds"):
        pair_lists.folds(a[:3], b[:3], np.zeros(3, bool))


HEADER = "file_a,file_b,same"


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a1.png", "a2.png", "b1.png", "sub/c1.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "labels.csv").write_text("file,identity\na1.png,Ann\na2.png,Ann\nb1.png,Bob\nsub/c1.png,\n")
    return tmp_path


def test_a_pairs_csv_is_read_in_its_order_with_its_folds(photos):
    file = photos / "pairs.csv"
    file.write_text(f"\ufefffold, {HEADER}\n4,b1.png,a1.png,0\n\n0, a1.png,./a2.png,1\n4,a1.png,sub\\c1.png,0\n")
    expected = [Pair("b1.png", "a1.png", False, 4), Pair("a1.png", "a2.png", True, 0)]
    assert read_pairs_csv(file) == [*expected, Pair("a1.png", "sub/c1.png", False, 4)]


def test_folds_are_dealt_by_the_people_of_labels_csv(photos, caplog):
    file = photos / "pairs.csv"
    file.write_text(f"{HEADER}\na1.png,a2.png,1\nb1.png,sub/c1.png,0\n")
    assert sorted(pair.fold for pair in read_pairs_csv(file)) == [0, 1]
    file.write_text(f"{HEADER}\na1.png,sub/c1.png,0\nb1.png,a2.png,0\n")
    with caplog.at_level(logging.WARNING):
        read_pairs_csv(file)
    assert "1 people appear in more than one of the 10 folds" in caplog.text  # Ann, by two faces


def test_some_pairs_are_taken_evenly_over_folds_and_kinds():
    pairs = [Pair(f"a{i}", f"b{i}", i % 100 < 50, i // 100) for i in range(1000)]  # as LFW lists them
    some = pair_lists.evenly(pairs, 60)
    assert [sum(p.fold == f and p.same == s for p in some) for f in range(10) for s in (False, True)] == [3] * 20
    assert some == sorted(some, key=pairs.index)
    assert pair_lists.evenly(pairs, 5000) == pairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_a,file_b\n", "pairs.csv, line 1: no column 'same'"),
        (f"{HEADER},score\n", "line 1: column 'score' is unknown or appears twice"),
        (f"{HEADER},same\n", "line 1: column 'same' is unknown or appears twice"),
        (f"{HEADER}\na1.png,z.png,0\n", "line 2: no image 'z.png' in the folder"),
        (f"{HEADER}\na1.png,a2.png\n", "line 2: fewer cells"),
        (f"{HEADER}\na1.png,a2.png,1,2\n", "line 2: more cells"),
        (f"{HEADER}\na1.png,a2.png,yes\n", "line 2: same is 'yes'; write 1"),
        (f"{HEADER}\na1.png,a1.png,1\n", "line 2: 'a1.png' is paired with itself"),
        (f"{HEADER}\na1.png,a2.png,1\na2.png,a1.png,1\n", "line 3: the pair 'a2.png', 'a1.png' is on line 2 already"),
        (f"{HEADER}\na1.png,b1.png,1\n", "line 2: same is 1, but labels.csv says 'Ann' and 'Bob'"),
        (f"{HEADER},fold\na1.png,a2.png,1,\n", "line 2: fold is ''; write a whole number"),
        (f"{HEADER}\na1.png,a2.png,1\n", "pairs.csv: 1 pairs; accuracy takes two"),
        (f"{HEADER}\n\xff.png,a1.png,1\n", "line 2: .*is not UTF-8; save the table"),
    ],
)
def test_a_fault_in_a_pairs_csv_names_its_line(photos, text, message):
    (photos / "pairs.csv").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        read_pairs_csv(photos / "pairs.csv")


def test_no_pairs_csv_says_what_it_lists(tmp_path):
    with pytest.raises(ValueError, match="it lists the pairs: file_a,file_b,same"):
        read_pairs_csv(tmp_path / "pairs.csv")


def test_the_pairs_of_lfw_view_1_fall_into_folds_without_a_common_person(shared):
    pairs = read_pairs_csv(shared / "faces" / "val" / "verification" / "pairs.csv")
    assert len(pairs) == 1000
    names = {name: i for i, name in enumerate({p.rsplit("_", 1)[0] for pair in pairs for p in (pair.a, pair.b)})}
    a, b = np.array([[names[p.rsplit("_", 1)[0]] for p in (pair.a, pair.b)] for pair in pairs]).T
    fold, same = np.array([pair.fold for pair in pairs]), np.array([pair.same for pair in pairs])
    assert pair_lists.shared(a, b, fold) == 0
    np.testing.assert_array_equal(np.bincount(fold[same]), 50)
    np.testing.assert_array_equal(np.bincount(fold[~same]), 50)
