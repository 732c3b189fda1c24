"""Evaluations against answers worked out by hand, and eval.py from the command line on a tiny system."""

import csv
import json
import os
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from support import ROOT

from jfsr.data import pipeline
from jfsr.evals import faces, pose, restoration
from jfsr.frozen.hopenet import PoseOutput, decode_bins
from jfsr.tables.protocols import Protocol

FULL = Protocol("folder", "test", "folder")


class Heads:
    """Seven smooth 32×32 pictures; the mean red of picture i says yaw = 10 i - 30 to the fake pose network."""

    name = "heads"

    def __len__(self):
        return 7

    def __getitem__(self, index):
        if index == 5:
            raise ValueError("five.png: cannot be decoded")
        y, x = np.mgrid[:32, :32] / 31
        image = np.stack([np.full_like(x, 0.1 + 0.1 * index), (1 + np.sin(6 * x + index)) / 2, y], -1)
        points = np.full((68, 2), np.nan, np.float32)
        points[:3] = [[4, 6], [27, 10], [16, 25 + index % 2]]
        return {
            "image": np.round(255 * image).astype(np.uint8),
            "pose_deg": np.array([[10 * index - 30, 3, -3], [np.nan] * 3, [0, 120, 0]][index % 3], np.float32),
            "identity": np.int32(-1),
            "landmarks_px": points,
            "landmarks5_px": points[:5],
            "visible": np.isfinite(points).all(-1),
            "box_px": np.full(4, np.nan, np.float32),
            "name": f"{index}.png",
        }


def nearest(lr):
    return np.repeat(np.repeat(np.asarray(lr), 8, axis=1), 8, axis=2)


def heads(batch, *, scale=8):
    picked, _ = faces.usable(Heads())
    return faces.compare(lambda batch: nearest(batch["lr"]), pipeline.eval_batches(picked, scale=scale, batch=batch))


TRACES = []


def _read_red(variables, images):
    TRACES.append(images.shape)
    bins = jnp.clip(jnp.round((images[..., 0].mean((1, 2)) - 0.1) / 0.1 * 10 / 3 + 23) + variables["shift"], 0, 65)
    logits = 50.0 * jax.nn.one_hot(bins.astype(jnp.int32), 66)
    zero = 50.0 * jax.nn.one_hot(jnp.full(len(images), 33), 66)
    return PoseOutput(images[:, 0, 0], jnp.stack([logits, zero, zero], 1))


NETWORK = types.SimpleNamespace(
    name="red", kind="pose", apply=_read_red, decode=lambda logits: decode_bins(logits, centre=False)
)


@pytest.fixture
def read():
    return pose.estimator(NETWORK, {"shift": jnp.zeros(())})


def test_usable_leaves_out_what_cannot_be_read_and_says_why():
    picked, reasons = faces.usable(Heads())
    assert [picked[i]["name"] for i in range(len(picked))] == ["0.png", "1.png", "2.png", "3.png", "4.png", "6.png"]
    assert reasons == ["five.png: cannot be decoded"]
    assert len(faces.usable(Heads(), limit=3)[0]) == 3


def test_a_source_without_one_usable_face_is_an_error_that_says_why():
    class Bad(Heads):
        def __getitem__(self, index):
            raise ValueError("no 68 landmarks")

    with pytest.raises(ValueError, match="no face of heads can be scored: no 68 landmarks"):
        faces.usable(Bad())


def test_compare_drops_padding_and_the_baseline_is_pils_bicubic_of_the_8_bit_lr():
    some = list(heads(4))
    assert [len(f.names) for f in some] == [4, 2]
    record = Heads()[6]
    small = Image.fromarray(record["image"]).resize((4, 4), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(some[1].lr[1], np.asarray(small))
    expected = np.asarray(small.resize((32, 32), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(some[1].images["bicubic"][1], expected)
    np.testing.assert_array_equal(some[1].images["nearest"][1], np.repeat(np.repeat(small, 8, axis=0), 8, axis=1))
    np.testing.assert_array_equal(some[1].images["original"][1], record["image"])
    np.testing.assert_array_equal(some[1].images["ours"][1, ::8, ::8], np.asarray(small))


def test_predictions_are_clipped_and_rounded_before_they_are_scored():
    wild = lambda batch: nearest(batch["lr"]) * 1.3 - 0.1
    batch = next(pipeline.eval_batches(Heads(), scale=8, batch=2, limit=2))
    some = next(faces.compare(wild, [batch]))
    ours = np.round(np.clip(wild(batch), 0, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(some.images["ours"], ours)
    rows = restoration.run([some], FULL)
    expected = peak_signal_noise_ratio(Heads()[1]["image"], ours[1])
    (row,) = [r for r in rows if r["name"] == "1.png" and r["method"] == "ours"]
    np.testing.assert_allclose(row["psnr"], expected, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 4])
def test_no_row_depends_on_the_batch_size(batch, read):
    for run in (lambda f: restoration.run(f, FULL), lambda f: pose.run(f, read)):
        expected, rows = run(heads(6)), run(heads(batch))
        assert len(rows) == len(expected)
        by_face = lambda rows: sorted(rows, key=lambda r: (r["position"], r["method"]))
        for row, other in zip(by_face(rows), by_face(expected), strict=True):
            assert {k: repr(v) for k, v in row.items()} == {k: repr(v) for k, v in other.items()}


def test_face_box_scores_the_landmarks_rectangle_alone():
    some = next(heads(6))
    box = restoration.run([some], Protocol("folder", "test", "folder", region="face_box"))
    (row,) = [r for r in box if r["name"] == "1.png" and r["method"] == "bicubic"]
    cut = [some.images[m][1, 6:27, 4:28] for m in ("original", "bicubic")]
    np.testing.assert_allclose(row["psnr"], peak_signal_noise_ratio(*cut), atol=1e-4)
    some.landmarks_px[2] = np.nan
    (row,) = [r for r in restoration.run([some], Protocol("folder", "t", "folder", region="face_box"))
              if r["name"] == "2.png" and r["method"] == "ours"]  # fmt: skip
    assert np.isnan(row["psnr"])
    assert "no face box" in row["unscored"]


def test_pose_rows_hold_reading_truth_errors_and_the_rule_that_drops(read):
    rows = pose.run(heads(6), read)
    row = {(r["name"], r["method"]): r for r in rows}
    assert len(rows) == len(faces.METHODS) * 6
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


def test_reader_compiles_once_and_takes_its_variables_as_an_argument():
    read = pose.estimator(NETWORK, {"shift": jnp.ones(())})
    images = np.stack([Heads()[i]["image"] for i in (0, 3, 6)])
    TRACES.clear()
    out = read(np.concatenate([images] * 12))
    np.testing.assert_allclose(out[:3, 0], [-27, 3, 33], atol=1e-3)
    np.testing.assert_array_equal(read(images), out[:3])
    assert TRACES == [(faces.CHUNK, 32, 32, 3)]
    assert read(images[:0]).shape == (0, 3)


FAR = types.SimpleNamespace(
    name="far",
    kind="perceptual",
    distance=lambda variables, a, b: variables["gain"] * jnp.abs(a - b).mean((1, 2, 3)),
)


@pytest.mark.parametrize("batch", [1, 4, 6])
def test_the_perceptual_distance_is_to_the_original_and_of_each_face_alone(batch):
    measure = restoration.distance(FAR, {"gain": jnp.full((), 3.0)})
    rows = restoration.run(heads(batch), FULL, measure)
    assert {r["method"] for r in rows} == {"bicubic", "nearest", "ours"}
    faces_by_name = {name: (part, i) for part in heads(6) for i, name in enumerate(part.names)}
    for row in rows:
        part, i = faces_by_name[row["name"]]
        a, b = (part.images[m][i].astype(np.float64) / 255 for m in (row["method"], "original"))
        np.testing.assert_allclose(row["lpips"], 3 * np.abs(a - b).mean(), rtol=1e-5)
    assert "lpips" not in restoration.run(heads(6), FULL)[0]
    with pytest.raises(ValueError, match="red reads pose, no perceptual distance; give lpips_alex or lpips_vgg"):
        restoration.distance(NETWORK, {})


def test_without_a_system_the_baselines_stand_alone(read):
    picked, _ = faces.usable(Heads())
    (some,) = faces.compare(None, pipeline.eval_batches(picked, scale=8, batch=6))
    assert list(some.images) == ["original", "bicubic", "nearest"]
    rows = [*restoration.run([some], FULL), *pose.run([some], read)]
    assert {row["method"] for row in rows} == {"original", "bicubic", "nearest"}


def test_an_identity_network_reads_no_pose():
    with pytest.raises(ValueError, match="reads identity, not pose"):
        pose.estimator(types.SimpleNamespace(name="net", kind="identity"), {})


# --- eval.py ----------------------------------------------------------------------------------------------------------


def evaluate(*args, **variables):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **variables}
    command = [sys.executable, str(ROOT / "eval.py"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.fixture(scope="module")
def system(tmp_path_factory, load_config):
    """A bundle of a tiny generator and of a pose network, both with random weights."""
    from jfsr import config
    from jfsr.frozen import porting, zoo
    from jfsr.methods import msgan
    from jfsr.training import runs

    root = tmp_path_factory.mktemp("system")
    (root / "pose").mkdir()
    (root / "sr").mkdir()
    network = zoo.network("small_pose")
    porting.save_tree(
        root / "pose/params.safetensors", jax.jit(network.module.init)(jax.random.key(0), jnp.zeros((1, 128, 128, 3)))
    )
    (root / "pose/config.json").write_text('{"method": "pose", "model": {"name": "small_pose"}}')
    tiny = f"quick,generator,model.features=8,model.growth=4,model.blocks=(1,1),frozen.pose={root / 'pose'}"
    made = load_config("msgan", tiny)
    variables = msgan.generator(made).init(jax.random.key(1), jnp.zeros((1, 16, 16, 3)))
    porting.save_tree(root / "sr/params.safetensors", variables, metadata={"sha256": runs.digest(variables)})
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


def test_eval_scores_a_bundle_and_writes_what_it_says(system, folder, tmp_path):
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
    for method in ("bicubic", "ours"):
        mean = np.mean([float(r["psnr"]) for r in rows if r["method"] == method])
        np.testing.assert_allclose(summary["scores"][method]["psnr"]["mean"], mean, rtol=1e-5)
        errors = [float(r["mae"]) for r in rows if r["method"] == method and r["mae"]]
        assert summary["scores"][method]["mae"]["n"] == len(errors) == 2
        np.testing.assert_allclose(summary["scores"][method]["mae"]["mean"], np.mean(errors), rtol=1e-5)
    for key in ("config", "parameters sha256", "pose network sha256", "versions", "jfsr", "protocol"):
        assert summary[key]
    page = (tmp_path / "report.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == 4
    assert "http" not in page.replace("http-equiv", "")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_eval_of_a_folder_does_not_import_tensorflow(system, folder, tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    options = [f"--checkpoint={system}", "--tables=folder", f"--data={folder}", "--crop=center", "--limit=2"]
    done = evaluate(*options, "--pose=none", f"--out={tmp_path}/out", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Pose not scored: --pose=none" in done.stdout


def test_two_tables_go_to_two_folders_and_no_head_is_rendered_into_the_users_data(system, folder, tmp_path):
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


def test_eval_without_labels_says_what_it_cannot_score(system, folder, tmp_path):
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
        ([], "one of --workdir=DIR, --checkpoint=DIR and --images=DIR"),
        (["--workdir=x", "--tables=msgan/t2"], "table 'msgan/t2-aflw2000' needs its faces: --data=FOLDER"),
        (["--workdir=x", "--tables=msgan/t2", "--data=y"], "the tables read aflw2000, biwi; say which"),
        (["--workdir=x", "--tables=folder", "--data=foldr=y"], "no data set 'foldr'; did you mean 'folder'?"),
        (["--images=x", "--tables=folder", "--data=y"], "--images needs --scale"),
        (["--workdir=nowhere"], "no folder nowhere"),
        (
            ["--workdir=x", f"--config={ROOT}/configs/jasrnet.py:quik"],
            "--config: unknown variant 'quik'; did you mean",
        ),
        (["--workdir=x", "--data=y"], "--data=y is read by none of the tables synthetic"),
        (["--workdir=x", "--tables=folder", "--data=y", "--split=test"], "--split=test is read by none of the tables"),
    ],
)
def test_eval_refuses_with_one_line(options, message, tmp_path):
    done = evaluate(*options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_eval_refuses_another_scale_and_another_config(system):
    done = evaluate(f"--checkpoint={system}", "--scale=16")
    assert "--scale=16, but this system restores ×8" in done.stderr
    done = evaluate(f"--checkpoint={system}", f"--config={ROOT}/configs/msgan.py:quick,generator")
    assert "model.features: 8 -> 32" in done.stderr


def test_another_methods_images_take_the_row_of_ours(system, folder, tmp_path):
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


def test_a_folder_with_pairs_is_verified(system, tmp_path):
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
    original = [(float(r["similarity"]), r["same"] == "1") for r in rows if r["method"] == "original"]
    wins = [(a > b) + 0.5 * (a == b) for a, same in original if same for b, other in original if not other]
    assert summary["scores"]["original"]["auc"]["mean"] == pytest.approx(np.mean(wins))
    assert (tmp_path / "v/roc.png").exists()
    done = evaluate(f"--checkpoint={system}", *options[:2], "--identity=none", f"--out={tmp_path}/w")
    assert done.returncode == 2
    assert "no identity network: --identity=none" in done.stderr


def test_a_gallery_of_originals_names_the_restored_probes(tmp_path):
    """Three people of three faces, told apart by their colour; the first face of each looks straight ahead."""
    from jfsr.tables import protocols, scoring

    lines = ["file,identity," + ",".join(f"x{i},y{i}" for i in range(5))]
    for person, colour in enumerate([(200, 40, 40), (40, 200, 40), (40, 40, 200)]):
        for i in range(3):
            face = np.clip(np.full((128, 128, 3), colour) + np.array([0, 5 * i, -5 * i]), 0, 255).astype(np.uint8)
            Image.fromarray(face).save(tmp_path / f"p{person}_{i}.png")
            nose = 64 + 12 * i
            lines.append(f"p{person}_{i}.png,{person},44,50,84,50,{nose},70,50,90,78,90")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
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
    scored = scoring.score(system, scoring.Judges(identity=(colours, grey)), protocol, min_images=2)
    rows = {(row["name"], row["method"]): row for row in scored.rows}
    assert {name for name, _ in rows} == {f"p{person}_{i}.png" for person in range(3) for i in (1, 2)}
    assert all(rows[name, "bicubic"]["correct"] for name, _ in rows)
    assert [rows[f"p{person}_1.png", "ours"]["found"] for person in range(3)] == [2, 1, 0]
    assert scored.result.summary["ours"]["rank1"].mean == pytest.approx(100 / 3)
    assert scored.result.summary["bicubic"]["rank1"].n == 6
    assert "6 probes of 3 people" in scored.result.facts
    with pytest.raises(ValueError, match=r"nobody in .* has more than 25 faces"):
        scoring.score(system, scoring.Judges(identity=(colours, grey)), protocol)


def test_eval_lists_its_tables():
    done = evaluate("--list")
    assert done.returncode == 0
    assert "msgan/t2-biwi" in done.stdout
    assert "jfsr data build biwi --from FOLDER" in done.stdout
    assert "jasrnet/t2-aflw" in done.stdout
    assert "tensorflow" not in done.stderr
