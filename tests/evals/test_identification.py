"""Identification: the choice of the gallery, and one row per probe."""

import numpy as np
import pytest
import scipy.ndimage
from support.people import PEOPLE, pixels, some_faces

from jfsr import recognition
from jfsr.data import records
from jfsr.evals import gallery, identification
from jfsr.evals.embeddings import embed

HEAD = np.array([[-1, -1, 0], [1, -1, 0], [0, 0, 0.8], [-0.7, 1, 0], [0.7, 1, 0]])  # eyes, nose, mouth; x, y, depth


def five(yaw_deg, *, roll_deg=0.0, size=20.0):
    """The points of a turned head, in pixels."""
    yaw, roll = np.deg2rad(yaw_deg), np.deg2rad(roll_deg)
    x = HEAD[:, 0] * np.cos(yaw) + HEAD[:, 2] * np.sin(yaw)
    flat = np.stack([x, HEAD[:, 1]], -1) @ np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    return (64 + size * flat).astype(np.float32)


def test_asymmetry_sees_yaw_and_neither_roll_nor_size():
    assert gallery.asymmetry(five(0)) == pytest.approx(0, abs=1e-6)
    assert gallery.asymmetry(five(20)) == pytest.approx(0.8 * np.tan(np.deg2rad(20)) / 2, rel=1e-4)
    for other in (five(-20), five(20, roll_deg=33), five(20, size=7)):
        assert gallery.asymmetry(other) == pytest.approx(gallery.asymmetry(five(20)), rel=1e-4)
    assert np.isnan(gallery.asymmetry(np.full((5, 2), np.nan, np.float32)))
    assert gallery.asymmetry(np.ones((5, 2), np.float32)) == np.inf


def test_sharpness_is_the_variance_of_scipys_laplacian():
    image = np.random.default_rng(13).integers(0, 256, (12, 9, 3), np.uint8)
    luma = 16 + image.astype(float) @ np.array([65.481, 128.553, 24.966]) / 255
    expected = scipy.ndimage.laplace(luma)[1:-1, 1:-1].var()
    assert gallery.sharpness(image) == pytest.approx(expected, rel=1e-5)
    soft = scipy.ndimage.gaussian_filter(image.astype(float), (1, 1, 0)).astype(np.uint8)
    assert gallery.sharpness(soft) < 0.1 * expected


class People:
    """Four faces of each of three people, three of a fourth, one of nobody known, and a picture that cannot be read."""

    name = "people"
    YAWS = ((30, 1, 3, 12), (2, 40, 25, 12), (0, 0, 0, np.nan), (0, 0, 0))
    CONTRAST = ((90, 20, 60, 90), (10, 90, 90, 90), (50, 50, 40, 90), (90, 90, 90))

    def __init__(self):
        self.faces = [(p, k) for p, yaws in enumerate(self.YAWS) for k in range(len(yaws))]
        self.faces += [(-1, 0), (None, 0)]

    def __len__(self):
        return len(self.faces)

    def __getitem__(self, index):
        person, k = self.faces[index]
        if person is None:
            raise records.BadRecord("torn.png: cannot be decoded")
        contrast = self.CONTRAST[person][k] if person >= 0 else 0
        board = 128 + contrast * ((np.indices((16, 16)).sum(0) % 2) * 2 - 1)
        record = records.new_record(np.repeat(board[..., None], 3, -1).astype(np.uint8), f"{person}_{k}.png")
        record["identity"] = np.int32(person)
        record["landmarks5_px"] = five(self.YAWS[person][k]) if person >= 0 else record["landmarks5_px"]
        return record


def test_the_gallery_is_the_sharpest_of_the_most_frontal_faces_of_people_with_many():
    roles = gallery.choose(People(), min_images=3)
    # 0: of 1° and 3° the sharper; 1: 2° although blurred; 2: of three frontal ones the first of the two sharpest, and
    # never the one without landmarks. Person 3 has a face too few.
    assert roles.gallery == {"0_2.png": 0, "1_0.png": 1, "2_0.png": 2}
    assert len(roles.probes) == 9
    assert roles.probes["2_3.png"] == 2
    assert not roles.gallery.keys() & roles.probes.keys()
    assert roles.indices == list(range(12))
    assert roles.unusable == ["torn.png: cannot be decoded"]


def test_a_gallery_that_cannot_be_chosen_is_refused():
    with pytest.raises(ValueError, match="nobody in people has more than 25 faces; the most are 4 of one person"):
        gallery.choose(People())
    blind = People()
    blind.YAWS = ((30, 1, 3, 12), (np.nan,) * 4, (0, 0, 0, 0), (0, 0, 0))
    with pytest.raises(ValueError, match=r"no face of person 1 in people \(e\.g\. 1_0\.png\) has five landmarks"):
        gallery.choose(blind, min_images=3)


def test_probes_are_named_after_the_originals_of_the_gallery():
    embeddings = embed(some_faces(36), pixels)
    names = {f"{i}_{k}.png": i for i in range(PEOPLE) for k in range(3)}
    known_as = {name: person for name, person in names.items() if name.endswith("_0.png")}
    probes = {name: person for name, person in names.items() if name not in known_as}
    roles = gallery.Roles(known_as, probes, list(range(36)), [])
    rows = identification.rank(embeddings, roles)
    assert [(r["row"], r["name"]) for r in rows] == [(m, n) for m in ("original", "ours") for n in probes]
    index = embeddings.index()
    known = recognition.unit(embeddings.by_row["original"][[index[n] for n in known_as]])
    for row in rows:
        cosines = known @ recognition.unit(embeddings.by_row[row["row"]][[index[row["name"]]]])[0]
        assert row["found"] == np.argmax(cosines)
        assert row["correct"] == (row["found"] == row["identity"] == int(row["name"].split("_")[0]))
        assert row["similarity"] == pytest.approx(cosines.max())
    rates = [np.mean([r["correct"] for r in rows if r["row"] == m]) for m in ("original", "ours")]
    assert rates[0] > rates[1] > 1 / PEOPLE
    with pytest.raises(ValueError, match=r"1 faces of gallery and probes have no embedding, e\.g\. new"):
        identification.rank(embeddings, gallery.Roles(known_as, {"new": 1}, [], []))
