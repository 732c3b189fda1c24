"""eval.py from the command line, on a tiny system and small folders."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support import ROOT
from support.commands import EvalCommand

from jfsr import bundle, config
from jfsr.frozen import trees, zoo
from jfsr.methods import msgan
from jfsr.methods.common import Net, State
from jfsr.training import checkpoint, runs


@pytest.fixture(scope="module")
def evaluate():
    command = EvalCommand()
    yield command
    command.close()


@pytest.fixture(scope="module")
def system(tmp_path_factory, load_config):
    """A bundle of a tiny generator and of a pose network, both with random weights."""
    root = tmp_path_factory.mktemp("system")
    (root / "pose").mkdir()
    (root / "sr").mkdir()
    network = zoo.network("small_pose")
    trees.save_tree(
        root / "pose/params.safetensors", jax.jit(network.module.init)(jax.random.key(0), jnp.zeros((1, 128, 128, 3)))
    )
    (root / "pose/config.json").write_text('{"method": "pose", "model": {"name": "small_pose"}}')
    tiny = f"quick,generator,model.features=8,model.growth=4,model.blocks=(1,1),frozen.pose={root / 'pose'}"
    made = load_config("msgan", tiny)
    variables = msgan.generator(made).init(jax.random.key(1), jnp.zeros((1, 16, 16, 3)))
    trees.save_tree(root / "sr/params.safetensors", variables, metadata={"sha256": runs.digest(variables)})
    (root / "sr/config.json").write_text(config.to_json(made))
    return root / "sr"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five pictures, one of them broken; labels for three, of which one is out of range."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(4):
        small = rng.integers(0, 255, (9, 9, 3), np.uint8)
        Image.fromarray(small).resize((140, 140), Image.Resampling.BICUBIC).save(root / f"face{i}.png")
    (root / "face4.png").write_bytes(b"no picture")
    (root / "labels.csv").write_text(
        "file,yaw_deg,pitch_deg,roll_deg\nface0.png,10,0,0\nface1.png,-40,5,2\nface2.png,0,0,130\n"
    )
    return root


def test_eval_scores_a_bundle_and_writes_what_it_says(evaluate, system, folder, tmp_path):
    options = [f"--checkpoint={system}", "--tables=folder", f"--data={folder}", "--crop=center"]
    done = evaluate(*options, f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert (
        "4 faces, 2 kept for pose; dropped: 1 × |angle| > 99°, 1 × no pose label, 1 × cannot be read or cropped"
        in done.stdout
    )
    assert (tmp_path / "table.md").read_text() in done.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    rows = list(csv.DictReader((tmp_path / "images.csv").read_text().splitlines()))
    assert [r["name"] for r in rows] == [f"face{i}.png" for i in range(4) for _ in range(4)]
    for row in ("bicubic", "ours"):
        mean = np.mean([float(r["psnr"]) for r in rows if r["row"] == row])
        np.testing.assert_allclose(summary["scores"][row]["psnr"]["mean"], mean, rtol=1e-5)
        errors = [float(r["mae"]) for r in rows if r["row"] == row and r["mae"]]
        assert summary["scores"][row]["mae"]["n"] == len(errors) == 2
        np.testing.assert_allclose(summary["scores"][row]["mae"]["mean"], np.mean(errors), rtol=1e-5)
    for key in ("config", "parameters sha256", "pose network sha256", "versions", "jfsr", "protocol"):
        assert summary[key]
    page = (tmp_path / "report.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == 4
    assert "http" not in page.replace("http-equiv", "")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_bundle_gives_the_numbers_of_its_workdir_to_the_last_digit(evaluate, system, folder, tmp_path):
    variables, _ = runs.load_variables(system)
    net = Net(params=jax.tree.map(lambda x: 0.5 * x, variables["params"]), ema=variables["params"], stats={})
    zero = np.zeros((), np.int32)
    manager = checkpoint.open_manager(tmp_path / "run", runs.read_config(system))
    state = State(step=np.array(7, np.int32), nets={"g": net}, skipped=zero, bad_run=zero)
    checkpoint.save(manager, state, {}, wait=True)
    manager.close()
    bundle.export_bundle(tmp_path / "run", tmp_path / "bundle")
    tables = {}
    for name in ("run", "bundle"):
        options = ["--tables=folder", f"--data={folder}", "--crop=center", f"--out={tmp_path / name}_table"]
        done = evaluate(f"--checkpoint={tmp_path / name}", *options)
        assert done.returncode == 0, done.stderr
        tables[name] = (tmp_path / f"{name}_table" / "images.csv").read_text()
        shutil.move(tmp_path / name, tmp_path / f"{name}_moved")  # neither needs the other
    assert tables["run"] == tables["bundle"]


def test_eval_of_a_folder_does_not_import_tensorflow(system, folder, tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    options = [f"--checkpoint={system}", "--tables=folder", f"--data={folder}", "--crop=center", "--limit=2"]
    command = [sys.executable, str(ROOT / "eval.py"), *options, "--pose=none", f"--out={tmp_path}/out"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Pose not scored: --pose=none" in done.stdout


def test_two_tables_go_to_two_folders_and_no_head_is_rendered_into_the_users_data(evaluate, system, folder, tmp_path):
    before = sorted(folder.rglob("*"))
    options = [f"--checkpoint={system}", "--tables=synthetic-tiny,folder", f"--data={folder}", "--limit=2"]
    done = evaluate(
        *options, "--crop=center", "--pose=none", f"--out={tmp_path}/out", TFDS_DATA_DIR=str(tmp_path / "tfds")
    )
    assert done.returncode == 0, done.stderr
    assert sorted(folder.rglob("*")) == before
    assert (tmp_path / "tfds/synthetic_heads/tiny").is_dir()
    titles = {p.parent.name: json.loads(p.read_text())["title"] for p in tmp_path.glob("out/*/summary.json")}
    assert titles == {"synthetic-tiny": "Sixteen synthetic heads, for a trial, ×8", "folder": "A folder of faces, ×8"}


def test_eval_without_labels_says_what_it_cannot_score(evaluate, system, folder, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "a.png").write_bytes((folder / "face0.png").read_bytes())
    done = evaluate(
        f"--checkpoint={system}", "--tables=folder", f"--data={bare}", "--crop=center", f"--out={tmp_path}/out"
    )
    assert done.returncode == 0, done.stderr
    assert f"Pose errors not scored: no pose labels in {bare}" in done.stdout
    assert "moved °" in done.stdout  # what needs no label is scored
    assert "MAE °" not in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tables=sinthetic"], "no table 'sinthetic'; did you mean 'synthetic'"),
        ([], "give the system to score: --checkpoint=DIR or --images=DIR"),
        (["--checkpoint=x", "--tables=msgan/t2"], "table 'msgan/t2-aflw2000' needs its faces: --data=FOLDER"),
        (["--checkpoint=x", "--tables=msgan/t2", "--data=y"], "the tables read aflw2000, biwi; say which"),
        (["--checkpoint=x", "--tables=folder", "--data=foldr=y"], "no data set 'foldr'; did you mean 'folder'?"),
        (["--images=x", "--tables=folder", "--data=y"], "--images needs --scale"),
        (["--checkpoint=nowhere"], "no folder nowhere"),
        (["--figures=msgan/f9", "--tables=folder"], "--tables and --figures are two commands"),
        (["--figures=msgan/f12", "--scale=8", "--out=x"], "the figures show a system"),
        (["--workdir=x", "--checkpoint=y"], "--workdir is the old name of --checkpoint"),
        (["--tables=synthetic", "--figures=msgan/f9", "--checkpoint=x"], "--tables and --figures are two commands"),
        (
            ["--checkpoint=x", f"--config={ROOT}/configs/jasrnet.py:quik"],
            "--config: unknown variant 'quik'; did you mean",
        ),
        (["--checkpoint=x", "--data=y"], "--data=y is read by none of the tables synthetic"),
        (
            ["--checkpoint=x", "--tables=folder", "--data=y", "--split=test"],
            "--split=test is read by none of the tables",
        ),
    ],
)
def test_eval_refuses_with_one_line(evaluate, options, message, tmp_path):
    done = evaluate(*options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_eval_refuses_another_scale_and_another_config(evaluate, system):
    done = evaluate(f"--checkpoint={system}", "--scale=16")
    assert "--scale=16, but this system restores ×8" in done.stderr
    done = evaluate(f"--checkpoint={system}", f"--config={ROOT}/configs/msgan.py:quick,generator")
    assert "model.features: 8 -> 32" in done.stderr


def test_another_methods_images_take_the_row_of_ours(evaluate, system, folder, tmp_path):
    images = tmp_path / "peer"
    images.mkdir()
    options = ["--tables=folder", f"--data={folder}", "--crop=center", "--margin=1", "--pose=none", "--scale=8"]
    for i in range(4):
        whole = Image.open(folder / f"face{i}.png").resize((128, 128), Image.Resampling.BICUBIC)
        whole.resize((16, 16), Image.Resampling.BICUBIC).resize((128, 128), Image.Resampling.BICUBIC).save(
            images / f"face{i}.png"
        )
    done = evaluate(f"--images={images}", *options, f"--out={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "out/summary.json").read_text())["scores"]
    assert scores["ours"]["psnr"]["mean"] == pytest.approx(scores["bicubic"]["psnr"]["mean"])  # it is bicubic
    assert scores["nearest"]["psnr"]["mean"] < scores["bicubic"]["psnr"]["mean"]
    (images / "face2.png").unlink()  # as if the peer had lost one
    done = evaluate(f"--images={images}", *options, f"--out={tmp_path}/out")
    assert done.returncode == 2
    assert "no image for the face 'face2.png'; name each after its face" in done.stderr


def test_a_real_rival_restores_the_faces_that_eval_writes(evaluate, folder, tmp_path):
    """--write-faces, another program, --images: and the score is that of its pictures against the written originals."""
    pytest.importorskip("torch")
    options = ["--tables=folder", f"--data={folder}", "--crop=center", "--margin=1", "--scale=8"]
    done = evaluate(f"--write-faces={tmp_path}/faces", *options)
    assert done.returncode == 0, done.stderr
    assert "128 → 16 px by pil_bicubic" in done.stdout
    assert "left out: " in done.stdout  # the broken picture
    for kind, side in (("lr", 16), ("hr", 128)):
        files = sorted((tmp_path / "faces" / kind).iterdir())
        assert [file.name for file in files] == [f"face{i}.png" for i in range(4)]
        with Image.open(files[0]) as image:
            assert image.size == (side, side)

    rival = subprocess.run(
        [sys.executable, str(ROOT / "examples/rival.py"), str(tmp_path / "faces/lr"), f"--out={tmp_path}/rival"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "4 faces by torch_bicubic" in rival.stdout
    done = evaluate(f"--images={tmp_path}/rival", *options, "--pose=none", f"--out={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "out/summary.json").read_text())["scores"]
    read = lambda kind, i: np.asarray(Image.open(tmp_path / kind / f"face{i}.png")).astype(float) / 255
    by_hand = [-10 * np.log10(np.mean((read("rival", i) - read("faces/hr", i)) ** 2)) for i in range(4)]
    assert scores["ours"]["psnr"]["mean"] == pytest.approx(np.mean(by_hand), abs=1e-3)
    assert scores["ours"]["psnr"]["mean"] != pytest.approx(scores["bicubic"]["psnr"]["mean"], abs=1e-3)


def test_faces_of_two_tables_are_written_to_two_folders(evaluate, folder, tmp_path):
    options = ["--tables=folder,synthetic-tiny", f"--data={folder}", "--limit=2", "--crop=center", "--scale=16"]
    done = evaluate(f"--write-faces={tmp_path}/faces", *options, TFDS_DATA_DIR=str(tmp_path / "tfds"))
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "faces/folder/lr").rglob("*.png"))) == 2
    made = list((tmp_path / "faces/synthetic-tiny/lr").rglob("*.png"))
    assert len(made) == 2
    with Image.open(made[0]) as image:
        assert image.size == (8, 8)
    done = evaluate(f"--write-faces={tmp_path}/faces", *options, "--checkpoint=x")
    assert done.returncode == 2
    assert "--write-faces writes the faces of tables, and --checkpoint has no part in that" in done.stderr


def test_a_folder_with_pairs_is_verified(evaluate, system, tmp_path):
    faces_dir = tmp_path / "people"
    faces_dir.mkdir()
    rng, lines = np.random.default_rng(1), ["file,identity"]
    for person in range(8):
        look = rng.integers(0, 255, (6, 6, 3)).astype(float)
        for i in range(2):
            face = np.clip(look + rng.normal(0, 12, look.shape), 0, 255).astype(np.uint8)
            Image.fromarray(face).resize((128, 128), Image.Resampling.BICUBIC).save(faces_dir / f"p{person}_{i}.png")
            lines.append(f"p{person}_{i}.png,{person}")
    (faces_dir / "labels.csv").write_text("\n".join(lines))
    pairs = [f"p{i}_0.png,p{i}_1.png,1,{i % 4}" for i in range(8)]
    pairs += [f"p{i}_0.png,p{(i + 1) % 8}_1.png,0,{i % 4}" for i in range(8)]
    (faces_dir / "pairs.csv").write_text("\n".join(["file_a,file_b,same,fold", *pairs]))
    options = [
        "--tables=folder-verification",
        f"--data={faces_dir}",
        "--identity=small_identity",
        f"--out={tmp_path}/v",
    ]
    done = evaluate(f"--checkpoint={system}", *options)
    assert done.returncode == 0, done.stderr
    assert "8 pairs of one person, 8 of two; 0 dropped" in done.stdout
    rows = list(csv.DictReader((tmp_path / "v/images.csv").read_text().splitlines()))
    assert len(rows) == 4 * 16
    summary = json.loads((tmp_path / "v/summary.json").read_text())
    original = [(float(r["similarity"]), r["same"] == "1") for r in rows if r["row"] == "original"]
    wins = [(a > b) + 0.5 * (a == b) for a, same in original if same for b, other in original if not other]
    assert summary["scores"]["original"]["auc"]["mean"] == pytest.approx(np.mean(wins))
    assert (tmp_path / "v/roc.png").exists()
    done = evaluate(f"--checkpoint={system}", *options[:2], "--identity=none", f"--out={tmp_path}/w")
    assert done.returncode == 2
    assert "no identity network: --identity=none" in done.stderr


def test_eval_lists_its_tables(evaluate):
    done = evaluate("--list")
    assert done.returncode == 0
    assert "msgan/t2-biwi" in done.stdout
    assert "jfsr data build biwi --from FOLDER" in done.stdout
    assert "jasrnet/t2-aflw" in done.stdout
    assert "tensorflow" not in done.stderr


def test_the_old_name_of_the_flag_works_and_says_its_new_one(evaluate, system, folder, tmp_path):
    options = ["--tables=folder", f"--data={folder}", "--crop=center", "--pose=none", "--limit=1"]
    done = evaluate(f"--workdir={system}", *options, f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "note: --workdir is now --checkpoint" in done.stderr


# ---- Figures


def test_eval_draws_folders_of_images_and_names_what_it_leaves_out(evaluate, folder, tmp_path):
    for peer in ("mine", "theirs"):
        (tmp_path / peer).mkdir()
        for i in range(4):
            Image.new("RGB", (128, 128), (40 * i, 90, 90)).save(tmp_path / peer / f"face{i}.png")
    done = evaluate(
        f"--images={tmp_path}/mine", "--scale=8", "--figures=msgan/f12,msgan/f9", f"--data=folder={folder}",
        "--crop=center", f"--beside=Theirs={tmp_path}/theirs", f"--out={tmp_path}/out", "--pose=none",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "left out: figure 'msgan/f9' needs a network that reads pose" in done.stderr
    made = tmp_path / "out/figures/msgan_f12"
    assert sorted(p.name for p in made.iterdir()) == ["figure.csv", "figure.png", "summary.json"]
    with Image.open(made / "figure.png") as picture:
        assert picture.size[0] > 5 * 192  # original, LR, bicubic, theirs, ours
    rows = list(csv.DictReader((made / "figure.csv").read_text().splitlines()))
    assert [r["row"] for r in rows] == ["bicubic"] * 4 + ["Theirs"] * 4 + ["ours"] * 4
    summary = json.loads((made / "summary.json").read_text())
    assert summary["protocol_fields"]["scale"] == 8
    assert summary["beside"]["Theirs"]["system"].endswith("theirs, ×8")
