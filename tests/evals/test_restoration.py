"""PSNR, SSIM and the perceptual distance of restored faces, against answers worked out by hand."""

from __future__ import annotations

import types

import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio
from support.heads import NETWORK, restored_heads

from jfsr.evals import Context, restoration


def test_face_box_scores_the_landmarks_rectangle_alone():
    some = next(restored_heads(6))
    box = restoration.run([some], Context(region="face_box"))
    (row,) = [r for r in box if r["name"] == "1.png" and r["row"] == "bicubic"]
    cut = [some.images[m][1, 6:27, 4:28] for m in ("original", "bicubic")]
    np.testing.assert_allclose(row["psnr"], peak_signal_noise_ratio(*cut), atol=1e-4)
    some.landmarks_px[2] = np.nan
    (row,) = [r for r in restoration.run([some], Context(region="face_box"))
              if r["name"] == "2.png" and r["row"] == "ours"]  # fmt: skip
    assert np.isnan(row["psnr"])
    assert "no face box" in row["unscored"]


@pytest.mark.parametrize("batch", [1, 4])
def test_no_line_depends_on_the_batch_size(batch):
    by_face = lambda lines: [
        {k: repr(v) for k, v in x.items()} for x in sorted(lines, key=lambda x: (x["position"], x["row"]))
    ]
    got, expected = (restoration.run(restored_heads(n), Context()) for n in (batch, 6))
    assert by_face(got) == by_face(expected)


FAR = types.SimpleNamespace(
    name="far",
    kind="perceptual",
    distance=lambda variables, a, b: variables["gain"] * jnp.abs(a - b).mean((1, 2, 3)),
)


@pytest.mark.parametrize("batch", [1, 4, 6])
def test_the_perceptual_distance_is_to_the_original_and_of_each_face_alone(batch):
    measure = restoration.program(FAR, {"gain": jnp.full((), 3.0)})
    rows = restoration.run(restored_heads(batch), Context(programs={"restoration": measure}))
    assert {r["row"] for r in rows} == {"bicubic", "nearest", "ours"}
    faces_by_name = {name: (part, i) for part in restored_heads(6) for i, name in enumerate(part.names)}
    for row in rows:
        part, i = faces_by_name[row["name"]]
        a, b = (part.images[m][i].astype(np.float64) / 255 for m in (row["row"], "original"))
        np.testing.assert_allclose(row["lpips"], 3 * np.abs(a - b).mean(), rtol=1e-5)
    assert "lpips" not in restoration.run(restored_heads(6), Context())[0]
    with pytest.raises(ValueError, match="red reads pose, no perceptual distance; give lpips_alex or lpips_vgg"):
        restoration.program(NETWORK, {})
