"""The cosine of identity embeddings with the original's, and its column."""

from __future__ import annotations

import types

import jax.numpy as jnp
import numpy as np
import pytest

from jfsr.evals import Context, identity
from jfsr.evals.faces import compare
from jfsr.tables import protocols, results, summary


def some_faces(count):
    """Noise; the first face is restored to the level."""
    rng = np.random.default_rng(0)
    hr, lr = (rng.integers(0, 256, (count, n, n, 3)).astype(np.float32) / 255 for n in (8, 2))
    ours = np.concatenate([hr[:1], rng.uniform(size=(count - 1, 8, 8, 3)).astype(np.float32)])
    batch = {
        "hr": hr,
        "lr": lr,
        "pose_deg": np.full((count, 3), np.nan, np.float32),
        "landmarks_px": np.full((count, 68, 2), np.nan, np.float32),
        "visible": np.zeros((count, 68), bool),
        "position": np.arange(count),
        "mask": np.ones(count, bool),
        "names": [f"{i}.png" for i in range(count)],
    }
    return next(compare(lambda lr: ours, [batch]))


def first_pixels(variables, images):
    return images[:, 0, :2].reshape(-1, 6) + variables["shift"]


NETWORK = types.SimpleNamespace(name="pixels", kind="identity", features=6, apply=first_pixels)


def test_identity_is_the_cosine_with_the_originals_embedding():
    embed = identity.program(NETWORK, {"shift": jnp.zeros(())})
    some = some_faces(40)  # more than a chunk
    lines = identity.run([some], Context(programs={"identity": embed}))
    assert [(r["position"], r["row"]) for r in lines[:2]] == [(0, "bicubic"), (1, "bicubic")]
    assert len(lines) == 3 * 40  # bicubic, nearest, ours
    for line in lines:
        a, b = (some.images[m][line["position"], 0, :2].ravel().astype(float) for m in ("original", line["row"]))
        expected = (a @ b) / np.sqrt((a @ a) * (b @ b))
        np.testing.assert_allclose(line["identity_cosine"], expected, rtol=1e-5)
    assert embed(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, 6)
    np.testing.assert_allclose(embed(some.images["ours"])[33], embed(some.images["ours"][33:34])[0], rtol=1e-6)


def test_a_pose_network_knows_nobody():
    with pytest.raises(ValueError, match="reads pose, not identity"):
        identity.program(types.SimpleNamespace(name="net", kind="pose"), {})


def test_the_table_has_a_column_for_it():
    context = Context(programs={"identity": identity.program(NETWORK, {"shift": jnp.zeros(())})})
    lines = summary.merge(identity.run([some_faces(3)], context))
    protocol = protocols.choose("synthetic", {"scale": 8, "identity": "folder/small_identity"})
    without = protocols.choose("synthetic", {"scale": 8})
    table = results.of_lines(lines, protocol, context).tables["Scores"]
    assert table.head == ["", "identity cos", "n"]
    mean = np.mean([line["identity_cosine"] for line in lines if line["row"] == "ours"])
    (ours,) = [row for row in table.body if row[0] == "Ours"]
    assert ours[1].startswith(f"{mean:.3f} [")
    assert "identity by small_identity" in protocol.text()
    assert "identity" not in without.text()
