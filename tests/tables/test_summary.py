"""Lines per face to numbers per row, worked out by hand; the CSV."""

from __future__ import annotations

import csv
import math

import pytest
from support.lines import three_faces

from jfsr.tables import columns, summary


@pytest.fixture
def lines():
    return three_faces()


def test_merge_joins_by_face_and_row_in_the_order_of_the_faces():
    pose = [{"position": p, "row": m, "mae": p} for m in ("ours", "original") for p in (1, 0)]
    quality = [{"position": p, "row": "ours", "psnr": 20 + p} for p in (0, 1)]
    merged = summary.merge(quality, pose)
    assert [(r["position"], r["row"]) for r in merged] == [
        (0, "original"),
        (0, "ours"),
        (1, "original"),
        (1, "ours"),
    ]
    assert merged[3] == {"position": 1, "row": "ours", "psnr": 21, "mae": 1}


def test_summary_is_the_mean_over_the_faces_that_have_the_score(lines):
    means = summary.summarize(lines, columns.shown("rgb"))
    assert means["ours"]["mae"].mean == (3 + 9) / 2
    assert means["ours"]["mae"].n == 2
    assert means["ours"]["psnr"].mean == 25.0
    assert means["ours"]["psnr"].n == 3
    assert "psnr" not in means["original"]


def test_gap_closed_is_what_is_won_back_of_what_was_lost(lines):
    # MAE: original 4, bicubic 12, ours 6.
    assert summary.gap_closed(summary.summarize(lines, columns.shown("rgb"))) == pytest.approx(75.0)
    quality_only = [{k: v for k, v in r.items() if "err" not in k and k not in ("mae", "geodesic")} for r in lines]
    assert math.isnan(summary.gap_closed(summary.summarize(quality_only, columns.shown("rgb"))))


def test_csv_has_every_row_and_leaves_unknowns_empty(lines, tmp_path):
    summary.write_csv(tmp_path / "images.csv", lines)
    read = list(csv.DictReader((tmp_path / "images.csv").read_text().splitlines()))
    assert len(read) == 9
    assert read[0]["psnr"] == ""
    assert float(read[2]["psnr"]) == 24.0
    assert [p.name for p in tmp_path.iterdir()] == ["images.csv"]
