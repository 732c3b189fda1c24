"""Whether a frozen identity network tells people apart on restored faces: one row per pair and method."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from jfsr import recognition
from jfsr.config import nearest
from jfsr.data.pairs import Pair
from jfsr.evals.faces import Faces
from jfsr.evals.identity import Embed

# Which faces of a pair are restored: both (MSGAN, JASRNet), or one, beside the other's original (IAFSR).
Sides = Literal["both", "one"]
FARS = (1e-2, 1e-3)  # of IAFSR's Table I


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """Embeddings of faces, not normalised.

    Attributes:
      names: of the faces, each once.
      by_method: [n, d] by method, in the order of the names.
    """

    names: list[str]
    by_method: dict[str, Float[np.ndarray, "n d"]]

    def index(self) -> dict[str, int]:
        """Row of each name."""
        return {name: i for i, name in enumerate(self.names)}


def embed(faces: Iterable[Faces], reader: Embed) -> Embeddings:
    """Embeds every version of every face, each once, however many pairs it appears in.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      reader: from :func:`jfsr.evals.identity.embedder`.

    Raises:
      ValueError: no face, a name that two faces bear, or an embedding that is not finite.
    """
    names: list[str] = []
    parts: dict[str, list[np.ndarray]] = {}
    for some in faces:
        for method, images in some.images.items():
            features = reader(images)
            bad = np.flatnonzero(~np.isfinite(features).all(axis=-1))
            if len(bad):
                raise ValueError(f"the embedding of {some.names[bad[0]]} by method {method!r} is not finite")
            parts.setdefault(method, []).append(features)
        names += some.names
    if not names:
        raise ValueError("there is no face to embed")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two faces are named {twice!r}; pairs would not know which is meant")
    return Embeddings(names, {method: np.concatenate(some) for method, some in parts.items()})


def run(embeddings: Embeddings, pairs: Sequence[Pair], *, sides: Sides) -> list[dict[str, Any]]:
    """Compares the two faces of every pair by the cosine of their embeddings, once per method.

    DEVIATES: IAFSR draws the face of a pair that is made small; ours is always the first, so that nothing is drawn.

    Args:
      embeddings: from :func:`embed`; needs the method 'original' where ``sides`` is 'one'.
      pairs: by the faces' names.
      sides: 'both': both faces as the method gives them; 'one': the first, and the second's original.

    Returns:
      One row per method and pair: pair (its index), a, b, same (1 or 0), fold, method, similarity in [-1, 1], and
      dropped, '' or the face without which the pair has no similarity (NaN).

    Raises:
      ValueError: ``sides`` is neither, or not one pair has both its faces.
    """
    if sides not in get_args(Sides):
        raise ValueError(f"sides is {sides!r}{nearest(sides, get_args(Sides))}; it can be 'both' or 'one'")
    row_of = embeddings.index()
    absent = [next((name for name in (pair.a, pair.b) if name not in row_of), "") for pair in pairs]
    kept = np.array([not name for name in absent], bool)
    if not kept.any():
        why = f"the first needs {absent[0]!r}, and there is e.g. {embeddings.names[0]!r}" if pairs else "there is none"
        raise ValueError(f"no pair can be compared: {why}; pairs and faces must come from the same folder")
    a, b = np.array([[row_of[p.a], row_of[p.b]] for p, keep in zip(pairs, kept, strict=True) if keep]).T
    rows: list[dict[str, Any]] = []
    for method, features in embeddings.by_method.items():
        other = embeddings.by_method["original"] if sides == "one" else features
        similarity = np.full(len(pairs), np.nan)
        similarity[kept] = recognition.cosine(features[a], other[b])
        for i, pair in enumerate(pairs):
            row: dict[str, Any] = {"pair": i, "a": pair.a, "b": pair.b, "same": int(pair.same), "fold": pair.fold}
            row |= {"method": method, "similarity": float(similarity[i])}
            rows.append(row | {"dropped": f"no face {absent[i]}" if absent[i] else ""})
    return rows


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Scores of :func:`run`'s rows by method; each is a share of 1. Pairs that were dropped do not count.

    Returns:
      For each method: acc, acc_std (over folds), acc_error (standard error of the mean), see
      :class:`jfsr.recognition.Accuracy`; auc with its 95 % bootstrap interval auc_low, auc_high; eer; tar@0.01 and
      tar@0.001 (NaN where there are too few pairs to resolve them); n_same, n_not, n_dropped; note, what is NaN and
      why, or ''.

    Raises:
      ValueError: the pairs left are of one kind only, or all of one fold.
    """
    out: dict[str, dict[str, Any]] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        kept = [row for row in mine if not row["dropped"]]
        similarity = np.array([row["similarity"] for row in kept], np.float64)
        same = np.array([row["same"] for row in kept]).astype(bool)
        accuracy = recognition.ten_fold(similarity, same, np.array([row["fold"] for row in kept], np.int64))
        area = recognition.interval(recognition.auc, similarity, same)
        n_not = int(np.sum(~same))
        scores: dict[str, Any] = {"acc": accuracy.mean, "acc_std": accuracy.std, "acc_error": accuracy.error}
        scores |= {"auc": area.mean, "auc_low": area.low, "auc_high": area.high}
        scores["eer"] = recognition.eer(similarity, same)
        scores |= {f"tar@{far:g}": recognition.tar_at_far(similarity, same, far) for far in FARS}
        scores |= {"n_same": int(same.sum()), "n_not": n_not, "n_dropped": len(mine) - len(kept)}
        unresolved = [f"{far:g}" for far in FARS if not recognition.resolved(n_not, far)]
        why = f"TAR at FAR {', '.join(unresolved)} needs 1/FAR pairs of two people; there are {n_not}"
        out[method] = scores | {"note": why if unresolved else ""}
    return out
