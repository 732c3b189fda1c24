"""The baseline that reads low-resolution faces: what it sees, what it refuses, and its rows."""

import jax
import numpy as np
import pytest
from PIL import Image

from jfsr.data import pipeline
from jfsr.evals import Context, direct, faces, pose
from jfsr.frozen import zoo
from jfsr.methods import pose as training


@pytest.fixture(scope="module")
def pictures():
    """Three 8-bit 128×128 pictures with edges of every contrast."""
    coarse = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(x).resize((128, 128), Image.Resampling.NEAREST)) for x in coarse])


@pytest.fixture(scope="module")
def network():
    return zoo.load("small_pose")


def small(pictures, scale):
    return np.stack([pipeline.low_resolution(x, scale) for x in pictures])


@pytest.mark.parametrize("variant", ["lr16", "lr8"])
def test_what_the_network_is_trained_on_is_what_it_is_later_shown(load_config, pictures, variant):
    config = load_config("pose", variant)
    assert 128 // config.scale == int(variant[2:])
    trained = 255.0 * np.asarray(jax.jit(lambda x: training._network_input(config, x))(pictures / np.float32(255)))
    shown = faces.enlarge(small(pictures, config.scale), size=128).astype(np.float32)
    assert np.abs(trained - shown).max() < 2.0  # grey levels: three roundings to 8 bits, of up to half a level each
    assert np.abs(trained - shown).mean() < 0.5
    assert np.abs(trained - pictures).mean() > 20  # they were small indeed


def test_the_program_sees_the_enlarged_face(load_config, pictures, network):
    lr = small(pictures, 8)
    read = direct.program(load_config("pose", "lr16"), network[1])
    np.testing.assert_array_equal(read(lr), pose.program(*network)(faces.enlarge(lr, size=128)))
    assert read(lr[:0]).shape == (0, 3)
    with pytest.raises(ValueError, match="trained on 16×16, these faces are 8×8"):
        read(small(pictures, 16))


def test_a_network_of_originals_and_another_method_are_refused(load_config, network):
    with pytest.raises(ValueError, match="trained on originals"):
        direct.program(load_config("pose"), network[1])
    with pytest.raises(ValueError, match="this is a run of identity"):
        direct.program(load_config("identity"), network[1])


def test_rows_have_the_columns_of_the_other_rows_and_errors_worked_out_by_hand(pictures):
    nan = np.float32(np.nan)
    some = faces.Faces(
        names=["a.png", "b.png", "c.png"],
        position=np.array([4, 5, 6]),
        lr=small(pictures, 8),
        images=dict.fromkeys(faces.ROWS, pictures),
        pose_deg=np.array([[10, 0, -5], [nan, nan, nan], [0, 120, 0]], np.float32),
        landmarks_px=np.full((3, 68, 2), nan),
        visible=np.zeros((3, 68), bool),
    )
    shapes = []

    def read(images):
        shapes.append(images.shape[1:])
        return np.tile(np.array([[13, 1, 0]], np.float32), (len(images), 1))

    lines = direct.run([some], Context(programs={"direct": read}))
    assert shapes == [(16, 16, 3)]
    assert [(r["position"], r["name"], r["row"]) for r in lines] == [
        (4, "a.png", "direct"),
        (5, "b.png", "direct"),
        (6, "c.png", "direct"),
    ]
    assert (lines[0]["yaw_err"], lines[0]["pitch_err"], lines[0]["roll_err"], lines[0]["mae"]) == (3, 1, 5, 3)
    assert [r["dropped"] for r in lines] == ["", "no pose label", "|angle| > 99°"]
    assert np.isnan([lines[1]["mae"], lines[2]["mae"], *(r["shift"] for r in lines)]).all()
    others = pose.run([some], Context(programs={"pose": read}))
    assert {m["row"] for m in others} == set(faces.ROWS)
    assert list(lines[0]) == list(others[0])
