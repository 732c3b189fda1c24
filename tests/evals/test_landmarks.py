"""NMSE of the landmarks that a system finds, and its columns."""

from __future__ import annotations

import numpy as np
import pytest

from jfsr.evals import Context, landmarks
from jfsr.evals.faces import compare
from jfsr.tables import protocols, results, summary


def face_points(batch, seed=0):
    """68 random points inside the image; of the last face one is unknown, one hidden, one outside."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(8, 120, (batch, 68, 2)).astype(np.float32)
    visible = np.ones((batch, 68), bool)
    points[-1, 3], visible[-1, 5], points[-1, 7] = np.nan, False, [140, 50]
    return points, visible


def scored_faces():
    points, visible = face_points(3)
    points[0, 36], points[0, 45] = [30, 40], [70, 70]  # 50 px apart
    found = np.where(np.isfinite(points), points, 0.0) + np.array([3.0, 4.0], np.float32)
    points[1] = np.nan  # no labels
    images = np.zeros((3, 128, 128, 3), np.float32)
    batch = {"hr": images, "lr": images[:, ::8, ::8], "pose_deg": np.zeros((3, 3), np.float32)}
    batch |= {"landmarks_px": points, "visible": visible, "position": np.arange(3, dtype=np.int32)}
    batch |= {"mask": np.array([True, True, False]), "names": ["a", "b", "padding"]}
    outputs = {"sr": images, "landmarks_px": found, "landmarks_soft_px": found - np.array([3.0, 4.0], np.float32)}
    return list(compare(lambda lr: outputs, [batch]))


def test_landmark_lines_and_their_table():
    protocol = protocols.choose("folder", {"dir": "x", "scale": 8})
    context = Context(normaliser="outer_eyes")
    lines = landmarks.run(scored_faces(), context)
    assert [(r["position"], r["name"], r["row"]) for r in lines] == [(0, "a", "ours"), (1, "b", "ours")]
    np.testing.assert_allclose(lines[0]["nmse"], 10.0, rtol=1e-5)
    assert lines[0]["nmse_soft"] < 1e-5
    assert np.isnan(lines[1]["nmse"])
    result = results.of_lines(summary.merge(lines), protocol, context)
    table = result.tables["Scores"]
    assert table.head == ["", "NMSE %", "NMSE % (soft)", "n"]
    assert table.body[0][:2] == ["Ours", "10.00 [10.00, 10.00]"]
    assert any("over outer_eyes: 0.0 % of the faces above 10 %; area under" in fact for fact in result.facts)
    with pytest.raises(ValueError, match="normaliser is 'eyes'; it can be outer_eyes or pupils or box_sqrt"):
        protocols.choose("folder", {"normaliser": "eyes"})
    other = protocols.choose("folder", {"dir": "x", "scale": 8, "normaliser": "box_sqrt"})
    assert other.digest() != protocol.digest()


def test_a_system_without_landmarks_has_no_landmark_lines():
    (some,) = scored_faces()
    some.found_px.clear()
    assert landmarks.run([some], Context()) == []
