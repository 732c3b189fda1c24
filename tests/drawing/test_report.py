"""The HTML page of an evaluation."""

from __future__ import annotations

import numpy as np
from support.lines import CONTEXT, SYNTHETIC, three_faces

from jfsr.drawing import report
from jfsr.tables import results


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
