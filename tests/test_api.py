"""Restoring from Python: every kind of input, the outputs, and no other change to a picture than documented."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support import fake_run

import jfsr
from jfsr import api, bundle
from jfsr.frozen import zoo
from jfsr.frozen.network import PoseOutput


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    fake_run.install(monkeypatch)


@pytest.fixture
def restorer(tmp_path):
    """Gain 1: step 200's average. Bias 0, .005, -.005."""
    return api.Restorer(fake_run.new_config(pose="stub"), {"params": fake_run.new_params(1.0)}, step=200)


def face(size=16, seed=0):
    return np.random.default_rng(seed).integers(10, 246, (size, size, 3), dtype=np.uint8)


def enlarged(lr):
    """What the fake network makes of 8-bit faces."""
    big = np.repeat(np.repeat(lr.astype(np.float64), 8, -3), 8, -2) / 255 + [0.0, 0.01, -0.01]
    return np.round(255 * big.clip(0, 1)).astype(np.uint8)


def test_a_workdir_and_its_bundle_restore_alike(tmp_path):
    run = fake_run.workdir(tmp_path / "run")
    one, two = jfsr.load(run), jfsr.load(bundle.export_bundle(run, tmp_path / "bundle"))
    assert (one.method, one.scale, one.step) == ("fake", 8, 10)
    assert (two.method, two.scale, two.step) == ("fake", 8, None)
    assert one.sha256 == two.sha256
    assert one.sha256 != jfsr.load(run, step="last").sha256
    np.testing.assert_array_equal(one(face()), two(face()))


def test_the_network_sees_the_face_and_its_answer_comes_back(restorer):
    faces = [face(seed=1), face(seed=2)]
    got = restorer(faces)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, enlarged(np.stack(faces)))


def test_every_kind_of_picture_gives_the_same(restorer, tmp_path):
    array = face()
    image = Image.fromarray(array)
    image.save(tmp_path / "face.png")
    kinds = [
        array,
        image,
        tmp_path / "face.png",
        str(tmp_path / "face.png"),
        array.astype(np.float32) / 255,
        array / 255,
    ]
    for kind in kinds:
        np.testing.assert_array_equal(restorer(kind), enlarged(array[None]), err_msg=str(type(kind)))
    np.testing.assert_array_equal(restorer(kinds), np.repeat(enlarged(array[None]), len(kinds), axis=0))
    np.testing.assert_array_equal(restorer(np.stack([array, array])), np.repeat(enlarged(array[None]), 2, axis=0))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "I;16", "1"])
def test_pictures_of_other_modes_are_read_as_the_data_sets_read_them(restorer, tmp_path, mode):
    grey = Image.fromarray(face()[..., 0])
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    elif mode == "RGBA":
        image = Image.merge("RGBA", [grey, grey, grey, Image.new("L", grey.size, 0)])  # transparent everywhere: white
    else:
        image = grey.convert(mode)
    image.save(tmp_path / ("face.tif" if mode == "CMYK" else "face.png"))
    (file,) = tmp_path.glob("face.*")
    np.testing.assert_array_equal(restorer(image), restorer(file))
    wanted = {"RGBA": np.full((16, 16), 255, np.uint8), "1": np.asarray(image.convert("L"))}.get(mode, np.asarray(grey))
    got = restorer.low_resolution(image)[0, ..., 0] * 255
    np.testing.assert_allclose(got, wanted, atol=2 if mode == "CMYK" else 1e-4)


def test_a_rotated_photograph_is_turned_upright(restorer):
    image = Image.fromarray(face())
    image.getexif()[0x0112] = 6
    np.testing.assert_array_equal(restorer(image), enlarged(np.rot90(face(), -1)[None]))


def test_a_larger_face_is_reduced_by_pillow_with_a_warning(restorer):
    big = face(64)
    with pytest.warns(UserWarning, match="a face of 64×64 is reduced to 16×16"):
        got = restorer.low_resolution(big)
    small = np.asarray(Image.fromarray(big).resize((16, 16), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(got, small[None].astype(np.float32) / 255)


def test_a_smaller_face_is_enlarged_without_a_warning(restorer):
    small = face(9)
    wanted = np.asarray(Image.fromarray(small).resize((16, 16), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(restorer.low_resolution(small), wanted[None].astype(np.float32) / 255)


def test_an_oblong_picture_gives_its_centre_square(restorer):
    wide = np.zeros((16, 24, 3), np.uint8)
    wide[:, 4:20] = face()
    np.testing.assert_array_equal(restorer(wide), enlarged(face()[None]))


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (np.full((16, 16, 3), 200.0), r"float in \[0, 1\]; got float64 from 200.0 to 200.0"),
        (np.full((16, 16, 3), np.nan), r"from nan to nan"),
        (np.full((16, 16, 3), 5, np.int64), "got int64"),
        (np.zeros((16, 16, 4), np.uint8), r"\[h, w, 3\] RGB, got \[16, 16, 4\]"),
        (np.zeros((0, 5, 3), np.uint8), r"got \[0, 5, 3\]"),
        ([], "no image given"),
    ],
)
def test_input_that_is_no_picture_is_refused(restorer, picture, says):
    with pytest.raises(ValueError, match=says):
        restorer(picture)


def test_faces_do_not_depend_on_the_other_faces_and_few_programs_serve_all(restorer):
    faces = np.stack([face(seed=i) for i in range(37)])
    together = restorer(faces)
    np.testing.assert_array_equal(together, enlarged(faces))
    fake_run.TRACES.clear()
    for count in range(1, 38):
        np.testing.assert_array_equal(restorer(faces[:count]), together[:count])
    assert {shape[0] for shape in fake_run.TRACES} <= {1, 2, 4, 8, 16}
    assert len(fake_run.TRACES) <= 5, "the network was compiled more than once for a shape"


def test_predict_takes_and_gives_floats(restorer):
    lr = np.random.default_rng(0).uniform(size=(3, 16, 16, 3)).astype(np.float32)
    got = restorer.predict(lr)
    assert got.dtype == np.float32
    wanted = np.repeat(np.repeat(lr, 8, 1), 8, 2) + np.array([0, 0.01, -0.01], np.float32)
    np.testing.assert_allclose(got, wanted.clip(0, 1), atol=1e-6)
    assert restorer.predict(lr[:0]).shape == (0, 128, 128, 3)
    with pytest.raises(ValueError, match=r"takes \[b, 16, 16, 3\], got \[3, 8, 8, 3\]"):
        restorer.predict(lr[:, :8, :8])


def test_pose_is_estimated_by_the_network_of_the_config(restorer, monkeypatch):
    class Stub:
        def apply(self, variables, images):
            brightness = images.mean((1, 2)) * variables["params"]["degrees"]
            return PoseOutput(brightness, jnp.repeat(brightness[..., None], 66, axis=-1))

        def decode(self, logits):
            return logits[..., 0]

    asked = []
    load = lambda name: (asked.append(name), (Stub(), {"params": {"degrees": np.float32(90)}}))[1]
    monkeypatch.setattr(zoo, "load", load)
    api._pose_network.cache_clear()
    faces = np.zeros((2, 128, 128, 3), np.uint8)
    faces[1, ..., 0], faces[1, ..., 2] = 255, 51
    np.testing.assert_allclose(restorer.pose(faces), [[0, 0, 0], [90, 0, 18]], atol=1e-3)
    restorer.pose(faces)
    assert asked == ["stub"], "the frozen network is loaded once"
    api._pose_network.cache_clear()


def test_without_a_pose_network_pose_says_so():
    restorer = api.Restorer(fake_run.new_config(pose=""), {"params": fake_run.new_params(1.0)})
    with pytest.raises(ValueError, match="names no pose network"):
        restorer.pose(np.zeros((1, 128, 128, 3), np.uint8))


def test_a_folder_that_cannot_be_loaded_is_named(tmp_path):
    with pytest.raises(ValueError, match="no folder"):
        api.load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="no folder"):
        api.load(tmp_path / "file")
    with pytest.raises(ValueError, match="holds no checkpoint yet"):
        api.load(fake_run.workdir(tmp_path / "new", scores=()))
    with pytest.raises(ValueError, match="no checkpoint of step 15; there are 10, 20"):
        api.load(fake_run.workdir(tmp_path / "run"), step=15)
