"""MSGAN's Figs. 10 and 13 on faces that are small in their pictures: real low resolution, without originals."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from jfsr.data import pipeline
from jfsr.drawing import papers
from jfsr.tables import protocols, scoring

SIDES = {"val_16px": (16, 20, 24), "val_8px": (8, 10, 12)}


@pytest.fixture
def wider(tmp_path):
    """One picture of noise with three boxes for each scale, and one face that is too large for either."""
    root = tmp_path / "WIDER"
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    (root / "WIDER_val/images/0--Parade").mkdir(parents=True)
    (root / "wider_face_split").mkdir()
    Image.fromarray(picture).save(root / "WIDER_val/images/0--Parade/a.png")
    (root / "WIDER_val/images/0--Parade/a.png").rename(root / "WIDER_val/images/0--Parade/a.jpg")
    boxes = [(40 + 50 * i, 60, round(0.8 * side), side) for i, side in enumerate(sum(SIDES.values(), (60,)))]
    lines = [f"{x} {y} {w} {h} 0 0 0 0 0 0 " for x, y, w, h in boxes]
    text = "\n".join(["0--Parade/a.jpg", str(len(lines)), *lines, ""])
    (root / "wider_face_split/wider_face_val_bbx_gt.txt").write_text(text)
    return root, picture


def system(scale, seen):
    def predict(batch):
        seen.append(np.asarray(batch["lr"]))
        return np.repeat(np.repeat(np.asarray(batch["lr"]), scale, 1), scale, 2)

    return scoring.System("a system", predict, scale)


@pytest.mark.parametrize(("scale", "split"), [(8, "val_16px"), (16, "val_8px")])
def test_the_input_is_the_pictures_own_pixels_and_nothing_is_called_an_original(wider, scale, split):
    root, picture = wider
    plain = {"split": None, "crop": None, "margin": None}
    found, lacking = papers.choose(["msgan/f10", "msgan/f13"], {"wider_face": str(root)}, plain)
    assert not lacking
    seen: list[np.ndarray] = []
    drawing, protocol = papers.draw("msgan/f13", found["msgan/f13"], {"ours": system(scale, seen)}, None)
    assert (protocol.split, protocol.lr_operator) == (split, "native")
    names = list(dict.fromkeys(line["name"] for line in drawing.lines))
    assert len(names) == 3
    assert all({"psnr", "ssim"} & line.keys() == set() for line in drawing.lines)  # there is nothing to compare with
    assert any(f"Real low resolution: {split}" in note and "no originals" in note for note in drawing.notes)
    assert not any("The paper's faces are of" in note for note in drawing.notes)

    # The middle face's input: its box's square × 1.3, cut from the picture and reduced once.
    faces = pipeline.open_source(protocols.replace(protocol, {}), low=128 // scale)
    side = 1.3 * SIDES[split][1]
    index = [faces.source[i]["box_px"][3] - faces.source[i]["box_px"][1] for i in range(3)].index(SIDES[split][1])
    x, y, width, height = faces.source.entries[index].data
    x0, y0 = x + width / 2 - side / 2, y + height / 2 - side / 2
    small = Image.fromarray(picture).resize(
        (128 // scale,) * 2, Image.Resampling.BICUBIC, box=(x0, y0, x0 + side, y0 + side)
    )
    np.testing.assert_allclose(seen[0][index] * 255, np.asarray(small), atol=1)
    up_and_down = pipeline.low_resolution(faces[index]["image"], scale)
    assert np.abs(up_and_down.astype(float) - np.asarray(small)).max() > 3  # what a larger face would have given


def test_the_poses_are_of_the_small_faces_alone(wider, monkeypatch):
    from jfsr.drawing.papers import msgan

    root, _ = wider
    read = lambda images: np.tile(np.float32([1, 2, 3]), (len(images), 1))
    monkeypatch.setattr(msgan.pose, "program", lambda network, variables: read)
    found, _ = papers.choose(["msgan/f10"], {"wider_face": str(root)}, dict.fromkeys(("split", "crop", "margin")))

    class Network:
        name, kind = "a network", "pose"

    drawing, _ = papers.draw("msgan/f10", found["msgan/f10"], {"ours": system(8, [])}, (Network, None))
    assert {line["row"] for line in drawing.lines} == {"bicubic", "ours"}


def test_of_other_faces_the_figures_have_originals(wider, tmp_path):
    (tmp_path / "mine").mkdir()
    Image.fromarray(wider[1][:128, :128]).save(tmp_path / "mine/a.png")
    fields = {"split": None, "crop": "center", "margin": 1.0}
    found, _ = papers.choose(["msgan/f13"], {"folder": str(tmp_path / "mine")}, fields)
    assert found["msgan/f13"].lr_operator == "pil_bicubic"
    drawing, _ = papers.draw("msgan/f13", found["msgan/f13"], {"ours": system(8, [])}, None)
    assert all("psnr" in line for line in drawing.lines)
