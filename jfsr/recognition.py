"""Face recognition from features, in float64: verification, identification, and the spread of the features.

Verification accepts a pair as one person if its similarity is at least a threshold. FAR (false accept rate) is the
share of accepted pairs among the pairs of two people; TAR (true accept rate, IAFSR's VR) is the same share among the
pairs of one person. A score depends on the set of pairs, not on their order; equal similarities are accepted together.

``roc``, ``auc``, ``eer`` and ``tar_at_far`` use only the order of the similarities: a strictly increasing function of
them changes nothing but the thresholds. ``ten_fold`` puts thresholds half-way between two similarities: only increasing
linear functions leave its accuracy unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jfsr.metrics import Interval


def unit(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Features scaled to length 1, float64. A zero feature stays zero: its cosine with every other is 0."""
    features = features.astype(np.float64)
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)


def cosine(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Cosine of the angle between the features of each pair, [-1, 1]."""
    return np.clip(np.sum(unit(a) * unit(b), axis=-1), -1.0, 1.0)


class Roc(NamedTuple):
    """Corners of the curve from (0, 0) to (1, 1): the first at threshold +inf, then one per distinct similarity."""

    far: Float[np.ndarray, " k"]
    tar: Float[np.ndarray, " k"]
    thresholds: Float[np.ndarray, " k"]


def roc(similarity: Float[np.ndarray, " n"], same: Bool[np.ndarray, " n"]) -> Roc:
    """Rates of false and true accepts at each threshold, from the highest threshold down.

    Args:
      similarity: one per pair; higher means more alike.
      same: whether the pair shows one person.

    Raises:
      ValueError: only one kind of pairs, or a similarity that is not finite.
    """
    accepts, thresholds = _accepts(similarity, same)
    far, tar = (accepts / accepts[:, -1:]).astype(np.float64)
    return Roc(far, tar, thresholds)


def _accepts(similarity: np.ndarray, same: np.ndarray) -> tuple[Int[np.ndarray, "2 k"], Float[np.ndarray, " k"]]:
    """Counts of (false, true) accepts at each threshold of :func:`roc`."""
    if not np.isfinite(similarity).all():
        bad = int(np.sum(~np.isfinite(similarity)))
        raise ValueError(f"{bad} of {len(similarity)} similarities are not finite; leave those pairs out")
    if same.all() or not same.any():
        raise ValueError(
            f"{int(same.sum())} pairs of one person and {int((~same).sum())} of two; verification needs both kinds"
        )
    order = np.argsort(-similarity, kind="stable")
    scores, hit = similarity[order].astype(np.float64), same[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # the last of each group of equal similarities
    counts = np.stack([np.cumsum(~hit)[last], np.cumsum(hit)[last]])
    return np.concatenate([np.zeros((2, 1), np.int64), counts], axis=1), np.concatenate([[np.inf], scores[last]])


def auc(similarity: Float[np.ndarray, " n"], same: Bool[np.ndarray, " n"]) -> float:
    """Area under the ROC curve, in [0, 1]; ½ is chance.

    Equals the Mann–Whitney statistic: how often a pair of one person is more similar than a pair of two; ties count ½.
    Raises as :func:`roc` does.
    """
    accepts, _ = _accepts(similarity, same)
    # Twice the trapezoids' areas are integers, so the sum is exact.
    doubled = np.sum(np.diff(accepts[0]) * (accepts[1, 1:] + accepts[1, :-1]))
    return float(doubled / (2 * accepts[0, -1] * accepts[1, -1]))


def eer(similarity: Float[np.ndarray, " n"], same: Bool[np.ndarray, " n"]) -> float:
    """Equal error rate, in [0, 1]: where FAR equals 1 - TAR on the ROC curve, with straight lines between its corners.

    Raises as :func:`roc` does.
    """
    far, tar, _ = roc(similarity, same)
    excess = far - (1.0 - tar)  # strictly increasing, from -1 to 1
    i = int(np.argmax(excess >= 0))
    share = -excess[i - 1] / (excess[i] - excess[i - 1])
    return float(far[i - 1] + share * (far[i] - far[i - 1]))


def tar_at_far(similarity: Float[np.ndarray, " n"], same: Bool[np.ndarray, " n"], far: float) -> float:
    """The largest TAR among the thresholds whose FAR is at most ``far``, without interpolation.

    NaN with fewer than 1/far pairs of two people: one false accept would then exceed ``far``, and a single pair would
    decide the value (:func:`resolved`). Raises as :func:`roc` does.
    """
    accepts, _ = _accepts(similarity, same)
    if not resolved(int(accepts[0, -1]), far):
        return np.nan
    allowed = np.floor(far * accepts[0, -1] + 1e-9)  # .29 * 100 is slightly below 29 in floating point
    return float(accepts[1][accepts[0] <= allowed].max() / accepts[1, -1])


def resolved(n_not: int, far: float) -> bool:
    """Whether ``n_not`` pairs of two people are enough (1/far or more) to measure the rate ``far``."""
    return far * n_not >= 1.0 - 1e-9


class Accuracy(NamedTuple):
    """Cross-validated accuracy, in [0, 1].

    Attributes:
      mean: mean accuracy of the folds.
      std: its standard deviation over the folds, with n - 1 (LFW's σ̂).
      error: standard error of the mean, std / √folds; LFW prints it after ±.
      folds: accuracy in each fold, by increasing fold number.
      thresholds: threshold of each fold, chosen on the others.
    """

    mean: float
    std: float
    error: float
    folds: Float[np.ndarray, " k"]
    thresholds: Float[np.ndarray, " k"]


def ten_fold(
    similarity: Float[np.ndarray, " n"], same: Bool[np.ndarray, " n"], fold: Int[np.ndarray, " n"]
) -> Accuracy:
    """Accuracy by LFW's protocol (Huang et al. 2007, View 2): a fold is scored at a threshold from the other folds.

    The candidates are the midpoints between neighbouring similarities of the other folds, one value above all of them
    and one below. The threshold is the candidate with the highest accuracy on the other folds; ties go to the lowest.
    A pair counts as one person if its similarity is at least the threshold.

    Args:
      similarity: one per pair; higher means more alike.
      same: whether the pair shows one person.
      fold: number of the pair's fold; LFW has ten folds, this function takes two or more.

    Raises:
      ValueError: a single fold, only one kind of pairs, or a similarity that is not finite.
    """
    numbers = np.unique(fold)
    if len(numbers) < 2:
        raise ValueError(f"{len(similarity)} pairs in {len(numbers)} fold; a threshold comes from the other folds")
    _accepts(similarity, same)  # raises for pairs that cannot be scored
    scores = similarity.astype(np.float64)
    thresholds = np.array([_best_threshold(scores[fold != i], same[fold != i]) for i in numbers])
    right = np.array(
        [np.mean((scores[fold == i] >= t) == same[fold == i]) for i, t in zip(numbers, thresholds, strict=True)]
    )
    std = float(right.std(ddof=1))
    return Accuracy(float(right.mean()), std, std / float(np.sqrt(len(numbers))), right, thresholds)


def _best_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    values, group = np.unique(scores, return_inverse=True)
    ones = np.bincount(group, same, len(values))
    twos = np.bincount(group, ~same, len(values))
    middle = (values[1:] + values[:-1]) / 2
    middle = np.where(middle > values[:-1], middle, values[1:])  # no number lies between two neighbouring floats
    candidates = np.concatenate([[values[0] - 1.0], middle, [values[-1] + 1.0]])
    # Candidate i rejects the first i values, right for pairs of two people, and accepts the rest, right for one person.
    right = np.concatenate([[0.0], np.cumsum(twos)]) + same.sum() - np.concatenate([[0.0], np.cumsum(ones)])
    return float(candidates[np.argmax(right)])


def interval(
    score: Callable[[np.ndarray, np.ndarray], float],
    similarity: Float[np.ndarray, " n"],
    same: Bool[np.ndarray, " n"],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """A score with its percentile bootstrap interval; the same seed and order of pairs give the same numbers.

    Pairs of one person and pairs of two are resampled separately, so that their counts stay. Pairs that share a face
    are treated as independent; the true interval is therefore slightly wider.

    Args:
      score: ``auc``, ``eer``, or any other function of (similarity, same).
      similarity: one per pair; higher means more alike.
      same: whether the pair shows one person.
      confidence: probability that the interval contains the score.
      resamples: number of bootstrap samples.
      seed: seed of the resampling.
    """
    rng = np.random.default_rng(seed)
    value = score(similarity, same)
    kinds = [np.flatnonzero(same), np.flatnonzero(~same)]
    drawn = [np.concatenate([rng.choice(kind, len(kind)) for kind in kinds]) for _ in range(resamples)]
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile([score(similarity[i], same[i]) for i in drawn], [tail, 100.0 - tail])
    return Interval(float(value), float(low), float(high), len(same))


class Ranked(NamedTuple):
    """Closed-set identification, one entry per probe.

    Attributes:
      correct: whether the probe is strictly more similar to a gallery face of its person than to everyone else's.
      found: the person of the most similar gallery face; a tie goes against the probe's own person.
      similarity: cosine of the probe and that face.
      rate: share of correct probes (the rank-1 rate).
    """

    correct: Bool[np.ndarray, " p"]
    found: Int[np.ndarray, " p"]
    similarity: Float[np.ndarray, " p"]
    rate: float


def rank1(
    gallery: Float[np.ndarray, "g d"],
    gallery_id: Int[np.ndarray, " g"],
    probes: Float[np.ndarray, "p d"],
    probe_id: Int[np.ndarray, " p"],
) -> Ranked:
    """Identifies each probe as the person of the most similar gallery face, by cosine.

    A tie counts as wrong: a network that gives every face the same embedding identifies nobody, in any gallery order.

    Args:
      gallery: features of the known faces, one or more per person.
      gallery_id: their persons.
      probes: features of the faces to identify.
      probe_id: their persons, who must be in the gallery.

    Raises:
      ValueError: no probe, or a probe of a person who is not in the gallery.
    """
    if not len(probes):
        raise ValueError("there is no probe to identify; give at least one face that is not in the gallery")
    strangers = np.setdiff1d(probe_id, gallery_id)
    if len(strangers):
        raise ValueError(
            f"{len(strangers)} people of the probes, e.g. {strangers[0]}, are not in the gallery; leave them out"
        )
    known = unit(gallery)
    chunks = []
    for first in range(0, len(probes), 1024):  # in chunks, to keep the matrix of similarities small
        chunk = np.s_[first : first + 1024]
        similarities = unit(probes[chunk]) @ known.T
        is_own = probe_id[chunk, None] == gallery_id
        own = np.where(is_own, similarities, -np.inf).max(axis=1)
        others = np.where(is_own, -np.inf, similarities)
        rival, rival_id = others.max(axis=1), gallery_id[others.argmax(axis=1)]
        correct = own > rival
        chunks.append((correct, np.where(correct, probe_id[chunk], rival_id), np.where(correct, own, rival)))
    correct, found, similarity = (np.concatenate(x) for x in zip(*chunks, strict=True))
    return Ranked(correct, found, similarity, float(correct.mean()))


class Norms(NamedTuple):
    """Norms of features (MSGAN Figs. 6 and 7) with their statistics; low, median, high: 5, 50 and 95 % quantiles."""

    norms: Float[np.ndarray, " n"]
    mean: float
    std: float
    low: float
    median: float
    high: float


def norm_stats(features: Float[np.ndarray, "n d"]) -> Norms:
    """L2 norms of features, with their mean, standard deviation (dividing by n) and quantiles.

    Raises:
      ValueError: no feature, or a feature that is not finite.
    """
    norms = np.linalg.norm(_finite(features, least=1), axis=-1)
    low, median, high = np.percentile(norms, [5.0, 50.0, 95.0])
    return Norms(norms, float(norms.mean()), float(norms.std()), float(low), float(median), float(high))


class Spectrum(NamedTuple):
    """Singular values of the features' covariance (MSGAN Fig. 14).

    Attributes:
      values: one per dimension, decreasing, in squared units of the features; their scale shows how LR features shrink.
      relative: values / the largest value, to compare shapes; all 0 if all features are equal.
      effective_rank: how many dimensions the features use: exp(entropy of values / sum) (Roy and Vetterli 2007), from 1
        to d; 0 if all features are equal.
    """

    values: Float[np.ndarray, " d"]
    relative: Float[np.ndarray, " d"]
    effective_rank: float


def singular_spectrum(features: Float[np.ndarray, "n d"]) -> Spectrum:
    """Spectrum of C = 1/n Σ (z - z̄)(z - z̄)ᵀ, MSGAN (20). Values after the (n - 1)th are 0, so use n > d features.

    Raises:
      ValueError: fewer than two features, or a feature that is not finite.
    """
    z = _finite(features, least=2)
    # Squared singular values of the centred features: C itself would lose values below 1e-16 of the largest.
    s = np.linalg.svd(z - z.mean(axis=0), compute_uv=False)
    values = np.zeros(z.shape[1])
    values[: len(s)] = np.square(s) / len(z)
    if not values[0] > 0:
        return Spectrum(values, values, 0.0)
    share = values / values.sum()
    entropy = -np.sum(share * np.log(np.where(share > 0, share, 1.0)))
    return Spectrum(values, values / values[0], float(np.exp(entropy)))


def _finite(features: np.ndarray, *, least: int) -> np.ndarray:
    if len(features) < least or not np.isfinite(features).all():
        bad = int(np.sum(~np.isfinite(features).all(axis=-1)))
        raise ValueError(f"{len(features)} features, {bad} not finite; give {least} or more, all finite")
    return features.astype(np.float64)
