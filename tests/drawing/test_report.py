"""The HTML page of an evaluation."""

from __future__ import annotations

import types

import numpy as np
from support.lines import CONTEXT, SYNTHETIC, three_faces

from jfsr.drawing import report
from jfsr.evals import Context, faces, restoration
from jfsr.tables import results, scoring


def test_page_is_one_file_that_escapes_what_it_shows():
    result = results.of_lines(three_faces(), SYNTHETIC, CONTEXT, notes=["no labels in <b>here</b>"])
    picture = np.zeros((4, 4, 3), np.uint8)
    page = report.page(result, {"Faces": (picture, "as restored")}, {"config": "abc"})
    assert "&lt;b&gt;here" in page
    assert "<b>here" not in page
    assert 'src="data:image/png;base64,' in page
    assert "://" not in page
    assert 'name="viewport"' in page
    assert SYNTHETIC.text() in page


def test_components_are_drawn_for_a_system_that_estimates_them():
    rng = np.random.default_rng(0)
    batch = {
        "hr": rng.uniform(size=(4, 128, 128, 3)).astype(np.float32),
        "lr": rng.uniform(size=(4, 16, 16, 3)).astype(np.float32),
        "pose_deg": np.full((4, 3), np.nan, np.float32),
        "landmarks_px": np.full((4, 68, 2), np.nan, np.float32),
        "visible": np.zeros((4, 68), bool),
        "position": np.arange(4, dtype=np.int32),
        "mask": np.array([True, True, True, False]),
        "names": list("abcd"),
    }

    def headings(outputs):
        restore = lambda positions: list(faces.compare(lambda lr: {"sr": batch["hr"]} | outputs, [batch]))
        scored = object.__new__(scoring.Scored)  # of a whole table the pictures read these alone
        scored.lines, scored.programs = restoration.run(restore([]), Context()), {}
        scored.faces_at = restore
        scored.data = types.SimpleNamespace(protocol=types.SimpleNamespace(task="faces"))
        return list(report.pictures(scored))

    assert "Facial components at random" in headings({"components": np.zeros((4, 16, 16, 4), np.float32)})
    assert "Facial components at random" not in headings({"components": np.zeros((4, 0, 0, 4), np.float32)})
    assert headings({}) == ["Faces at random", "Worst by PSNR"]
