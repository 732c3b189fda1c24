"""The papers' printed numbers: what follows from what, and every slip that is noted, computed."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support import ROOT

from jfsr.drawing import papers
from jfsr.tables import printed, protocols
from jfsr.tables.protocols import TABLES

ANGLES = printed.POSE.split()


def numbers(rows, label, scale, keys=ANGLES):
    (row,) = [row for row in rows if row.label == label and row.scale == scale]
    return np.array([row.scores[key] for key in keys])


def test_table_1_of_msgan_is_the_gated_system():
    """Ours is Table 3's gate minus its original in 5 of 8 numbers, and in none without the gate."""
    original = numbers(printed.MSGAN_T3, "Original", 1)
    hits, without = 0, 0
    for scale, px in ((16, "8×8"), (8, "16×16")):
        ours = numbers(printed.MSGAN_T1, "Ours", scale)
        gated = numbers(printed.MSGAN_T3, f"{px}, gate", scale) - original
        known = numbers(printed.MSGAN_T3, f"{px}, SR known to be needed", scale) - original
        hits += int(np.isclose(gated, ours, atol=0.001).sum())
        without += int(np.isclose(known, ours, atol=0.001).sum())
    assert (hits, without) == (5, 0)
    assert {row.row for row in printed.MSGAN_T1 if row.label == "Ours"} == {"ours+gate"}


def test_table_1_of_msgan_contradicts_table_2():
    differences = {}
    original = numbers(printed.MSGAN_T2_AFLW2000, "Original", 1)
    for scale in (8, 16):
        gap = numbers(printed.MSGAN_T2_AFLW2000, "Bicubic", scale) - original
        said = numbers(printed.MSGAN_T1, "HopeNet", scale)
        for key, a, b in zip(ANGLES, gap, said, strict=True):
            if abs(a - b) > 0.005:
                differences[scale, key] = (round(float(a), 2), float(b))
    assert differences == {
        (8, "roll_err"): (3.86, 4.16),
        (16, "pitch_err"): (13.39, 20.57),
        (16, "roll_err"): (9.22, 9.52),
        (16, "mae"): (15.10, 15.01),
    }
    assert "13.39" in TABLES["msgan/t1"].note


def test_the_generators_ssim_does_not_fit_its_psnr():
    quality = ["psnr", "ssim"]
    psnr, ssim = numbers(printed.MSGAN_T4, "Generator", 8, quality)
    better, lower = numbers(printed.MSGAN_T2_AFLW2000, "SPARNet", 8, quality)
    assert better > psnr
    assert lower < ssim - 0.09


def test_the_papers_own_originals_and_baselines_are_one_system():
    for table in (printed.MSGAN_T3, printed.MSGAN_T4):
        for row in table:
            if row.row in ("bicubic", "original") and (row.scale, row.row) != (8, "bicubic"):
                label = {"bicubic": "Bicubic", "original": "Original"}[row.row]
                expected = numbers(printed.MSGAN_T2_AFLW2000, label, row.scale)
                np.testing.assert_array_equal([row.scores[key] for key in ANGLES], expected)


def test_jasrnets_full_network_has_two_errors():
    tables = ((printed.JASRNET_T2_FULL, "Ours"), (printed.JASRNET_T4, "Full"), (printed.JASRNET_T5, "Add"))
    assert [numbers(rows, label, 8, ["nmse_soft"])[0] for rows, label in tables] == [5.29, 5.26, 5.29]
    assert "5.26" in TABLES["jasrnet/t4"].note


def test_jasrnets_methods_on_the_originals_are_there():
    labels = [row.label for row in printed.JASRNET_T2_FULL]
    assert labels[:7] == [f"{x}, HR" for x in ("SDM", "LBF", "CFSS", "MDM", "Two-stage", "RCSR", "CPM + SBR")]
    assert [row.scores["nmse_soft"] for row in printed.JASRNET_T2_CHALLENGE][:8] == [
        15.40, 11.98, 9.98, 10.14, 7.56, 8.58, 7.58, 7.44,
    ]  # fmt: skip
    assert "MDM, HR" not in [row.label for row in printed.JASRNET_T2_AFLW]  # printed as '-'
    # Common (554) and challenge (135) make the full set (689), but for rounding and the papers' own.
    for row in printed.JASRNET_T2_FULL:
        parts = [numbers(t, row.label, row.scale, ["nmse_soft"])[0]
                 for t in (printed.JASRNET_T2_COMMON, printed.JASRNET_T2_CHALLENGE)]  # fmt: skip
        assert np.average(parts, weights=[554, 135]) == pytest.approx(row.scores["nmse_soft"], abs=0.03)


def test_iafsrs_acc_does_not_fit_its_vr():
    """The arithmetic of the note: true accepts at three numbers of false ones, 3,000 pairs of each kind."""
    acc, vr1, vr01 = numbers(printed.IAFSR_T1_LFW, "Proposed", 8, printed.VERIFICATION.split())
    true = [round(30 * x) for x in (vr01, vr1, acc)]
    false = [3, 30, round(3000 * (100 - acc) / 100)]
    assert (true, false) == ([2120, 2512, 2954], [3, 30, 46])
    slopes = np.diff(true) / np.diff(false)
    assert slopes[1] > 1.8 * slopes[0]  # a curve of one set of scores flattens
    note = TABLES["iafsr/t1-lfw"].note
    for number in ("2,954", "2,512", "2,120", "442", "392"):
        assert number in note


# ---- What the documents claim

# Figures that show results; MTUN's Fig. 1 is its Fig. 5 with a column of training faces.
FIGURES = {
    *(f"msgan/f{k}" for k in range(6, 16)), "iafsr/f2", "iafsr/f4", "iafsr/f5", "mtun/f3", "mtun/f4", "mtun/f5",
    "jasrnet/f1", "jasrnet/f4",
}  # fmt: skip
TABLE_NUMBERS = {"msgan": 5, "iafsr": 1, "mtun": 3, "jasrnet": 5}


def test_every_table_and_every_figure_is_there():
    """'Every table of the four papers by name; every figure': CHANGELOG.md."""
    for paper, count in TABLE_NUMBERS.items():
        for k in range(1, count + 1):
            assert protocols.named(f"{paper}/t{k}")
    assert set(papers.FIGURES) == FIGURES


@pytest.mark.parametrize("page", ["CHANGELOG.md", "README.md", "docs/REPRODUCE.md", "configs/README.md"])
def test_tables_and_figures_that_a_page_names_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(r"\b((?:msgan|iafsr|mtun|jasrnet)/t\d[\w-]*)", text):
        assert protocols.named(name)
    for name in re.findall(r"\b((?:msgan|iafsr|mtun|jasrnet)/f\d+)", text):
        assert papers.figure(name)


def test_reproduce_makes_every_table_and_every_figure():
    text = (ROOT / "docs/REPRODUCE.md").read_text(encoding="utf-8")
    for name in FIGURES:
        assert re.search(rf"{name}\b", text), name
    for paper, count in TABLE_NUMBERS.items():
        for k in range(1, count + 1):
            assert f"{paper}/t{k}" in text
    for loop in ("paper,x16,$row", "lr8", "weights.identity=0.0", "--beside", "wider_face", "aflw ", "helen194",
                 "weights.magnitude=", "--write-faces"):  # fmt: skip
        assert loop in text, loop
