"""Verification and identification against slow references, answers worked out by hand, and each other."""

import itertools
import logging

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image
from scipy.optimize import brentq

from jfsr import recognition
from jfsr.data import pairs as pair_lists
from jfsr.data import records
from jfsr.data.pairs import Pair, read_pairs_csv
from jfsr.evals import identification
from jfsr.evals import verification as evaluation
from jfsr.evals.faces import Faces


def draw(n, *, seed, levels=0, gap=1.0):
    """Similarities of n pairs, those of one person higher by ``gap`` deviations; many are tied on few levels."""
    rng = np.random.default_rng(seed)
    same = rng.permutation(np.arange(n) % 3 == 0)
    similarity = np.tanh(0.4 * rng.normal(size=n) + 0.4 * gap * same)
    return (np.round(similarity * levels) / levels if levels else similarity), same


CASES = [draw(60, seed=0), draw(61, seed=1, levels=3), draw(90, seed=2, levels=8, gap=3), draw(40, seed=3, gap=-1)]


# --- Curves -----------------------------------------------------------------------------------------------------------


def test_roc_accepts_equal_similarities_together():
    similarity = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    same = np.array([True, True, False, True, False])
    far, tar, thresholds = recognition.roc(similarity, same)
    np.testing.assert_array_equal(thresholds, [np.inf, 0.9, 0.5, 0.1])
    np.testing.assert_allclose(far, [0, 0, 0.5, 1])
    np.testing.assert_allclose(tar, [0, 1 / 3, 1, 1])
    assert recognition.auc(similarity, same) == 5 / 6  # of six comparisons four are won and two are tied
    np.testing.assert_allclose(recognition.eer(similarity, same), 2 / 7)  # far = t/2 meets 1 - tar = 2/3 (1 - t)


@pytest.mark.parametrize("case", range(4))
def test_auc_is_the_mann_whitney_statistic(case):
    similarity, same = CASES[case]
    won = [(x > y) + 0.5 * (x == y) for x in similarity[same] for y in similarity[~same]]
    assert recognition.auc(similarity, same) == pytest.approx(np.mean(won), abs=1e-15)


@pytest.mark.parametrize("case", range(4))
def test_eer_is_where_the_joined_corners_meet_equal_errors(case):
    similarity, same = CASES[case]
    corners = [(0.0, 1.0)]  # (false accepts, false rejects), counted threshold by threshold
    for t in sorted(set(similarity.tolist()), reverse=True):
        corners.append((np.mean(similarity[~same] >= t), np.mean(similarity[same] < t)))
    accepts, rejects = np.array(corners).T
    steps = np.arange(len(corners))
    along = brentq(lambda t: np.interp(t, steps, accepts) - np.interp(t, steps, rejects), 0, steps[-1], xtol=1e-14)
    assert recognition.eer(similarity, same) == pytest.approx(np.interp(along, steps, accepts), abs=1e-10)


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize("far", [0.04, 0.1, 0.29, 0.5, 1.0])
def test_tar_at_far_is_the_best_threshold_that_keeps_to_the_rate(case, far):
    similarity, same = CASES[case]
    allowed = [
        np.mean(similarity[same] >= t)
        for t in [*similarity, np.inf]
        if np.sum(similarity[~same] >= t) <= far * np.sum(~same) + 1e-9
    ]
    assert recognition.tar_at_far(similarity, same, far) == max(allowed)


def test_a_rate_that_is_a_whole_number_of_pairs_is_not_lost_to_rounding():
    same = np.arange(200) < 100
    similarity = np.where(same, 0.5, np.linspace(1, 0, 200) * 2 - 0.0)
    similarity[100:] = np.concatenate([np.full(29, 0.9), np.full(71, 0.1)])
    assert 0.29 * 100 < 29
    assert recognition.tar_at_far(similarity, same, 0.29) == 1.0
    assert recognition.tar_at_far(similarity, same, 0.28) == 0.0


def test_a_rate_that_the_pairs_cannot_resolve_is_not_a_number():
    similarity, same = draw(1500, seed=4)  # 1000 pairs of two people
    assert np.isfinite(recognition.tar_at_far(similarity, same, 1e-3))
    keep = np.arange(1500) != np.flatnonzero(~same)[0]
    assert np.isnan(recognition.tar_at_far(similarity[keep], same[keep], 1e-3))
    assert recognition.resolved(1000, 1e-3)
    assert not recognition.resolved(999, 1e-3)


SCORES = {
    "auc": recognition.auc,
    "eer": recognition.eer,
    "tar": lambda similarity, same: recognition.tar_at_far(similarity, same, 0.1),
}


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("case", range(4))
def test_no_score_depends_on_the_order_of_the_pairs_or_on_the_scale_of_similarity(score, case):
    similarity, same = CASES[case]
    expected = SCORES[score](similarity, same)
    order = np.random.default_rng(9).permutation(len(same))
    assert SCORES[score](similarity[order], same[order]) == expected
    assert SCORES[score](np.exp(3 * similarity) - 7, same) == expected
    assert SCORES[score](similarity.astype(np.float32), same) == pytest.approx(expected, abs=1e-12)


def test_perfect_useless_and_inverted_similarities():
    same = np.arange(40) % 2 == 0
    for similarity, auc, eer in ((same * 1.0, 1, 0), (np.zeros(40), 0.5, 0.5), (1.0 - same, 0, 1)):
        assert recognition.auc(similarity, same) == auc
        assert recognition.eer(similarity, same) == eer


@pytest.mark.parametrize("score", [recognition.roc, recognition.auc, recognition.eer])
def test_what_cannot_be_scored_is_refused(score):
    with pytest.raises(ValueError, match="3 pairs of one person and 0 of two; verification needs both kinds"):
        score(np.arange(3.0), np.ones(3, bool))
    with pytest.raises(ValueError, match="1 of 3 similarities are not finite"):
        score(np.array([0, 1, np.nan]), np.array([True, False, True]))


def test_the_interval_of_the_auc_agrees_with_delongs_variance():
    similarity, same = draw(600, seed=5)
    wins = similarity[same][:, None] > similarity[~same]
    variance = wins.mean(1).var(ddof=1) / same.sum() + wins.mean(0).var(ddof=1) / (~same).sum()
    got = recognition.interval(recognition.auc, similarity, same, resamples=600)
    assert got.mean == recognition.auc(similarity, same)
    assert got.n == 600
    half = 1.96 * np.sqrt(variance)
    np.testing.assert_allclose([got.low, got.high], [got.mean - half, got.mean + half], atol=0.15 * half)
    assert recognition.interval(recognition.auc, similarity, same, resamples=600) == got  # seeded


# --- Accuracy over folds ----------------------------------------------------------------------------------------------


def slow_accuracy(similarity, same, fold):
    """Every candidate threshold tried on the other folds, pair by pair."""
    out, chosen = [], []
    for i in sorted(set(fold.tolist())):
        train = sorted(set(similarity[fold != i].tolist()))
        candidates = [train[0] - 1, *((x + y) / 2 for x, y in itertools.pairwise(train)), train[-1] + 1]
        right = [np.sum((similarity[fold != i] >= t) == same[fold != i]) for t in candidates]
        chosen.append(candidates[int(np.argmax(right))])
        out.append(np.mean((similarity[fold == i] >= chosen[-1]) == same[fold == i]))
    return np.array(out), np.array(chosen)


@pytest.mark.parametrize("case", range(4))
def test_ten_fold_agrees_with_trying_every_threshold(case):
    similarity, same = CASES[case]
    fold = np.random.default_rng(6).integers(0, 5, len(same)) * 7 - 3  # any numbers
    got = recognition.ten_fold(similarity, same, fold)
    expected, thresholds = slow_accuracy(similarity, same, fold)
    np.testing.assert_array_equal(got.folds, expected)
    np.testing.assert_array_equal(got.thresholds, thresholds)
    assert got.mean == pytest.approx(expected.mean())
    assert got.std == pytest.approx(np.sqrt(np.sum((expected - expected.mean()) ** 2) / 4))  # LFW's n - 1
    assert got.error == pytest.approx(got.std / np.sqrt(5))
    order = np.random.default_rng(7).permutation(len(same))
    again = recognition.ten_fold(similarity[order], same[order], fold[order])
    assert (again.mean, again.std) == (got.mean, got.std)
    doubled = recognition.ten_fold(2 * similarity + 4, same, fold)
    np.testing.assert_array_equal(doubled.folds, got.folds)


def test_a_folds_own_pairs_do_not_choose_its_threshold():
    # In fold 1 alone the order is reversed: a threshold that saw it would not accept all of its pairs of two people.
    similarity = np.array([0.9, 0.8, 0.2, 0.1, 0.9, 0.8, 0.2, 0.1])
    same = np.array([1, 1, 0, 0, 0, 0, 1, 1]).astype(bool)
    got = recognition.ten_fold(similarity, same, np.repeat([0, 1], 4))
    np.testing.assert_array_equal(got.folds, [0.5, 0.0])
    assert got.thresholds[1] == 0.5


def test_a_threshold_separates_even_neighbouring_floats():
    low = np.float64(0.5) + np.spacing(0.5)  # of the two middles of neighbours that round, one rounds down
    similarity = np.array([low, np.nextafter(low, 1)] * 2)
    got = recognition.ten_fold(similarity, np.array([False, True] * 2), np.array([0, 0, 1, 1]))
    assert got.mean == 1.0
    similarity = np.array([0.5, low] * 2)
    assert recognition.ten_fold(similarity, np.array([False, True] * 2), np.array([0, 0, 1, 1])).mean == 1.0


def test_one_fold_is_refused():
    with pytest.raises(ValueError, match="4 pairs in 1 fold"):
        recognition.ten_fold(np.arange(4.0), np.arange(4) > 1, np.zeros(4, int))


# --- Identification ---------------------------------------------------------------------------------------------------


def test_rank1_agrees_with_comparing_every_pair():
    rng = np.random.default_rng(8)
    gallery, gallery_id = rng.normal(size=(30, 6)), rng.permutation(np.arange(30) % 20) - 3  # some have two faces
    probe_id = rng.choice(gallery_id, 1300)  # more than a chunk
    probes = gallery[[np.flatnonzero(gallery_id == i)[0] for i in probe_id]] * 5 + 4 * rng.normal(size=(1300, 6))
    got = recognition.rank1(gallery, gallery_id, probes, probe_id)
    angles = [[p @ g / np.sqrt((p @ p) * (g @ g)) for g in gallery] for p in probes]
    nearest = np.argmax(angles, axis=1)
    np.testing.assert_array_equal(got.found, gallery_id[nearest])
    np.testing.assert_array_equal(got.correct, gallery_id[nearest] == probe_id)
    np.testing.assert_allclose(got.similarity, np.max(angles, axis=1), rtol=1e-12)
    assert 0.2 < got.rate < 0.9
    assert got.rate == np.mean(got.correct)
    order = rng.permutation(30)
    shuffled = recognition.rank1(gallery[order] * 3, gallery_id[order], probes, probe_id)
    np.testing.assert_array_equal(shuffled.found, got.found)


@pytest.mark.parametrize("embedding", [0.0, 1.0])
def test_a_network_that_gives_every_face_the_same_embedding_finds_nobody(embedding):
    faces = np.full((4, 3), embedding)
    got = recognition.rank1(faces, np.arange(4), faces, np.arange(4))
    assert got.rate == 0
    assert not np.any(got.found == np.arange(4))


def test_a_probe_of_a_stranger_is_refused():
    with pytest.raises(ValueError, match=r"1 people of the probes, e\.g\. 7, are not in the gallery"):
        recognition.rank1(np.eye(2), np.array([0, 1]), np.eye(2), np.array([0, 7]))
    with pytest.raises(ValueError, match="no probe"):
        recognition.rank1(np.eye(2), np.array([0, 1]), np.zeros((0, 2)), np.zeros(0, int))


# --- Spread of features -----------------------------------------------------------------------------------------------


def test_norms_and_their_quantiles():
    features = np.array([[3, 4], [0, 0], [0, 10], [5, 0], [6, 8]], np.float32)
    got = recognition.norm_stats(features)
    np.testing.assert_allclose(got.norms, [5, 0, 10, 5, 10])
    np.testing.assert_allclose(got[1:], [6, np.sqrt(14), 1, 5, 10])
    with pytest.raises(ValueError, match="0 features"):
        recognition.norm_stats(features[:0])


def test_the_spectrum_is_that_of_the_covariance():
    features = np.random.default_rng(10).normal(size=(50, 12)) @ np.diag(np.linspace(3, 0.1, 12)) + 5
    got = recognition.singular_spectrum(features)
    centred = features - features.mean(0)
    covariance = sum(np.outer(z, z) for z in centred) / 50  # MSGAN (20)
    np.testing.assert_allclose(got.values, np.sort(np.linalg.eigvalsh(covariance))[::-1], rtol=1e-9)
    np.testing.assert_allclose(got.relative, got.values / got.values[0])
    np.testing.assert_allclose(recognition.singular_spectrum(3 * features).values, 9 * got.values)
    few = recognition.singular_spectrum(features[:4])
    assert few.values.shape == (12,)
    np.testing.assert_allclose(few.values[3:], 0, atol=1e-25)


def test_the_effective_rank_counts_dimensions():
    corners = np.concatenate([np.eye(5), -np.eye(5)])  # the same variance along five axes, none along the other three
    features = np.concatenate([corners, np.zeros((10, 3))], axis=1) + 2
    assert recognition.singular_spectrum(features).effective_rank == pytest.approx(5)
    flat = recognition.singular_spectrum(np.ones((4, 3)))
    assert flat.effective_rank == 0
    np.testing.assert_array_equal(flat.relative, 0)


# --- Pairs ------------------------------------------------------------------------------------------------------------


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
        (f"{HEADER}\n\xff", "line 2: not UTF-8"),
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


# --- Faces to rows ----------------------------------------------------------------------------------------------------

PEOPLE = 12  # three faces each


def some_faces(batch):
    """36 faces of 12 people in batches; a restored face has forgotten some of its person."""
    rng = np.random.default_rng(12)
    person = rng.integers(0, 256, (PEOPLE, 2, 2, 3))
    original = np.clip(np.repeat(person, 3, axis=0) + rng.normal(scale=25, size=(36, 2, 2, 3)), 0, 255)
    ours = np.clip(128 + 0.5 * (original - 128) + rng.normal(scale=40, size=original.shape), 0, 255)
    names = [f"{i // 3}_{i % 3}.png" for i in range(36)]
    for i in range(0, 36, batch):
        part = np.s_[i : i + batch]
        n = len(names[part])
        yield Faces(
            names=names[part],
            position=np.arange(36)[part],
            lr=original[part].astype(np.uint8),
            images={"original": original[part].astype(np.uint8), "ours": ours[part].astype(np.uint8)},
            pose_deg=np.full((n, 3), np.nan),
            landmarks_px=np.full((n, 68, 2), np.nan),
            visible=np.zeros((n, 68), bool),
        )


def pixels(images):
    return images.reshape(len(images), -1).astype(np.float32) - 128


PAIRS = [Pair(f"{i}_0.png", f"{i}_{k}.png", True, i % 4) for i in range(PEOPLE) for k in (1, 2)]
PAIRS += [Pair(f"{i}_0.png", f"{(i + k) % PEOPLE}_1.png", False, i % 4) for i in range(PEOPLE) for k in (4, 8)]


@pytest.mark.parametrize(("sides", "second"), [("both", "ours"), ("one", "original")])
def test_a_row_is_the_cosine_of_the_two_sides(sides, second):
    embeddings = evaluation.embed(some_faces(36), pixels)
    rows = evaluation.run(embeddings, PAIRS, sides=sides)
    assert [(r["method"], r["pair"]) for r in rows] == [(m, i) for m in ("original", "ours") for i in range(len(PAIRS))]
    (some,) = some_faces(36)
    for row in rows[len(PAIRS) :: 5]:
        pair = PAIRS[row["pair"]]
        assert (row["a"], row["b"], row["same"], row["fold"], row["dropped"]) == (*pair, "")
        x = pixels(some.images["ours"][[some.names.index(pair.a)]])[0].astype(float)
        y = pixels(some.images[second][[some.names.index(pair.b)]])[0].astype(float)
        assert row["similarity"] == pytest.approx(x @ y / np.sqrt((x @ x) * (y @ y)), rel=1e-6)


def test_summaries_hold_every_score_whatever_the_batch_and_the_order_of_the_pairs():
    rows = evaluation.run(evaluation.embed(some_faces(36), pixels), PAIRS, sides="both")
    assert evaluation.run(evaluation.embed(some_faces(5), pixels), PAIRS, sides="both") == rows
    got, backwards = evaluation.summarize(rows), evaluation.summarize(rows[::-1])
    for method, scores in got.items():
        for key in ("acc", "acc_std", "auc", "eer", "n_same", "n_not"):
            assert backwards[method][key] == scores[key]
    ours = got["ours"]
    similarity = np.array([r["similarity"] for r in rows if r["method"] == "ours"])
    same = np.array([p.same for p in PAIRS])
    assert ours["auc"] == recognition.auc(similarity, same)
    assert ours["auc_low"] <= ours["auc"] <= ours["auc_high"]
    assert ours["acc"] == recognition.ten_fold(similarity, same, np.array([p.fold for p in PAIRS])).mean
    assert (ours["n_same"], ours["n_not"], ours["n_dropped"]) == (24, 24, 0)
    assert np.isnan(ours["tar@0.01"])
    assert ours["note"] == "TAR at FAR 0.01, 0.001 needs 1/FAR pairs of two people; there are 24"
    assert got["original"]["auc"] > ours["auc"] > 0.5


def test_a_pair_without_one_of_its_faces_is_dropped_by_name_and_none_at_all_is_an_error():
    embeddings = evaluation.embed(some_faces(36), pixels)
    rows = evaluation.run(embeddings, [*PAIRS, Pair("0_0.png", "gone.png", True, 0)], sides="both")
    (lost,) = [r for r in rows if r["dropped"] and r["method"] == "ours"]
    assert lost["dropped"] == "no face gone.png"
    assert np.isnan(lost["similarity"])
    whole = evaluation.summarize(evaluation.run(embeddings, PAIRS, sides="both"))["ours"]
    assert evaluation.summarize(rows)["ours"]["n_dropped"] == 1
    assert evaluation.summarize(rows)["ours"]["auc"] == whole["auc"]
    with pytest.raises(ValueError, match=r"no pair can be compared: the first needs 'x/0_0\.png', and there is e\.g\."):
        evaluation.run(embeddings, [Pair("x/0_0.png", "x/0_1.png", True, 0)], sides="both")
    with pytest.raises((ValueError, TypeError), match=r"sides|Type-check"):
        evaluation.run(embeddings, PAIRS, sides="ones")


def test_embeddings_that_would_mislead_are_refused():
    with pytest.raises(ValueError, match=r"the embedding of 0_0\.png by method 'original' is not finite"):
        evaluation.embed(some_faces(36), lambda images: np.full((len(images), 2), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"two faces are named '0_0\.png'"):
        evaluation.embed([*some_faces(36), *some_faces(36)], pixels)
    with pytest.raises(ValueError, match="no face to embed"):
        evaluation.embed([], pixels)


# --- The gallery ------------------------------------------------------------------------------------------------------

HEAD = np.array([[-1, -1, 0], [1, -1, 0], [0, 0, 0.8], [-0.7, 1, 0], [0.7, 1, 0]])  # eyes, nose, mouth; x, y, depth


def five(yaw_deg, *, roll_deg=0.0, size=20.0):
    """The points of a turned head, in pixels."""
    yaw, roll = np.deg2rad(yaw_deg), np.deg2rad(roll_deg)
    x = HEAD[:, 0] * np.cos(yaw) + HEAD[:, 2] * np.sin(yaw)
    flat = np.stack([x, HEAD[:, 1]], -1) @ np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    return (64 + size * flat).astype(np.float32)


def test_asymmetry_sees_yaw_and_neither_roll_nor_size():
    assert identification.asymmetry(five(0)) == pytest.approx(0, abs=1e-6)
    assert identification.asymmetry(five(20)) == pytest.approx(0.8 * np.tan(np.deg2rad(20)) / 2, rel=1e-4)
    for other in (five(-20), five(20, roll_deg=33), five(20, size=7)):
        assert identification.asymmetry(other) == pytest.approx(identification.asymmetry(five(20)), rel=1e-4)
    assert np.isnan(identification.asymmetry(np.full((5, 2), np.nan, np.float32)))
    assert identification.asymmetry(np.ones((5, 2), np.float32)) == np.inf


def test_sharpness_is_the_variance_of_scipys_laplacian():
    image = np.random.default_rng(13).integers(0, 256, (12, 9, 3), np.uint8)
    luma = 16 + image.astype(float) @ np.array([65.481, 128.553, 24.966]) / 255
    expected = scipy.ndimage.laplace(luma)[1:-1, 1:-1].var()
    assert identification.sharpness(image) == pytest.approx(expected, rel=1e-5)
    soft = scipy.ndimage.gaussian_filter(image.astype(float), (1, 1, 0)).astype(np.uint8)
    assert identification.sharpness(soft) < 0.1 * expected


class People:
    """Four faces of each of three people, three of a fourth, one of nobody known, and a picture that cannot be read."""

    name = "people"
    YAWS = ((30, 1, 3, 12), (2, 40, 25, 12), (0, 0, 0, np.nan), (0, 0, 0))
    CONTRAST = ((90, 20, 60, 90), (10, 90, 90, 90), (50, 50, 40, 90), (90, 90, 90))

    def __init__(self):
        self.faces = [(p, k) for p, yaws in enumerate(self.YAWS) for k in range(len(yaws))]
        self.faces += [(-1, 0), (None, 0)]

    def __len__(self):
        return len(self.faces)

    def __getitem__(self, index):
        person, k = self.faces[index]
        if person is None:
            raise records.BadRecord("torn.png: cannot be decoded")
        contrast = self.CONTRAST[person][k] if person >= 0 else 0
        board = 128 + contrast * ((np.indices((16, 16)).sum(0) % 2) * 2 - 1)
        record = records.new_record(np.repeat(board[..., None], 3, -1).astype(np.uint8), f"{person}_{k}.png")
        record["identity"] = np.int32(person)
        record["landmarks5_px"] = five(self.YAWS[person][k]) if person >= 0 else record["landmarks5_px"]
        return record


def test_the_gallery_is_the_sharpest_of_the_most_frontal_faces_of_people_with_many():
    roles = identification.choose(People(), min_images=3)
    # 0: of 1° and 3° the sharper; 1: 2° although blurred; 2: of three frontal ones the first of the two sharpest, and
    # never the one without landmarks. Person 3 has a face too few.
    assert roles.gallery == {"0_2.png": 0, "1_0.png": 1, "2_0.png": 2}
    assert len(roles.probes) == 9
    assert roles.probes["2_3.png"] == 2
    assert not roles.gallery.keys() & roles.probes.keys()
    assert roles.indices == list(range(12))
    assert roles.unusable == ["torn.png: cannot be decoded"]


def test_a_gallery_that_cannot_be_chosen_is_refused():
    with pytest.raises(ValueError, match="nobody in people has more than 25 faces; the most are 4 of one person"):
        identification.choose(People())
    blind = People()
    blind.YAWS = ((30, 1, 3, 12), (np.nan,) * 4, (0, 0, 0, 0), (0, 0, 0))
    with pytest.raises(ValueError, match=r"no face of person 1 in people \(e\.g\. 1_0\.png\) has five landmarks"):
        identification.choose(blind, min_images=3)


def test_probes_are_named_after_the_originals_of_the_gallery():
    embeddings = evaluation.embed(some_faces(36), pixels)
    names = {f"{i}_{k}.png": i for i in range(PEOPLE) for k in range(3)}
    gallery = {name: person for name, person in names.items() if name.endswith("_0.png")}
    probes = {name: person for name, person in names.items() if name not in gallery}
    roles = identification.Roles(gallery, probes, list(range(36)), [])
    rows = identification.run(embeddings, roles)
    assert [(r["method"], r["name"]) for r in rows] == [(m, n) for m in ("original", "ours") for n in probes]
    index = embeddings.index()
    known = recognition.unit(embeddings.by_method["original"][[index[n] for n in gallery]])
    for row in rows:
        cosines = known @ recognition.unit(embeddings.by_method[row["method"]][[index[row["name"]]]])[0]
        assert row["found"] == np.argmax(cosines)
        assert row["correct"] == (row["found"] == row["identity"] == int(row["name"].split("_")[0]))
        assert row["similarity"] == pytest.approx(cosines.max())
    rates = [np.mean([r["correct"] for r in rows if r["method"] == m]) for m in ("original", "ours")]
    assert rates[0] > rates[1] > 1 / PEOPLE
    with pytest.raises(ValueError, match=r"1 faces of gallery and probes have no embedding, e\.g\. new"):
        identification.run(embeddings, identification.Roles(gallery, {"new": 1}, [], []))
