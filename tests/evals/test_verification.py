"""Verification: from faces to one row per pair, and from rows to scores."""

import numpy as np
import pytest
from support.people import PEOPLE, pixels, some_faces

from jfsr import recognition
from jfsr.data.pairs import Pair
from jfsr.evals import verification
from jfsr.evals.embeddings import embed

PAIRS = [Pair(f"{i}_0.png", f"{i}_{k}.png", True, i % 4) for i in range(PEOPLE) for k in (1, 2)]
PAIRS += [Pair(f"{i}_0.png", f"{(i + k) % PEOPLE}_1.png", False, i % 4) for i in range(PEOPLE) for k in (4, 8)]


@pytest.mark.parametrize(("sides", "second"), [("both", "ours"), ("one", "original")])
def test_a_row_is_the_cosine_of_the_two_sides(sides, second):
    embeddings = embed(some_faces(36), pixels)
    rows = verification.compare(embeddings, PAIRS, sides=sides)
    assert [(r["row"], r["pair"]) for r in rows] == [(m, i) for m in ("original", "ours") for i in range(len(PAIRS))]
    (some,) = some_faces(36)
    for row in rows[len(PAIRS) :: 5]:
        pair = PAIRS[row["pair"]]
        assert (row["a"], row["b"], row["same"], row["fold"], row["dropped"]) == (*pair, "")
        x = pixels(some.images["ours"][[some.names.index(pair.a)]])[0].astype(float)
        y = pixels(some.images[second][[some.names.index(pair.b)]])[0].astype(float)
        assert row["similarity"] == pytest.approx(x @ y / np.sqrt((x @ x) * (y @ y)), rel=1e-6)


def test_summaries_hold_every_score_whatever_the_batch_and_the_order_of_the_pairs():
    rows = verification.compare(embed(some_faces(36), pixels), PAIRS, sides="both")
    assert verification.compare(embed(some_faces(5), pixels), PAIRS, sides="both") == rows
    got, backwards = verification.scores(rows), verification.scores(rows[::-1])
    for row, scores in got.items():
        for key in ("acc", "acc_std", "auc", "eer", "n_same", "n_not"):
            assert backwards[row][key] == scores[key]
    ours = got["ours"]
    similarity = np.array([r["similarity"] for r in rows if r["row"] == "ours"])
    same = np.array([p.same for p in PAIRS])
    assert ours["auc"] == recognition.auc(similarity, same)
    assert ours["auc_low"] <= ours["auc"] <= ours["auc_high"]
    assert ours["acc"] == recognition.ten_fold(similarity, same, np.array([p.fold for p in PAIRS])).mean
    assert (ours["n_same"], ours["n_not"], ours["n_dropped"]) == (24, 24, 0)
    assert np.isnan(ours["tar@0.01"])
    assert ours["note"] == "TAR at FAR 0.01, 0.001 needs 1/FAR pairs of two people; there are 24"
    assert got["original"]["auc"] > ours["auc"] > 0.5


def test_a_pair_without_one_of_its_faces_is_dropped_by_name_and_none_at_all_is_an_error():
    embeddings = embed(some_faces(36), pixels)
    rows = verification.compare(embeddings, [*PAIRS, Pair("0_0.png", "gone.png", True, 0)], sides="both")
    (lost,) = [r for r in rows if r["dropped"] and r["row"] == "ours"]
    assert lost["dropped"] == "no face gone.png"
    assert np.isnan(lost["similarity"])
    whole = verification.scores(verification.compare(embeddings, PAIRS, sides="both"))["ours"]
    assert verification.scores(rows)["ours"]["n_dropped"] == 1
    assert verification.scores(rows)["ours"]["auc"] == whole["auc"]
    with pytest.raises(ValueError, match=r"no pair can be compared: the first needs 'x/0_0\.png', and there is e\.g\."):
        verification.compare(embeddings, [Pair("x/0_0.png", "x/0_1.png", True, 0)], sides="both")
    with pytest.raises((ValueError, TypeError), match=r"sides|Type-check"):
        verification.compare(embeddings, PAIRS, sides="ones")


def test_embeddings_that_would_mislead_are_refused():
    with pytest.raises(ValueError, match=r"the embedding of 0_0\.png, row 'original', is not finite"):
        embed(some_faces(36), lambda images: np.full((len(images), 2), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"two faces are named '0_0\.png'"):
        embed([*some_faces(36), *some_faces(36)], pixels)
    with pytest.raises(ValueError, match="no face to embed"):
        embed([], pixels)
