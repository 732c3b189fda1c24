"""Titles, digits and legends as the evaluators declare them; tables of text."""

from __future__ import annotations

import math

import pytest

from jfsr import evals
from jfsr.metrics import Interval
from jfsr.tables import columns


def test_columns_come_from_the_evaluators_in_their_order():
    assert list(columns.every_column())[:6] == ["yaw_err", "pitch_err", "roll_err", "mae", "geodesic", "shift"]
    assert set(columns.every_column()) == {key for e in evals.every() for key in e.COLUMNS}
    keys = [key for e in evals.every() for key in e.COLUMNS]
    assert len(keys) == len(set(keys)), "two evaluators declare one column"
    assert columns.shown("rgb")[6:9] == ["psnr", "ssim", "lpips"]
    assert columns.shown("y")[6:9] == ["psnr_y", "ssim_y", "lpips"]
    assert columns.legends(["psnr", "psnr_y", "ssim"]) == ["PSNR and SSIM: means of the faces' values."]


def test_numbers_have_the_digits_of_their_column():
    assert columns.number(0.98765, "auc") == "0.9877"
    assert columns.number(-1.0, "psnr", sign="+") == "-1.00"
    assert columns.number(None, "psnr") == "–"
    assert columns.with_interval(Interval(0.5, 0.25, 0.75, 9), "ssim") == "0.500 [0.250, 0.750]"
    assert columns.with_interval(Interval(10.0, math.nan, math.nan, 9), "eer") == "10.00"


def test_rows_of_a_gate_and_of_a_second_network_stand_below_and_say_so():
    rows = ["ours@fsanet", "ours+gate", "direct", "ours", "original"]
    assert sorted(rows, key=columns.row_order) == ["original", "ours", "direct", "ours+gate", "ours@fsanet"]
    assert columns.row_title("bicubic@fsanet") == "Bicubic, by FSA-Net"
    assert columns.row_title("ours+gate") == "Ours, gate"
    with pytest.raises(KeyError):
        columns.row_title("theirs")


def test_markdown_escapes_bars_and_lines_up():
    lines = columns.Table(["|yaw|", "n"], [["0–15°", "12"]]).markdown().splitlines()
    assert lines[0] == "| \\|yaw\\| | n  |"
    assert len({len(line) for line in lines}) == 1
