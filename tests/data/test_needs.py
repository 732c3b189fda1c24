"""Training on nothing is refused, with what needs the label that no face has."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jfsr.data import needs


def test_training_on_nothing_is_an_error_with_the_count():
    batch = {
        "position": np.arange(4),
        "pose_deg": np.full((4, 3), np.nan, np.float32),
        "identity": np.array([-1, -1, -1, 7]),
        "visible": np.zeros((4, 68), bool),
    }
    needs.check(iter([]), {})
    needs.check(itertools.repeat(batch), {"identity": "the method identity"})
    says = r"none of the first 512 faces .* has a known pose, and weights.pose_est needs it; .*weights.pose_est to 0"
    with pytest.raises(ValueError, match=says):
        needs.check(itertools.repeat(batch), {"identity": "x", "pose_deg": "weights.pose_est"})
    with pytest.raises(ValueError, match=r"8 faces .* known landmark that is visible, and weights.heatmap needs it"):
        needs.check(itertools.repeat(batch), {"landmarks_px": "weights.heatmap"}, faces=8)
    late = [batch] * 20 + [{**batch, "pose_deg": np.zeros((4, 3))}]
    needs.check(iter(late), {"pose_deg": "weights.pose_est"})
