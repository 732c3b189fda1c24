"""What a pose network reads off the versions of a face, against answers worked out by hand."""

from __future__ import annotations

import types

import jax.numpy as jnp
import numpy as np
import pytest
from support.heads import NETWORK, TRACES, Heads, restored_heads

from jfsr.evals import Context, faces, pose


@pytest.fixture
def context():
    return Context(programs={"pose": pose.program(NETWORK, {"shift": jnp.zeros(())})}, source="photos")


def test_pose_rows_hold_reading_truth_errors_and_the_rule_that_drops(context):
    lines = pose.run(restored_heads(6), context)
    row = {(r["name"], r["row"]): r for r in lines}
    assert len(lines) == len(faces.ROWS) * 6
    third = row["3.png", "original"]  # picture 3: red says 0, as the label does
    assert (third["yaw_true"], third["pitch_true"], third["roll_true"]) == (0, 3, -3)
    np.testing.assert_allclose([third["yaw_deg"], third["pitch_deg"], third["roll_deg"]], 0, atol=1e-4)
    np.testing.assert_allclose([third["yaw_err"], third["pitch_err"], third["roll_err"]], [0, 3, 3], atol=1e-4)
    np.testing.assert_allclose(third["mae"], 2, atol=1e-4)
    np.testing.assert_allclose(third["geodesic"], np.sqrt(18), atol=0.01)
    assert third["shift"] == 0
    assert third["dropped"] == ""
    assert row["1.png", "ours"]["dropped"] == "no pose label"
    assert row["2.png", "ours"]["dropped"] == "|angle| > 99°"
    assert np.isnan(row["2.png", "ours"]["mae"])
    assert row["2.png", "ours"]["pitch_true"] == 120
    assert np.isfinite(row["1.png", "ours"]["yaw_deg"])


def test_a_program_compiles_once_and_takes_its_variables_as_an_argument():
    read = pose.program(NETWORK, {"shift": jnp.ones(())})
    images = np.stack([Heads()[i]["image"] for i in (0, 3, 6)])
    TRACES.clear()
    out = read(np.concatenate([images] * 12))
    np.testing.assert_allclose(out[:3, 0], [-27, 3, 33], atol=1e-3)
    np.testing.assert_array_equal(read(images), out[:3])
    assert TRACES == [(faces.CHUNK, 32, 32, 3)]
    assert read(images[:0]).shape == (0, 3)


@pytest.mark.parametrize("batch", [1, 4])
def test_no_line_depends_on_the_batch_size(batch, context):
    by_face = lambda lines: [
        {k: repr(v) for k, v in x.items()} for x in sorted(lines, key=lambda x: (x["position"], x["row"]))
    ]
    assert by_face(pose.run(restored_heads(batch), context)) == by_face(pose.run(restored_heads(6), context))


def test_without_a_program_there_are_no_lines():
    assert pose.run(restored_heads(6), Context()) == []


def test_faces_without_labels_are_said_once(context):
    lines = pose.run(restored_heads(6), context)
    assert pose.facts(lines, context) == []
    bare = [{**line, "dropped": "no pose label"} for line in lines]
    assert pose.facts(bare, context) == ["Pose errors not scored: no pose labels in photos"]


def test_an_identity_network_reads_no_pose():
    with pytest.raises(ValueError, match="reads identity, not pose"):
        pose.program(types.SimpleNamespace(name="net", kind="identity"), {})
