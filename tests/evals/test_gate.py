"""What the gate's decisions do to the pose errors, on readings worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jfsr.evals import Context, faces, gate


@pytest.fixture(scope="module")
def table():
    """Four faces; the third has no pose label. Every angle is read alike, so that mae is the error of each."""
    nan = np.float32(np.nan)
    empty = lambda side: np.zeros((4, side, side, 3), np.uint8)
    some = faces.Faces(
        names=["a", "b", "c", "d"],
        position=np.arange(4),
        lr=empty(16),
        images=dict.fromkeys(faces.ROWS, empty(128)),
        pose_deg=np.array([[0, 0, 0], [0, 0, 0], [nan, nan, nan], [0, 0, 0]], np.float32),
        landmarks_px=np.full((4, 68, 2), nan),
        visible=np.zeros((4, 68), bool),
    )
    read = {
        "original": np.repeat([[1.0], [2.0], [0.0], [3.0]], 3, axis=1),
        "bicubic": np.repeat([[10.0], [20.0], [0.0], [30.0]], 3, axis=1),
        "ours": np.repeat([[4.0], [5.0], [0.0], [6.0]], 3, axis=1),
    }
    # It errs on the original of b and on the low resolution of a; 0.5 is not above a half.
    needs = {"original": np.array([0.1, 0.9, 0.2, 0.5]), "bicubic": np.array([0.3, 0.8, 0.7, 0.9])}
    return some, read, needs, gate.score(some, read, needs)


def test_the_gate_picks_what_is_read(table):
    *_, lines = table
    cell = {(r["row"], r["name"]): r for r in lines}
    assert len(cell) == len(lines) == 2 * 4
    values = lambda row, key: [cell[row, name][key] for name in "abcd"]
    assert values("original+gate", "used") == ["original", "ours", "original", "original"]
    assert values("original+gate", "right") == [1, 0, 1, 1]
    assert values("ours+gate", "used") == ["bicubic", "ours", "ours", "ours"]
    assert values("ours+gate", "right") == [0, 1, 1, 1]
    assert values("ours+gate", "needs_sr") == [0.3, 0.8, 0.7, 0.9]
    np.testing.assert_array_equal(values("original+gate", "mae"), [1, 5, np.nan, 3])
    np.testing.assert_array_equal(values("ours+gate", "mae"), [10, 5, np.nan, 6])
    assert cell["original+gate", "a"]["shift"] == 0
    assert cell["ours+gate", "c"]["dropped"] == "no pose label"


def test_run_reads_each_version_once_and_asks_the_gate_for_what_it_may_be_given(table):
    some, read, needs, lines = table
    asked, shown = [], []

    def reading(images):
        shown.append(None)
        return list(read.values())[len(shown) - 1]

    def deciding(images):
        asked.append(None)
        return list(needs.values())[len(asked) - 1]

    context = Context(programs={"pose": reading, "gate": deciding})
    assert [repr(r) for r in gate.run([some], context)] == [repr(r) for r in lines]
    assert (len(shown), len(asked)) == (3, 2)


def test_the_share_of_right_decisions_is_said(table):
    *_, lines = table
    assert gate.facts(lines, Context()) == ["The gate decides rightly: 75.0 % of original, 75.0 % of bicubic"]
    assert gate.facts([], Context()) == []


def test_without_a_gate_or_a_system_there_are_no_lines(table):
    some, *_ = table
    assert gate.run([some], Context(programs={"pose": len})) == []
    some.images.pop("ours")
    assert gate.run([some], Context(programs={"pose": len, "gate": len})) == []
