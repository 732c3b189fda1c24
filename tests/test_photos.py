"""Faces of photographs: the network that fits, batches that change nothing, and a paste that moves nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from jfsr import api, photos
from jfsr.data.boxes import Face
from jfsr.data.images import read_image
from jfsr.data.photos import Square
from jfsr.photos import BySize, PhotoFace
from jfsr.training import runs

RNG = np.random.default_rng(0)


class Network:
    """Enlarges by Pillow's bicubic."""

    hr_size = 128

    def __init__(self, name, scale):
        self.name, self.scale, self.calls = name, scale, []

    def predict(self, lr):
        self.calls.append(len(lr))
        images = [
            Image.fromarray(np.round(255 * x).astype(np.uint8)).resize((128, 128), Image.Resampling.BICUBIC) for x in lr
        ]
        return np.stack([np.asarray(image, np.float32) / 255 for image in images])


def mean_colour(images):
    """A pose network of tests."""
    assert images.dtype == np.uint8
    return images.mean((1, 2)).astype(np.float32)


def networks():
    return [Network("x16", 16), Network("x4", 4), Network("x8", 8)]


def at(x, y, side):
    """A face whose square is about this one."""
    return Face(np.array([x, y, x + side, y + side], float), np.full((5, 2), np.nan), 0.95)


def smooth(width, height):
    small = RNG.integers(40, 215, (height // 12 + 2, width // 12 + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def test_a_face_goes_to_the_network_of_its_size_or_is_left_alone_with_a_reason():
    by = BySize(networks(), pose=mean_colour)
    chosen = {px: by.choose(float(px)) for px in (3, 6, 8, 11, 12, 16, 22, 23, 32, 56, 57, 500)}
    assert [(px, net.name) for px, (net, _) in chosen.items() if net] == [
        (6, "x16"), (8, "x16"), (11, "x16"), (12, "x8"), (16, "x8"), (22, "x8"), (23, "x4"), (32, "x4"), (56, "x4"),
    ]  # fmt: skip
    assert chosen[3][1] == "too small: under 6 px"
    assert chosen[57][1] == "large enough: 57 px, and the networks take 32"
    with pytest.raises(ValueError, match="no network"):
        BySize([], pose=None)


def test_what_the_gate_says_of_each_face_is_said_and_decides_nothing():
    gate = lambda images: images.reshape(len(images), -1).mean(1).astype(np.float32) / 255
    photo = smooth(200, 120)
    faces = [at(20, 20, 16), at(100, 40, 60)]
    plain = BySize(networks(), pose=None).photo(photo, faces)
    told = BySize(networks(), pose=None, gate=gate).photo(photo, faces)
    assert all(np.isnan(face.needs_sr) for face in plain)
    for before, face in zip(plain, told, strict=True):
        np.testing.assert_allclose(face.needs_sr, face.original.mean() / 255, rtol=1e-5)
        assert (face.model, face.why) == (before.model, before.why)


@pytest.mark.skipif(api.GATE not in runs.shipped(), reason="no gate ships")
def test_the_gate_that_ships_tells_a_small_face_and_has_a_card():
    photo = read_image(runs.SAMPLE)  # its face has 20 pixels
    points = (
        (np.array([[204.0, 99.7], [246.0, 102.5], [223.9, 127.1], [201.5, 138.2], [244.0, 141.0]]) + 0.5) * 96 / 512
    )
    (face,) = BySize(networks(), pose=None, gate=api.gate()).photo(photo, [Face(np.zeros(4), points - 0.5, 1.0)])
    assert face.needs_sr > 0.5
    assert "non-commercial" in (runs.SHIPPED / api.GATE / "README.md").read_text()


def test_many_photographs_share_batches_and_get_what_each_gets_alone():
    items = []
    for i, faces in enumerate([3, 0, 1, 40, 2]):
        places = [at(10 * (j % 10), 12 * (j // 10), (8, 15, 30, 70)[j % 4]) for j in range(faces)]
        items.append((i, smooth(200, 160), places))
    together = BySize(networks(), pose=mean_colour)
    got = list(together.photos(iter(items)))
    assert [name for name, *_ in got] == [0, 1, 2, 3, 4]
    assert max(max(n.calls, default=0) for n in together.networks) > 3
    for (_, photo, places), (_, same, faces) in zip(items, got, strict=True):
        assert same is photo
        alone = BySize(networks(), pose=mean_colour).photo(photo, places)
        assert len(alone) == len(faces) == len(places)
        for a, b in zip(alone, faces, strict=True):
            np.testing.assert_array_equal(a.image, b.image)
            np.testing.assert_array_equal(a.pose_deg, b.pose_deg)
            assert (a.model, a.why, a.square) == (b.model, b.why, b.square)
            assert (a.image is a.original) == (a.model == "")
            assert np.isfinite(a.change_deg)
    assert np.isnan(BySize(networks(), pose=None).photo(items[0][1], items[0][2])[0].pose_deg).all()
    # A face outside its photograph is left out; the others stay.
    assert len(BySize(networks(), pose=mean_colour).photo(items[0][1], [at(900, 900, 20), at(10, 10, 20)])) == 1


def placed(photo, x, y, side, **changes):
    crop = np.asarray(
        Image.fromarray(photo).resize((128, 128), Image.Resampling.BICUBIC, box=(max(x, 0), y, x + side, y + side))
    )
    nan = np.full(3, np.nan, np.float32)
    x, y, side = float(x), float(y), float(side)
    face = PhotoFace(np.zeros(4), 1.0, Square(x, y, side), "x8", "", crop, crop, nan, nan)
    return dataclasses.replace(face, **changes)


@pytest.mark.parametrize(
    ("x", "y", "side", "enlarge"), [(20.0, 30.0, 16.0, 8), (20.37, 30.81, 16.6, 3), (31.4, 7.7, 57.3, 1)]
)
def test_a_face_that_is_its_own_square_changes_nothing(x, y, side, enlarge):
    photo = smooth(120, 90)
    plain = np.asarray(Image.fromarray(photo).resize((120 * enlarge, 90 * enlarge), Image.Resampling.BICUBIC))
    got = photos.pasted(photo, [placed(photo, x, y, side)], enlarge=enlarge)
    away = np.abs(got.astype(int) - plain)
    assert away.mean() < 0.5
    assert np.percentile(away, 99.5) <= 4
    # Shifted by one pixel of the photograph it would not pass.
    shifted = photos.pasted(photo, [placed(photo, x, y, side, square=Square(x + 1, y, side))], enlarge=enlarge)
    inside = np.s_[
        int((y + 4) * enlarge) : int((y + side - 4) * enlarge), int((x + 4) * enlarge) : int((x + side - 4) * enlarge)
    ]
    assert np.abs(shifted[inside].astype(int) - plain[inside]).mean() > 4 * away[inside].mean() + 0.5


def test_only_restored_faces_are_pasted_feathered_and_the_smaller_on_top():
    photo = smooth(100, 100)
    flat = lambda value: np.full((128, 128, 3), value, np.uint8)
    large, small = placed(photo, 20, 20, 40, image=flat(0)), placed(photo, 40, 40, 16, image=flat(255))
    got = photos.pasted(photo, [small, large, placed(photo, 60, 60, 30, model="", image=flat(9))], enlarge=2)
    assert (got[96, 96] > 250).all()
    assert (got[70, 60] < 5).all()
    edge = np.abs(got[40:44, 44:116].astype(int) - np.asarray(Image.fromarray(photo).resize((200, 200)))[40:44, 44:116])
    assert edge[0].mean() < 12  # nothing jumps where the square begins
    np.testing.assert_array_equal(
        got[170], np.asarray(Image.fromarray(photo).resize((200, 200), Image.Resampling.BICUBIC))[170]
    )
    # At the border, half outside.
    assert photos.pasted(photo, [placed(photo, -8, 80, 16)], enlarge=4).shape == (400, 400, 3)


def test_a_photograph_grows_as_its_smallest_restored_face_needs_and_no_further():
    photo = smooth(100, 80)
    assert photos.enlargement(photo, [placed(photo, 0, 0, 16), placed(photo, 0, 0, 30)]) == 8
    assert photos.enlargement(photo, [placed(photo, 0, 0, 15)]) == 9
    assert photos.enlargement(photo, [placed(photo, 0, 0, 15, model="")]) == 1
    assert photos.enlargement(photo, []) == 1
    assert photos.enlargement(np.zeros((600, 1500, 3), np.uint8), [placed(photo, 0, 0, 8)]) == 2
    assert photos.enlargement(np.zeros((9000, 9000, 3), np.uint8), [placed(photo, 0, 0, 8)]) == 1


def test_colours_are_kept():
    original = smooth(128, 128)
    tinted = np.clip(original.astype(int) + np.array([12, -9, 4]), 0, 255).astype(np.uint8)
    kept = photos.in_colour(tinted, original)
    np.testing.assert_allclose(kept.mean((0, 1)), original.mean((0, 1)), atol=0.6)
