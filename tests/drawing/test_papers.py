"""The papers' figures: numbers behind them against answers worked out by hand, choices, refusals, and files."""

import dataclasses
import types

import numpy as np
import pytest
from PIL import Image

from jfsr import recognition
from jfsr.data import degrade
from jfsr.drawing import papers
from jfsr.drawing.papers import iafsr, msgan, parts
from jfsr.drawing.papers.scene import Scene
from jfsr.evals import pose
from jfsr.evals.faces import Faces
from jfsr.tables import protocols, scoring
from jfsr.tables.protocols import Protocol

NAMES = [*(f"msgan/f{k}" for k in range(6, 16)), "iafsr/f2", "iafsr/f4", "iafsr/f5"]
NAMES += ["mtun/f3", "mtun/f4", "mtun/f5", "jasrnet/f1", "jasrnet/f4"]


# --- by name ----------------------------------------------------------------------------------------------------------


def test_every_figure_is_there_and_says_what_it_takes():
    assert list(papers.FIGURES) == NAMES
    text = "\n".join(papers.listing())
    for name in NAMES:
        assert name in text
        assert papers.FIGURES[name].protocol.title.lower().startswith(name.split("/")[0])
    assert "magface (" in text
    assert "--beside: runs of the other losses" in text


def test_faces_are_the_papers_the_users_or_rendered(monkeypatch):
    monkeypatch.setattr(scoring.building, "built", lambda spec: None)
    plain = {"split": None, "crop": None, "margin": None}
    found, lacking = papers.choose(["msgan/f9", "msgan/f14"], {"aflw2000": "A"}, plain)
    assert [(n, p.dataset, p.dir, p.crop) for n, p in found.items()] == [
        ("msgan/f9", "aflw2000", "A", "hopenet_aflw2000")
    ]
    assert "'msgan/f14' needs its faces" in lacking["msgan/f14"]
    assert "--data=folder=DIR" in lacking["msgan/f14"]

    mine, _ = papers.choose(NAMES, {"folder": "D"}, {**plain, "margin": 1.5})
    assert {p.dataset for p in mine.values()} == {"folder"}
    assert {p.dir for p in mine.values()} == {"D"}
    assert {p.margin for p in mine.values()} == {1.5}
    assert mine["iafsr/f4"].crop == "center"  # pairs.csv, as the table folder-verification
    assert mine["mtun/f3"].misalign == protocols.MISALIGNED
    assert mine["jasrnet/f4"].region == "face_box"

    heads, _ = papers.choose(["msgan/f6", "mtun/f3"], {"synthetic_heads": ""}, plain)
    assert [(p.dataset, p.split, p.dir) for p in heads.values()] == [("synthetic_heads", "test", "")] * 2


@pytest.mark.parametrize(
    ("names", "folders", "message"),
    [
        (["msgan/f99"], {}, "no figure 'msgan/f99'"),
        (["msgan/f9"], {"biwi": "B"}, "--data=biwi=B is read by none of the figures msgan/f9"),
        (["iafsr/f4"], {"synthetic_heads": ""}, "no pairs of faces"),
    ],
)
def test_wrong_choices_are_refused(names, folders, message):
    with pytest.raises(ValueError, match=message):
        papers.choose(names, folders, {})


def test_without_its_network_a_figure_is_refused_and_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("JFSR_WEIGHTS", str(tmp_path))
    system = scoring.System("s", lambda batch: batch["lr"], 8)
    magface = papers.figure("msgan/f7").protocol
    with pytest.raises(ValueError, match=r"jfsr port magface.*--identity=mobilefacenet"):
        papers.network("msgan/f7", None, system, magface)
    with pytest.raises(ValueError, match=r"jfsr port hopenet.*--pose=NAME"):
        papers.network("msgan/f6", None, system, papers.figure("msgan/f6").protocol)
    assert papers.network("msgan/f12", None, system, papers.figure("msgan/f12").protocol) is None
    # Fig. 7 is about MagFace: the run's own identity network does not take its place.
    own = dataclasses.replace(system, config={"frozen": {"identity": "small_identity"}})
    with pytest.raises(ValueError, match="jfsr port magface"):
        papers.network("msgan/f7", None, own, magface)
    assert papers.network("msgan/f7", "small_identity", own, magface)[0].name == "small_identity"


@pytest.mark.parametrize(
    ("labels", "message"),
    [(["Ours"], "a name that every figure has"), (["a", "a"], "comes twice"), ([""], "is empty")],
)
def test_labels_of_further_systems_are_their_own(labels, message):
    with pytest.raises(ValueError, match=message):
        papers.check_labels(labels)


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_negative_pairs_are_of_two_people_and_use_a_face_once():
    rng = np.random.default_rng(3)
    people = rng.integers(0, 7, 101)
    pairs = msgan.negative_pairs(people, seed=0)
    assert len(pairs) == 50
    assert len(np.unique(pairs)) == 100
    assert (people[pairs[:, 0]] != people[pairs[:, 1]]).all()
    np.testing.assert_array_equal(pairs, msgan.negative_pairs(people, seed=0))
    assert not np.array_equal(pairs, msgan.negative_pairs(people, seed=1))
    assert len(msgan.negative_pairs(np.full(10, -1), seed=0)) == 5  # unknown: people of their own
    mostly = np.array([4] * 8 + [1, 2])  # two faces of others: two pairs
    assert len(msgan.negative_pairs(mostly, seed=0)) == 2
    assert len(msgan.negative_pairs(np.zeros(4, int), seed=0)) == 0


def test_gaps_of_features_by_hand():
    original = np.array([[3.0, 4.0], [1.0, 0.0], [2.0, 0.0]])
    found = iafsr.gaps(np.array([[6.0, 8.0], [0.0, 1.0], [-1.0, 0.0]]), original)
    np.testing.assert_allclose(found.cosine, [1, 0, -1], atol=1e-12)
    np.testing.assert_allclose(found.angle_deg, [0, 90, 180], atol=1e-5)
    np.testing.assert_allclose(found.magnitude, [5, 0, 1], atol=1e-12)


def test_reduced_faces_went_down_and_up_by_pil():
    face = np.random.default_rng(0).integers(0, 255, (1, 128, 128, 3), np.uint8)
    np.testing.assert_array_equal(iafsr.reduce(face, 128), face)
    way = Image.Resampling.BICUBIC
    expected = Image.fromarray(face[0]).resize((12, 12), way).resize((128, 128), way)
    np.testing.assert_array_equal(iafsr.reduce(face, 12)[0], expected)


def test_betas_are_the_papers_at_alpha_one(load_config):
    assert iafsr.betas(load_config("iafsr")) == pytest.approx((10.0, 1e-3))
    assert iafsr.betas(load_config("iafsr", "sr_angle")) == pytest.approx((10.0, 0.0))
    halved = load_config("iafsr", f"weights.pixel={2.0 * iafsr.PIXELS}")  # twice the pixel loss: half of β
    assert iafsr.betas(halved) == pytest.approx((5.0, 5e-4))
    for other in (load_config("iafsr", "sr_ou"), load_config("iafsr", "srgan"), load_config("msgan"), None):
        assert iafsr.betas(other) is None


def test_a_sweep_falls_into_two_panels():
    row = lambda *x: dict(zip(("beta1", "beta2", "accuracy_percent", "standard_error"), x, strict=True))
    rows = [
        row(5, 0, 90.0, 1),
        row(10, 0, 92.0, 1),
        row(10, 1e-3, 93.0, 1),
        row(10, 1e-2, 91.0, 1),
        row(5, 1e-3, 99, 1),
    ]
    first, second, at = iafsr.split(rows)
    assert at == 10
    np.testing.assert_array_equal(first, [[5, 90, 1], [10, 92, 1]])
    np.testing.assert_array_equal(second, [[1e-3, 93, 1], [1e-2, 91, 1]])
    first, second, at = iafsr.split(rows[:2])  # no run with a β₂ yet: it belongs at the best β₁
    assert (len(first), len(second), at) == (2, 0, 10)


def test_a_recipe_in_words():
    drawn = types.SimpleNamespace(
        order=np.array([degrade.DOWN, degrade.GAUSS, degrade.NOISE, degrade.MOTION]),
        gauss_on=True, motion_on=False, noise_on=True, gauss_size=9, gauss_sigma=1.5, down_kind=1, noise_sigma=4 / 255,
    )  # fmt: skip
    said = msgan.recipe(drawn)
    assert said["order"] == "down blur noise"
    assert (said["blur_px"], said["blur_sigma"], said["filter"]) == (9, 1.5, "bicubic")
    assert said["noise_sigma_8bit"] == pytest.approx(4)
    drawn.gauss_on = drawn.noise_on = False
    assert msgan.recipe(drawn) == {
        "order": "down", "blur_px": 0, "blur_sigma": 0.0, "filter": "bicubic", "noise_sigma_8bit": 0.0
    }  # fmt: skip


def test_the_centre_of_a_heatmap_in_pixels_of_the_image():
    heat = np.zeros((64, 64), np.float32)
    heat[10, 20] = heat[10, 30] = 0.8
    heat[60, 60] = 0.3  # under half of the largest value
    assert parts.centre(heat, image_size=128) == pytest.approx((50.5, 20.5, 0.8))
    x, y, value = parts.centre(np.zeros((4, 4), np.float32), image_size=128)
    assert np.isnan([x, y]).all()
    assert value == 0


def test_true_components_stand_at_the_labels():
    points = np.random.default_rng(0).uniform(20, 100, (1, 68, 2)).astype(np.float32)
    points[0, :17] = np.nan  # an unknown chin
    blank = np.zeros((1, 128, 128, 3), np.uint8)
    some = Faces(
        ["a"], np.array([0]), blank[:, :16, :16], {"original": blank}, np.full((1, 3), np.nan, np.float32),
        points, np.isfinite(points).all(-1),
    )  # fmt: skip
    maps = parts.true_components(some, size=64, sigma_px=2.0)
    assert maps.shape == (1, 64, 64, 4)
    x, y, _ = parts.centre(maps[0, ..., 1], image_size=128)
    np.testing.assert_allclose([x, y], points[0, 27:36].mean(0), atol=8)  # the blobs overlap
    far, _, _ = parts.centre(maps[0, ..., 0], image_size=128)
    assert abs(far - points[0, 36:48, 0].mean()) < 8
    assert maps[0, ..., 3].max() == 0


# --- drawn from a folder ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five faces of three people, and one picture that is none."""
    root = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    for i in range(5):
        small = rng.integers(0, 255, (9, 9, 3), np.uint8)
        Image.fromarray(small).resize((140, 140), Image.Resampling.BICUBIC).save(root / f"face{i}.png")
    (root / "face5.png").write_bytes(b"no picture")
    lines = [f"face{i}.png,{person},{10 * i},0,0" for i, person in enumerate(["ann", "ann", "bob", "cy", "ann"])]
    (root / "labels.csv").write_text("\n".join(["file,identity,yaw_deg,pitch_deg,roll_deg", *lines, ""]))
    return root


def squares(batch):
    """A system that enlarges with pixels as squares."""
    return np.repeat(np.repeat(batch["lr"], 128 // batch["lr"].shape[1], 1), 128 // batch["lr"].shape[2], 2)


def scene(folder, *scales, limit=0, **fields):
    """Systems of some scales over the folder, the first 'ours'."""
    labels = ["ours", *(f"peer{i}" for i in range(1, len(scales)))]
    systems = {label: scoring.System(label, squares, s) for label, s in zip(labels, scales, strict=True)}
    protocol = Protocol("msgan/f6", "A figure", "folder", dir=str(folder), crop="center", scale=scales[0], **fields)
    network = types.SimpleNamespace(name="net", kind="identity", features=3), {}
    return Scene(protocol, systems, network, limit)


def colours(images):
    """Stands for a network: the sums of the three channels."""
    return images.astype(np.float64).sum(axis=(1, 2)) / 1e5


@pytest.fixture
def reads_colours(monkeypatch):
    monkeypatch.setattr(Scene, "features", lambda self: colours)
    monkeypatch.setattr(msgan.identity, "program", lambda network, variables: colours)
    monkeypatch.setattr(msgan.pose, "program", lambda network, variables: lambda x: colours(x).astype(np.float32))


def test_faces_are_chosen_by_a_seed_and_unreadable_ones_are_left_out(folder):
    everything = scene(folder, 8).choose(0)
    assert [everything.data.source[i]["name"] for i in range(5)] == [f"face{i}.png" for i in range(5)]
    assert everything.identity.tolist() == [everything.identity[0]] * 2 + everything.identity[2:4].tolist() + [
        everything.identity[0]
    ]
    two = scene(folder, 8).choose(2).data.source.indices
    assert two == scene(folder, 8).choose(2).data.source.indices
    assert len(scene(folder, 8, limit=3).choose(0).identity) == 3
    turned = scene(folder, 8).choose(6, lambda record: record["pose_deg"][0] > 15)
    assert turned.data.source.indices == [2, 3, 4]
    with pytest.raises(ValueError, match="none has the labels"):
        scene(folder, 8).choose(6, lambda record: False)


def test_norms_by_scale_and_method(folder, reads_colours):
    drawing = msgan.norms(scene(folder, 8, 16))
    rows = {(r["lr_px"], r["row"], r["name"]): r["norm"] for r in drawing.lines}
    assert len(rows) == len(drawing.lines) == 5 * 6
    assert {key[:2] for key in rows} == {
        (16, "original"), (16, "bicubic"), (16, "ours"), (8, "original"), (8, "bicubic"), (8, "peer1")
    }  # fmt: skip
    with Image.open(folder / "face3.png") as file:
        face = scene(folder, 8).choose(0).data.source[3]["image"]
        assert file.size == (140, 140)
    assert rows[16, "original", "face3.png"] == pytest.approx(np.linalg.norm(colours(face[None])[0]))
    small = np.asarray(Image.fromarray(face).resize((8, 8), Image.Resampling.BICUBIC))
    ours = np.repeat(np.repeat(small, 16, 0), 16, 1)
    assert rows[8, "peer1", "face3.png"] == pytest.approx(np.linalg.norm(colours(ours[None])[0]))
    assert not [note for note in drawing.notes if "not shown" in note]
    alone = msgan.norms(scene(folder, 8))
    assert [note for note in alone.notes if "the panel of ×16" in note]
    assert drawing.picture.shape[1] > 1.8 * alone.picture.shape[1]  # a second panel


def test_spectrum_rows_are_the_spectrum(folder, reads_colours):
    some = scene(folder, 8)
    drawing = msgan.spectrum(some)
    source = some.choose(0).data.source
    features = colours(np.stack([source[i]["image"] for i in range(5)]))
    expected = recognition.singular_spectrum(features).values
    found = [row["value"] for row in drawing.lines if row["row"] == "original"]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert "5 faces, 3 dimensions" in drawing.notes


def test_pose_errors_need_labels_and_are_those_of_the_evaluation(folder, reads_colours, tmp_path):
    drawing = msgan.errors(scene(folder, 8, 8))
    assert {row["row"] for row in drawing.lines} == {"original", "bicubic", "ours", "peer1"}
    row = next(r for r in drawing.lines if (r["row"], r["name"]) == ("ours", "face2.png"))
    assert row["yaw_true"] == 20
    assert row["yaw_err"] == pytest.approx(abs(row["yaw_deg"] - 20), abs=1e-4)
    (tmp_path / "a.png").write_bytes((folder / "face0.png").read_bytes())
    with pytest.raises(ValueError, match="none has the labels that it needs"):
        msgan.errors(scene(tmp_path, 8))


def test_the_labels_stand_on_the_original_or_its_reading_does(folder, reads_colours):
    labelled = msgan.poses_beside_labels(scene(folder, 8))
    original = {r["name"]: r["yaw_deg"] for r in labelled.lines if r["row"] == "original"}
    assert original == {f"face{i}.png": 10.0 * i for i in range(5)}
    read = msgan.poses(scene(folder, 8))
    assert {r["what"] for r in read.lines} == {"reading"}
    assert not any(r["yaw_deg"] in (0.0, 10.0) for r in read.lines)


def test_mixing_compares_two_people(folder, reads_colours):
    some = scene(folder, 8, 8)
    with_loss = types.SimpleNamespace(method="msgan", weights=types.SimpleNamespace(identity=0.1))
    some.systems["ours"] = dataclasses.replace(some.systems["ours"], config=with_loss)
    drawing = msgan.mixing(some)
    ann = {"face0.png", "face1.png", "face4.png"}
    pairs = {(r["a"], r["b"]) for r in drawing.lines}
    assert len(pairs) == 2
    assert all(len(ann & set(pair)) < 2 for pair in pairs)
    assert {r["row"] for r in drawing.lines} == {"original", "bicubic", "ours", "peer1"}
    assert any("MSGAN without L_ip" in note for note in drawing.notes)
    assert not any("MSGAN with L_ip" in note for note in drawing.notes)
    assert any(note.startswith("Fewer than 500 pairs") for note in drawing.notes)


def test_gaps_by_size_grow_to_the_small_and_are_none_at_full_size(folder, reads_colours):
    drawing = iafsr.resolution(scene(folder, 8))
    at = lambda size, key: np.array([r[key] for r in drawing.lines if r["size_px"] == size])
    np.testing.assert_allclose(at(128, "magnitude"), 0, atol=1e-12)
    np.testing.assert_allclose(at(128, "cosine"), 1, atol=1e-12)
    assert at(8, "magnitude").mean() > at(64, "magnitude").mean()
    assert len(drawing.lines) == 5 * len(iafsr.SIZES_PX)


def test_per_method_and_systems_of_two_scales_are_refused(folder, reads_colours):
    drawing = iafsr.per_method(scene(folder, 8, 8))
    assert {r["row"] for r in drawing.lines} == {"bicubic", "ours", "peer1"}
    for draw in (iafsr.per_method, msgan.errors, msgan.mixing, msgan.comparison):
        with pytest.raises(ValueError, match="systems of one scale: --beside=peer1=… restores ×16, the other ×8"):
            draw(scene(folder, 8, 16))


def test_a_figure_of_parts_needs_a_system_that_finds_them(folder):
    with pytest.raises(ValueError, match="an mtun with weights"):
        parts.components(scene(folder, 8))
    drawing = parts.restored_landmarks(scene(folder, 8, 8))
    assert any("finds no landmarks" in note for note in drawing.notes)
    assert {r["row"] for r in drawing.lines} == {"bicubic", "ours", "peer1"}


def test_departures_from_the_paper_are_told(folder, reads_colours):
    usual = papers.figure("msgan/f6").protocol
    protocol = dataclasses.replace(usual, dataset="folder", dir=str(folder), crop="center")
    net = types.SimpleNamespace(name="lightpose", kind="pose", features=3), {}
    system = scoring.System("s", squares, 8)
    drawing, drawn = papers.draw("msgan/f6", protocol, {"ours": system}, net)
    assert drawn.pose == "lightpose"
    assert drawn.scale == 8
    assert "The paper's pose network is hopenet; here it is lightpose" in drawing.notes
    assert any(note.startswith("The paper's faces are of aflw2000; these are of folder") for note in drawing.notes)


def test_pose_reader_is_the_evaluations(folder):
    assert msgan.pose.program is pose.program  # nothing above is left patched
