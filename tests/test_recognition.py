"""Verification and identification scores against slow references, cases computed by hand, and each other."""

import itertools

import numpy as np
import pytest
from scipy.optimize import brentq

from jfsr import recognition


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
    # In fold 1 the order is reversed: a threshold chosen with it would not accept all of its pairs of two people.
    similarity = np.array([0.9, 0.8, 0.2, 0.1, 0.9, 0.8, 0.2, 0.1])
    same = np.array([1, 1, 0, 0, 0, 0, 1, 1]).astype(bool)
    got = recognition.ten_fold(similarity, same, np.repeat([0, 1], 4))
    np.testing.assert_array_equal(got.folds, [0.5, 0.0])
    assert got.thresholds[1] == 0.5


def test_a_threshold_separates_even_neighbouring_floats():
    low = np.float64(0.5) + np.spacing(0.5)  # one of the two midpoints of these neighbouring floats rounds down
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
def test_a_network_that_gives_every_face_the_same_embedding_identifies_nobody(embedding):
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
