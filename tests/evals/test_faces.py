"""The faces that evaluations score: which can be used, what stands beside them, rounded as they are stored."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from support.heads import Heads, nearest, restored_heads

from jfsr.data import pipeline
from jfsr.evals import Context, faces, restoration


def test_usable_leaves_out_what_cannot_be_read_and_says_why():
    picked, reasons = faces.usable(Heads())
    assert [picked[i]["name"] for i in range(len(picked))] == ["0.png", "1.png", "2.png", "3.png", "4.png", "6.png"]
    assert reasons == ["five.png: cannot be decoded"]
    assert len(faces.usable(Heads(), limit=3)[0]) == 3


def test_a_source_without_one_usable_face_is_an_error_that_says_why():
    class Bad(Heads):
        def __getitem__(self, index):
            raise ValueError("no 68 landmarks")

    with pytest.raises(ValueError, match="no face of heads can be scored: no 68 landmarks"):
        faces.usable(Bad())


def test_compare_drops_padding_and_the_baseline_is_pils_bicubic_of_the_8_bit_lr():
    some = list(restored_heads(4))
    assert [len(f.names) for f in some] == [4, 2]
    record = Heads()[6]
    small = Image.fromarray(record["image"]).resize((4, 4), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(some[1].lr[1], np.asarray(small))
    expected = np.asarray(small.resize((32, 32), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(some[1].images["bicubic"][1], expected)
    np.testing.assert_array_equal(some[1].images["nearest"][1], np.repeat(np.repeat(small, 8, axis=0), 8, axis=1))
    np.testing.assert_array_equal(some[1].images["original"][1], record["image"])
    np.testing.assert_array_equal(some[1].images["ours"][1, ::8, ::8], np.asarray(small))


def test_predictions_are_clipped_and_rounded_before_they_are_scored():
    wild = lambda batch: nearest(batch["lr"]) * 1.3 - 0.1
    batch = next(pipeline.eval_batches(Heads(), scale=8, batch=2, limit=2))
    some = next(faces.compare(wild, [batch]))
    ours = np.round(np.clip(wild(batch), 0, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(some.images["ours"], ours)
    rows = restoration.run([some], Context())
    expected = peak_signal_noise_ratio(Heads()[1]["image"], ours[1])
    (row,) = [r for r in rows if r["name"] == "1.png" and r["row"] == "ours"]
    np.testing.assert_allclose(row["psnr"], expected, atol=1e-4)


def test_without_a_system_the_baselines_stand_alone():
    picked, _ = faces.usable(Heads())
    (some,) = faces.compare(None, pipeline.eval_batches(picked, scale=8, batch=6))
    assert list(some.images) == ["original", "bicubic", "nearest"]
    assert {line["row"] for line in restoration.run([some], Context())} == {"bicubic", "nearest"}


def test_lines_are_plain_values_one_per_face():
    (some,) = faces.compare(None, pipeline.eval_batches(faces.usable(Heads())[0], scale=8, batch=6))
    lines = some.lines("bicubic", {"score": np.arange(6, dtype=np.float32) / 2, "why": list("abcdef")})
    assert lines[2] == {"position": 2, "name": "2.png", "row": "bicubic", "score": 1.0, "why": "c"}
    assert type(lines[2]["score"]) is float
