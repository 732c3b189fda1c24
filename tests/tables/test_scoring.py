"""One table from its faces to its result: probes worked out by hand, and which networks read the faces."""

from __future__ import annotations

import types

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from support.heads import nearest

from jfsr import evals
from jfsr.tables import protocols, scoring


def test_a_gallery_of_originals_names_the_restored_probes(tmp_path):
    """Three people of three faces, told apart by their colour; the first face of each looks straight ahead."""
    text = ["file,identity," + ",".join(f"x{i},y{i}" for i in range(5))]
    for person, colour in enumerate([(200, 40, 40), (40, 200, 40), (40, 40, 200)]):
        for i in range(3):
            face = np.clip(np.full((128, 128, 3), colour) + np.array([0, 5 * i, -5 * i]), 0, 255).astype(np.uint8)
            Image.fromarray(face).save(tmp_path / f"p{person}_{i}.png")
            nose = 64 + 12 * i
            text.append(f"p{person}_{i}.png,{person},44,50,84,50,{nose},70,50,90,78,90")
    (tmp_path / "labels.csv").write_text("\n".join(text))
    colours = types.SimpleNamespace(
        name="colours", kind="identity", features=3, apply=lambda v, images: images.mean((1, 2)) - v["grey"]
    )
    grey = {"grey": jnp.full((1, 3), 0.3)}
    protocol = protocols.choose(
        "iafsr/t1-celeba",
        {"dataset": "folder", "dir": str(tmp_path), "crop": "none", "scale": 8, "identity": "colours"},
    )
    wrong = lambda batch: nearest(batch["lr"])[..., ::-1]  # red people become blue ones
    system = scoring.System("swapped", wrong, 8)
    scored = scoring.score(system, scoring.Networks({"identity": (colours, grey)}), protocol, min_images=2)
    lines = {(line["name"], line["row"]): line for line in scored.lines}
    assert {name for name, _ in lines} == {f"p{person}_{i}.png" for person in range(3) for i in (1, 2)}
    assert all(lines[name, "bicubic"]["correct"] for name, _ in lines)
    assert [lines[f"p{person}_1.png", "ours"]["found"] for person in range(3)] == [2, 1, 0]
    assert scored.result.summary["ours"]["rank1"].mean == pytest.approx(100 / 3)
    assert scored.result.summary["bicubic"]["rank1"].n == 6
    assert "6 probes of 3 people" in scored.result.facts
    assert "Not the paper's configuration: no run of ours, so nothing is known of its training" in scored.result.facts
    assert scored.result.tables["Beside the paper"].body[-1][0] == "Ours: not the paper's configuration"
    with pytest.raises(ValueError, match=r"nobody in .* has more than 25 faces"):
        scoring.score(system, scoring.Networks({"identity": (colours, grey)}), protocol)


RUN = scoring.System("run", None, 8, ConfigDict({"frozen": {"pose": "small_pose", "identity": "small_identity"}}))


def test_the_users_network_comes_before_the_runs_and_the_runs_before_the_papers():
    table = protocols.choose("msgan/t2-aflw2000", {"dir": "x"})
    assert scoring.network_for("pose", "small_pose", RUN, table)[0][0].name == "small_pose"
    assert scoring.network_for("pose", None, RUN, table)[0][0].name == "small_pose"  # not the paper's hopenet
    assert scoring.network_for("pose", "none", RUN, table) == (None, "--pose=none")
    loaded, why = scoring.network_for("perceptual", None, RUN, table)
    assert loaded is None
    assert "jfsr port lpips_alex" in why


def test_a_table_of_pairs_takes_the_papers_identity_network_before_the_runs():
    pairs = protocols.choose("iafsr/t1-lfw", {"dir": "x"})
    loaded, why = scoring.network_for("identity", None, RUN, pairs)
    assert loaded is None
    assert "jfsr port lightcnn9" in why


def test_what_no_one_names_is_said_in_one_sentence():
    table = protocols.choose("folder", {"dir": "x"})
    networks = scoring.networks({"pose": "none"}, scoring.baselines(scale=8), table)
    assert networks.by_kind == {}
    assert networks.names() == dict.fromkeys(evals.kinds(), "")
    assert networks.notes() == [
        "Pose not scored: --pose=none",
        "Not scored, no network configured: perceptual (--perceptual), identity (--identity)",
    ]


def test_pairs_without_an_identity_network_are_refused():
    table = protocols.choose("folder-verification", {"dir": "x"})
    with pytest.raises(ValueError, match="no identity network: --identity=none"):
        scoring.score(RUN, scoring.Networks({}, {"identity": "--identity=none"}), table)
