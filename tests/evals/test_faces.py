"""The faces that evaluations score: which can be used, what stands beside them, rounded as they are stored."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from support.heads import Heads, nearest, restored_heads

from jfsr.data import misalign, operators, pipeline
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


def test_the_operator_makes_the_low_resolution_and_the_bicubic_row():
    """And no other row: what it changes in the score of a system comes from the input alone."""
    picked, _ = faces.usable(Heads())
    batches = lambda name: pipeline.eval_batches(picked, scale=8, batch=6, lr_operator=name)
    (cv2,) = faces.compare(None, batches("cv2_cubic"), lr_operator="cv2_cubic")
    (pil,) = faces.compare(None, batches("pil_bicubic"))
    small = operators.cv2_cubic(Heads()[0]["image"], (4, 4))
    np.testing.assert_array_equal(cv2.lr[0], small)
    np.testing.assert_array_equal(cv2.images["bicubic"][0], operators.cv2_cubic(small, (32, 32)))
    np.testing.assert_array_equal(cv2.images["original"], pil.images["original"])
    assert (cv2.images["bicubic"] != pil.images["bicubic"]).any()


def test_what_left_the_picture_is_not_seen():
    """Moved by 8 of 32 pixels: the first 8 columns of the upright face are lost, and black in the baselines."""
    moved = misalign.Ranges(rotation_deg=0.0, shift=0.0, zoom=(1.0, 1.0))
    picked, _ = faces.usable(Heads())
    (batch,) = pipeline.eval_batches(picked, scale=8, batch=6, ranges=moved)
    batch["similarity"] = np.tile(np.array([0.0, 1.0, -8.0, 0.0], np.float32), (6, 1))
    batch["lr"] = np.roll(batch["hr"], -8, axis=2)[:, ::8, ::8]
    (some,) = faces.compare(lambda batch: batch["hr"], [batch])
    wanted = np.tile(np.arange(32) >= 8, (32, 1))
    np.testing.assert_array_equal(some.seen, np.tile(wanted, (6, 1, 1)))
    assert not some.images["bicubic"][:, :, :8].any()
    rows = {line["row"]: line for line in restoration.run([some], Context()) if line["name"] == "0.png"}
    assert rows["bicubic"]["seen"] == 75.0
    assert rows["bicubic"]["psnr_seen"] > rows["bicubic"]["psnr"] + 0.5
    right = peak_signal_noise_ratio(some.images["original"][0, :, 8:], some.images["bicubic"][0, :, 8:])
    np.testing.assert_allclose(rows["bicubic"]["psnr_seen"], right, atol=1e-4)
    assert rows["ours"]["psnr_seen"] == np.inf
    assert "psnr_seen" not in restoration.run(list(restored_heads(6)), Context())[0]
