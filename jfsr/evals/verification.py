"""Whether a frozen identity network tells people apart on restored faces: one line per pair and row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, get_args

import numpy as np

from jfsr import recognition
from jfsr.config import nearest
from jfsr.data.pairs import Pair
from jfsr.evals import identity
from jfsr.evals.context import Column, Context, Sides
from jfsr.evals.embeddings import Embeddings, embed
from jfsr.evals.faces import Faces, Line
from jfsr.metrics import Interval

NETWORK = "identity"
program = identity.program
FARS = (1e-2, 1e-3)  # of IAFSR's Table I
_TAR = "TAR: share of the same person's pairs that are accepted where at most so many of two people's are. n: pairs."
COLUMNS = {
    "acc": Column(
        title="accuracy %",
        digits=2,
        legend="Accuracy: mean over the folds of the share of pairs judged right, with the threshold that is best on "
        "the other folds; its interval is that mean ± 1.96 standard errors.",
    ),
    "auc": Column(title="AUC", digits=4, legend="AUC: area under the ROC curve, 95 % bootstrap over pairs."),
    "eer": Column(title="EER %", digits=2, legend="EER: where false accepts are as many as false rejects."),
    "acc_eer": Column(
        title="100 − EER %",
        digits=2,
        legend="100 − EER: what IAFSR calls ACC, at one threshold that is taken from the pairs themselves.",
    ),
    "tar@0.01": Column(title="TAR % at FAR 1 %", digits=2, legend=_TAR),
    "tar@0.001": Column(title="TAR % at FAR .1 %", digits=2),
}


def run(faces: Iterable[Faces], context: Context) -> list[Line]:
    """Embeds every face once and compares the two faces of every pair.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`; all of the pairs' faces.
      context: its program ``'verification'``, ``pairs`` and ``sides``.

    Returns:
      The lines of :func:`compare`.

    Raises:
      ValueError: as :func:`compare` and :func:`jfsr.evals.embeddings.embed` do.
    """
    return compare(embed(faces, context.programs["verification"]), context.pairs, sides=context.sides)


def compare(embeddings: Embeddings, pairs: Sequence[Pair], *, sides: Sides) -> list[Line]:
    """Compares the two faces of every pair by the cosine of their embeddings, once per row.

    DEVIATES: IAFSR draws the face of a pair that is made small; ours is always the first, so that nothing is drawn.

    Args:
      embeddings: of the pairs' faces; needs the row 'original' where ``sides`` is 'one'.
      pairs: by the faces' names.
      sides: 'both': both faces as the row has them; 'one': the first, and the second's original.

    Returns:
      One line per row and pair: pair (its index), a, b, same (1 or 0), fold, row, similarity in [-1, 1], and dropped,
      '' or the face without which the pair has no similarity (NaN).

    Raises:
      ValueError: ``sides`` is neither, or not one pair has both its faces.
    """
    if sides not in get_args(Sides):
        raise ValueError(f"sides is {sides!r}{nearest(sides, get_args(Sides))}; it can be 'both' or 'one'")
    position = embeddings.index()
    missing = [next((name for name in (pair.a, pair.b) if name not in position), "") for pair in pairs]
    kept = np.array([not name for name in missing], bool)
    if not kept.any():
        why = f"the first needs {missing[0]!r}, and there is e.g. {embeddings.names[0]!r}" if pairs else "there is none"
        raise ValueError(f"no pair can be compared: {why}; pairs and faces must come from the same folder")
    a, b = np.array([[position[p.a], position[p.b]] for p, keep in zip(pairs, kept, strict=True) if keep]).T
    lines: list[Line] = []
    for row, features in embeddings.by_row.items():
        other = embeddings.by_row["original"] if sides == "one" else features
        similarity = np.full(len(pairs), np.nan)
        similarity[kept] = recognition.cosine(features[a], other[b])
        for i, pair in enumerate(pairs):
            line: Line = {"pair": i, "a": pair.a, "b": pair.b, "same": int(pair.same), "fold": pair.fold}
            line |= {"row": row, "similarity": float(similarity[i])}
            lines.append(line | {"dropped": f"no face {missing[i]}" if missing[i] else ""})
    return lines


def summarize(lines: Sequence[Line]) -> tuple[dict[str, dict[str, Interval]], list[str]]:
    """The columns of a table of pairs by row, in percent but for the AUC, and what must be said of them."""
    rates = scores(lines)
    out: dict[str, dict[str, Interval]] = {}
    for row, r in rates.items():
        n = r["n_same"] + r["n_not"]
        alone = lambda value, n=n: Interval(value, math.nan, math.nan, n)
        half = 1.96 * r["acc_error"]
        out[row] = {
            "acc": Interval(100.0 * r["acc"], 100.0 * (r["acc"] - half), 100.0 * (r["acc"] + half), n),
            "auc": Interval(r["auc"], r["auc_low"], r["auc_high"], n),
            "eer": alone(100.0 * r["eer"]),
            "acc_eer": alone(100.0 * (1.0 - r["eer"])),
        }
        out[row] |= {k: alone(100.0 * v) for k, v in r.items() if k.startswith("tar@") and not math.isnan(v)}
    first = next(iter(rates.values()))
    stds = ", ".join(f"{row} {100.0 * r['acc_std']:.2f}" for row, r in rates.items())
    facts = [f"{first['n_same']} pairs of one person, {first['n_not']} of two; {first['n_dropped']} dropped"]
    facts += [f"Standard deviation of the accuracy over the folds, in percent: {stds}"]
    return out, [*facts, *dict.fromkeys(r["note"] for r in rates.values() if r["note"])]


def scores(lines: Sequence[Line]) -> dict[str, dict[str, Any]]:
    """Scores of :func:`compare`'s lines by row; each is a share of 1. Pairs that were dropped do not count.

    Returns:
      For each row: acc, acc_std (over folds), acc_error (standard error of the mean), see
      :class:`jfsr.recognition.Accuracy`; auc with its 95 % bootstrap interval auc_low, auc_high; eer; tar@0.01 and
      tar@0.001 (NaN where there are too few pairs to resolve them); n_same, n_not, n_dropped; note, what is NaN and
      why, or ''.

    Raises:
      ValueError: the pairs left are of one kind only, or all of one fold.
    """
    out: dict[str, dict[str, Any]] = {}
    for row in dict.fromkeys(line["row"] for line in lines):
        mine = [line for line in lines if line["row"] == row]
        kept = [line for line in mine if not line["dropped"]]
        similarity = np.array([line["similarity"] for line in kept], np.float64)
        same = np.array([line["same"] for line in kept]).astype(bool)
        accuracy = recognition.ten_fold(similarity, same, np.array([line["fold"] for line in kept], np.int64))
        area = recognition.interval(recognition.auc, similarity, same)
        n_not = int(np.sum(~same))
        rates: dict[str, Any] = {"acc": accuracy.mean, "acc_std": accuracy.std, "acc_error": accuracy.error}
        rates |= {"auc": area.mean, "auc_low": area.low, "auc_high": area.high}
        rates["eer"] = recognition.eer(similarity, same)
        rates |= {f"tar@{far:g}": recognition.tar_at_far(similarity, same, far) for far in FARS}
        rates |= {"n_same": int(same.sum()), "n_not": n_not, "n_dropped": len(mine) - len(kept)}
        unresolved = [f"{far:g}" for far in FARS if not recognition.resolved(n_not, far)]
        why = f"TAR at FAR {', '.join(unresolved)} needs 1/FAR pairs of two people; there are {n_not}"
        out[row] = rates | {"note": why if unresolved else ""}
    return out
