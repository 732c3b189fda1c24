"""FSA-Net: what it is given, in which order, what is said where something is missing, and real faces."""

import sys

import numpy as np
import pytest
from ml_collections import ConfigDict

from jfsr import files, metrics
from jfsr.data import pipeline
from jfsr.evals import fsanet
from jfsr.frozen import zoo


class Session:
    """Says of a face (its first red value, its number, a constant)."""

    def __init__(self, constant):
        self.constant, self.inputs = constant, []

    def run(self, names, feed):
        assert names == ["output"]
        self.inputs.append(feed["input"])
        return [np.array([[feed["input"][0, 2, 0, 0], len(self.inputs), self.constant]], np.float32)]


def test_a_face_is_shrunk_by_means_of_2x2_and_given_as_bgr_about_zero():
    image = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), np.uint8)
    got = fsanet.preprocess(image)
    assert got.shape == (2, 3, 64, 64)
    assert got.dtype == np.float32
    mean = image.reshape(2, 64, 2, 64, 2, 3).astype(np.float64).mean((2, 4))
    expected = np.moveaxis((np.floor(mean + 0.5) - 127.5) / 128, -1, 1)[:, ::-1]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    red = np.zeros((1, 128, 128, 3), np.uint8)
    red[..., 0] = 255
    np.testing.assert_allclose(fsanet.preprocess(red)[0, :, 5, 5], [-127.5 / 128, -127.5 / 128, 127.5 / 128])
    assert fsanet.preprocess(image[:0]).shape == (0, 3, 64, 64)
    with pytest.raises(ValueError, match="these faces are 128×100"):
        fsanet.preprocess(image[:, :100])


def test_every_face_goes_alone_through_both_networks_and_their_mean_is_the_reading():
    images = np.zeros((5, 128, 128, 3), np.uint8)
    images[..., 0] = np.array([0, 50, 100, 150, 200])[:, None, None]
    sessions = Session(10.0), Session(20.0)
    out = fsanet.mean_of(sessions)(images)
    np.testing.assert_allclose(out[:, 0], (np.array([0, 50, 100, 150, 200]) - 127.5) / 128, rtol=1e-6)
    np.testing.assert_array_equal(out[:, 1:], [[n, 15] for n in (1, 2, 3, 4, 5)])
    for session in sessions:
        assert [x.shape for x in session.inputs] == [(1, 3, 64, 64)] * 5
        assert all(x.dtype == np.float32 and x.flags.c_contiguous for x in session.inputs)
    assert fsanet.mean_of(sessions)(images[:0]).shape == (0, 3)


def test_absent_files_and_other_files_are_named(tmp_path):
    with pytest.raises(
        zoo.MissingWeights, match=r"fsanet-1x1-iter-688590.onnx \(sha256 d85e90cb4b9d…\) and fsanet-var"
    ):
        fsanet.program(tmp_path)
    (tmp_path / "fsanet-1x1-iter-688590.onnx").write_bytes(b"something else")
    with pytest.raises(zoo.MissingWeights, match=r"something else: fsanet-1x1-iter-688590.onnx. Get them from omasaht"):
        fsanet.program(tmp_path)


def test_without_onnxruntime_the_message_says_how_to_install_it(tmp_path, monkeypatch):
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(fsanet, "FILES", {name: files.sha256(tmp_path / name) for name in ("a.onnx", "b.onnx")})
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match="pip install onnxruntime"):
        fsanet.program(tmp_path)


def test_on_real_faces_it_errs_by_a_few_degrees_and_a_mirrored_face_has_the_mirrored_pose(shared):
    pytest.importorskip("onnxruntime")
    read = fsanet.program(shared / "weights")
    # 2.2 is FSA-Net's own margin: 0.6 of the landmarks' box on every side.
    section = {"dataset": "folder", "dir": str(shared / "faces/val/pose"), "split": "", "crop": "landmark_box"}
    source = pipeline.open_source(ConfigDict({**section, "margin": 2.2, "weight": 1.0}))
    records = [source[i] for i in range(0, len(source), 4)]
    images, true = (np.stack([r[key] for r in records]) for key in ("image", "pose_deg"))
    out = read(images)
    errors = metrics.pose_errors(out, true).mean(0)
    assert errors.max() < 5.5, errors
    for k in range(3):
        assert np.corrcoef(out[:, k], true[:, k])[0, 1] > 0.7
    turned = read(np.ascontiguousarray(images[:, :, ::-1]))
    np.testing.assert_allclose(turned.mean(0), out.mean(0) * [-1, 1, -1], atol=2.5)
