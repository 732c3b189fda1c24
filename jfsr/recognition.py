"""What features say of people: whether two faces show the same one, who a face is, how features are spread; float64.

A pair is accepted, called the same person, if its similarity is at least a threshold. FAR (false accepts) is the
accepted share of the pairs of different people, TAR (true accepts, IAFSR's VR) that of the pairs of one person. Every
score is a function of the set of pairs: their order does not matter, and equal similarities are accepted together.

``roc``, ``auc``, ``eer`` and ``tar_at_far`` see only the order of the similarities, so that any strictly increasing
function of them gives the same. ``ten_fold`` puts thresholds half-way between two similarities: only increasing linear
functions leave it as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jfsr.metrics import Interval


def unit(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Features of length 1, float64; one of length 0 stays so, and is similar to nothing (cosine 0)."""
    features = features.astype(np.float64)
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)


def cosine(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Cosine of the angle between the features of each pair, [-1, 1]."""
    return np.clip(np.sum(unit(a) * unit(b), axis=-1), -1.0, 1.0)


class Roc(NamedTuple):
    """The curve's corners from (0, 0) to (1, 1): one per similarity that occurs, and the threshold +inf before them."""

    far: Float[np.ndarray, " k"]
    tar: Float[np.ndarray, " k"]
    thresholds: Float[np.ndarray, " k"]


def roc(similarity: Float[np.ndarray, " n"], same: Bool[np.ndarray, " n"]) -> Roc:
    """False and true accepts at each threshold, from the highest down.

    Args:
      similarity: of each pair, higher is more alike.
      same: whether the pair shows one person.

    Raises:
      ValueError: pairs of one kind only, or a similarity that is not finite.
    """
    accepts, thresholds = _accepts(similarity, same)
    far, tar = (accepts / accepts[:, -1:]).astype(np.float64)
    return Roc(far, tar, thresholds)


def _accepts(similarity: np.ndarray, same: np.ndarray) -> tuple[Int[np.ndarray, "2 k"], Float[np.ndarray, " k"]]:
    """Numbers of (false, true) accepts at each threshold of :func:`roc`."""
    if not np.isfinite(similarity).all():
        bad = int(np.sum(~np.isfinite(similarity)))
        raise ValueError(f"{bad} of {len(similarity)} similarities are not finite; leave those pairs out")
    if same.all() or not same.any():
        raise ValueError(
            f"{int(same.sum())} pairs of one person and {int((~same).sum())} of two; verification needs both kinds"
        )
    order = np.argsort(-similarity, kind="stable")
    scores, hit = similarity[order].astype(np.float64), same[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # the last pair of each run of equal similarity
    counts = np.stack([np.cumsum(~hit)[last], np.cumsum(hit)[last]])
    return np.concatenate([np.zeros((2, 1), np.int64), counts], axis=1), np.concatenate([[np.inf], scores[last]])


def auc(similarity: Float[np.ndarray, " n"], same: Bool[np.ndarray, " n"]) -> float:
    """Area under the ROC curve, in [0, 1]; ½ is chance.

    Equals the Mann–Whitney statistic: how often a pair of one person is more similar than a pair of two, ties counting
    ½. Errors as in :func:`roc`.
    """
    accepts, _ = _accepts(similarity, same)
    # Twice the trapezoids' areas, in whole numbers: exact.
    doubled = np.sum(np.diff(accepts[0]) * (accepts[1, 1:] + accepts[1, :-1]))
    return float(doubled / (2 * accepts[0, -1] * accepts[1, -1]))


def eer(similarity: Float[np.ndarray, " n"], same: Bool[np.ndarray, " n"]) -> float:
    """Equal error rate, in [0, 1]: where FAR equals 1 - TAR on the ROC curve, its corners joined by straight lines.

    Errors as in :func:`roc`.
    """
    far, tar, _ = roc(similarity, same)
    excess = far - (1.0 - tar)  # grows strictly, from -1 to 1
    i = int(np.argmax(excess >= 0))
    share = -excess[i - 1] / (excess[i] - excess[i - 1])
    return float(far[i - 1] + share * (far[i] - far[i - 1]))


def tar_at_far(similarity: Float[np.ndarray, " n"], same: Bool[np.ndarray, " n"], far: float) -> float:
    """The largest TAR of all thresholds whose FAR is at most ``far``; nothing is interpolated.

    NaN with fewer than 1/far pairs of two people: there one false accept would exceed ``far``, and the value would rest
    on a single pair (:func:`resolved`). Errors as in :func:`roc`.
    """
    accepts, _ = _accepts(similarity, same)
    if not resolved(int(accepts[0, -1]), far):
        return np.nan
    allowed = np.floor(far * accepts[0, -1] + 1e-9)  # .29 * 100 is a little under 29 in binary
    return float(accepts[1][accepts[0] <= allowed].max() / accepts[1, -1])


def resolved(n_not: int, far: float) -> bool:
    """Whether ``n_not`` pairs of two people, 1/far or more, can measure the rate ``far``."""
    return far * n_not >= 1.0 - 1e-9


class Accuracy(NamedTuple):
    """Cross-validated accuracy, in [0, 1].

    Attributes:
      mean: of the folds' accuracies.
      std: their standard deviation, with n - 1 (LFW's σ̂).
      error: standard error of the mean, std / √folds: what LFW prints after ±.
      folds: accuracy in each fold, by rising fold number.
      thresholds: that of each fold, found on the others.
    """

    mean: float
    std: float
    error: float
    folds: Float[np.ndarray, " k"]
    thresholds: Float[np.ndarray, " k"]


def ten_fold(
    similarity: Float[np.ndarray, " n"], same: Bool[np.ndarray, " n"], fold: Int[np.ndarray, " n"]
) -> Accuracy:
    """Accuracy by LFW's protocol (Huang et al. 2007, View 2): each fold judged by a threshold from the other folds.

    The threshold has the highest accuracy on the other folds among the midpoints of neighbouring similarities there,
    one above all and one below all; of equally good ones it is the lowest. A pair counts as the same person if its
    similarity is at least the threshold.

    Args:
      similarity: of each pair.
      same: whether the pair shows one person.
      fold: number of the pair's fold; LFW has ten, this takes any two or more.

    Raises:
      ValueError: a single fold, pairs of one kind only, a similarity that is not finite.
    """
    numbers = np.unique(fold)
    if len(numbers) < 2:
        raise ValueError(f"{len(similarity)} pairs in {len(numbers)} fold; a threshold comes from the other folds")
    _accepts(similarity, same)  # refuses what no accuracy can be taken of
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
    middle = np.where(middle > values[:-1], middle, values[1:])  # nothing lies between two neighbouring floats
    candidates = np.concatenate([[values[0] - 1.0], middle, [values[-1] + 1.0]])
    # Right below candidate i: pairs of two people among the first i values; above it: pairs of one among the others.
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
    """A score with its percentile bootstrap interval; the same numbers for the same seed and order of the pairs.

    Pairs of one person and of two are drawn apart, so that their numbers stay. Pairs that share a face are drawn as if
    they did not: the true interval is somewhat wider.

    Args:
      score: ``auc``, ``eer``, or any other function of (similarity, same).
      similarity: of each pair.
      same: whether the pair shows one person.
      confidence: that the interval holds the score.
      resamples: how many times it is computed.
      seed: of the draws.
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
      found: the person found; of equally similar ones, another than the probe's.
      similarity: of the probe to the found person's face, cosine.
      rate: share of the probes that are correct: rank-1.
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
    """Names each probe after the most similar gallery face, by cosine.

    A tie is lost: a network that gives every face the same embedding finds nobody, whatever the gallery's order.

    Args:
      gallery: features of the known faces, one or more per person.
      gallery_id: whose they are.
      probes: features of the faces to name.
      probe_id: whose they are, each one in the gallery.

    Raises:
      ValueError: no probe, or one of a person who is not in the gallery.
    """
    if not len(probes):
        raise ValueError("there is no probe to name; give one face or more besides the gallery's")
    strangers = np.setdiff1d(probe_id, gallery_id)
    if len(strangers):
        raise ValueError(
            f"{len(strangers)} people of the probes, e.g. {strangers[0]}, are not in the gallery; leave them out"
        )
    known = unit(gallery)
    parts = []
    for begin in range(0, len(probes), 1024):  # keeps the table of similarities small
        part = np.s_[begin : begin + 1024]
        table = unit(probes[part]) @ known.T
        mine = probe_id[part, None] == gallery_id
        own = np.where(mine, table, -np.inf).max(axis=1)
        others = np.where(mine, -np.inf, table)
        best = others.argmax(axis=1)
        top = others.max(axis=1)
        correct = own > top
        parts.append((correct, np.where(correct, probe_id[part], gallery_id[best]), np.where(correct, own, top)))
    correct, found, similarity = (np.concatenate(x) for x in zip(*parts, strict=True))
    return Ranked(correct, found, similarity, float(correct.mean()))


class Norms(NamedTuple):
    """Lengths of features (MSGAN Figs. 6 and 7), and what describes their distribution: 5, 50 and 95 % quantiles."""

    norms: Float[np.ndarray, " n"]
    mean: float
    std: float
    low: float
    median: float
    high: float


def norm_stats(features: Float[np.ndarray, "n d"]) -> Norms:
    """L2 norms of features, and their mean, standard deviation (with n) and quantiles.

    Raises:
      ValueError: no feature, or one that is not finite.
    """
    norms = np.linalg.norm(_finite(features, least=1), axis=-1)
    low, median, high = np.percentile(norms, [5.0, 50.0, 95.0])
    return Norms(norms, float(norms.mean()), float(norms.std()), float(low), float(median), float(high))


class Spectrum(NamedTuple):
    """Singular values of the features' covariance (MSGAN Fig. 14).

    Attributes:
      values: one per dimension, falling, in squared units of the features: the scale shows how LR features shrink.
      relative: the same over the largest: the shape alone; all 0 for features that are all equal.
      effective_rank: how many dimensions carry the features: e to the entropy of values / sum (Roy and Vetterli 2007),
        from 1 to d; 0 for features that are all equal.
    """

    values: Float[np.ndarray, " d"]
    relative: Float[np.ndarray, " d"]
    effective_rank: float


def singular_spectrum(features: Float[np.ndarray, "n d"]) -> Spectrum:
    """Spectrum of C = 1/n Σ (z - z̄)(z - z̄)ᵀ, MSGAN (20); past the (n - 1)th value all is 0, so n > d is wanted.

    Raises:
      ValueError: fewer than two features, or one that is not finite.
    """
    z = _finite(features, least=2)
    # Of the centred features, squared: C itself would lose what is below 1e-16 of the largest.
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
        raise ValueError(f"{len(features)} features, {bad} not finite; this takes {least} or more, all finite")
    return features.astype(np.float64)
