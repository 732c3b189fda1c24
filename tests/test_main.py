"""The command line: what it prints, what it writes, and one clear line if the input is wrong."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support import fake_run, states

from jfsr import __main__ as cli
from jfsr import api
from jfsr.methods import common, msgan
from jfsr.training import checkpoint, runs


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    fake_run.install(monkeypatch)


@pytest.fixture
def run(tmp_path):
    return fake_run.workdir(tmp_path / "run")


@pytest.fixture
def faces(tmp_path):
    (tmp_path / "in").mkdir()
    files = []
    for name, size in {"a.png": 16, "b.jpg": 40}.items():
        files.append(tmp_path / "in" / name)
        picture = np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(picture).save(files[-1])
    return files


def call(*words):
    return cli.main([str(w) for w in words])


def refused(capsys, *words):
    """The line on stderr of a call that has to fail with code 2."""
    assert call(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jfsr: ")
    assert "Traceback" not in err
    return err


def test_restore_writes_what_the_api_gives_and_prints_what_it_did(run, faces, tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    assert call("restore", "--cropped", *faces, "--checkpoint", run, "-o", out) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(out / "a.png"), str(out / "b.png")]
    assert said.err.splitlines() == [
        "note: a face of 40×40 is reduced to 16×16, the input size of this network",
        "note: no head pose: the config of this fake names no pose network (frozen.pose)",
    ]
    np.testing.assert_array_equal(np.asarray(Image.open(out / "a.png")), api.load(run)(faces[0])[0])
    assert np.asarray(Image.open(out / "b.png")).shape == (128, 128, 3)
    assert (
        call(
            "restore", "--cropped", faces[0], "--checkpoint", run, "-o", tmp_path / "last", "--step", "20", "--no-pose"
        )
        == 0
    )
    assert capsys.readouterr().err == ""
    wanted = api.load(run, step="last")(faces[0])[0]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "last" / "a.png")), wanted)


def test_restore_prints_the_pose_of_every_face(run, faces, tmp_path, capsys, monkeypatch):
    poses = np.array([[-31.25, 4.0, 0.5], [0.0, -12.0, 90.0]], np.float32)
    monkeypatch.setattr(api.Restorer, "pose", lambda self, images: poses)
    assert call("restore", "--cropped", *faces, "--checkpoint", run, "-o", tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[1:] == ["yaw", "-31.2°", "pitch", "+4.0°", "roll", "+0.5°"]
    assert lines[1].split()[1:] == ["yaw", "+0.0°", "pitch", "-12.0°", "roll", "+90.0°"]


def test_nothing_is_replaced_unasked_and_inputs_never(run, faces, tmp_path, capsys):
    words = ("restore", "--cropped", faces[0], "--checkpoint", run, "--no-pose", "-o")
    assert call(*words, tmp_path / "out") == 0
    capsys.readouterr()
    before = faces[0].read_bytes()
    assert "out/a.png exists; give another folder with -o, or --overwrite" in refused(capsys, *words, tmp_path / "out")
    assert call(*words, tmp_path / "out", "--overwrite") == 0
    capsys.readouterr()
    for more in ((), ("--overwrite",)):
        assert "is an input and would be replaced" in refused(capsys, *words, tmp_path / "in", *more)
    assert faces[0].read_bytes() == before


def test_files_of_one_name_keep_their_folder(run, tmp_path, capsys):
    files = [tmp_path / person / "face.png" for person in ("ada", "bob")]
    for file in files:
        file.parent.mkdir()
        Image.new("RGB", (16, 16)).save(file)
    assert call("restore", "--cropped", *files, "--checkpoint", run, "-o", tmp_path / "out", "--no-pose") == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"ada_face.png", "bob_face.png"}
    capsys.readouterr()
    assert "would become" in refused(
        capsys, "restore", "--cropped", files[0], files[0], "--checkpoint", run, "-o", tmp_path / "two"
    )


def test_wrong_input_gives_one_line_and_writes_nothing(run, faces, tmp_path, capsys):
    out = tmp_path / "out"
    text = tmp_path / "notes.png"
    text.write_text("no image")
    empty = tmp_path / "empty.png"
    empty.touch()
    (tmp_path / "folder").mkdir()
    at = ("--checkpoint", run, "-o", out)
    restore = lambda *words: refused(capsys, "restore", "--cropped", *words)
    assert f"no such image: {tmp_path / 'c.png'}, {tmp_path / 'folder'}\n" in restore(
        faces[0], tmp_path / "c.png", tmp_path / "folder", *at
    )
    assert f"{text}: not an image" in restore(faces[0], text, *at)
    assert f"{empty}: empty file" in restore(empty, *at)
    assert "is a file; -o takes a folder" in restore(faces[0], "--checkpoint", run, "-o", text)
    assert "no folder" in restore(faces[0], "--checkpoint", tmp_path / "nowhere", "-o", out)
    assert "neither a workdir of train.py nor a bundle" in restore(
        faces[0], "--checkpoint", tmp_path / "folder", "-o", out
    )
    new = fake_run.workdir(tmp_path / "new", scores=())
    assert "holds no checkpoint yet" in restore(faces[0], "--checkpoint", new, "-o", out)
    assert "no checkpoint of step 7; there are 10, 20" in restore(faces[0], *at, "--step", "7")
    assert not out.exists()


def test_export(run, tmp_path, capsys):
    assert call("export", run, "-o", tmp_path / "bundle") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'bundle'}\n"
    assert api.load(tmp_path / "bundle", check=True).scale == 8
    assert "bundle exists" in refused(capsys, "export", run, "-o", tmp_path / "bundle")
    assert "no checkpoint of step first" in refused(capsys, "export", run, "-o", tmp_path / "b", "--step", "first")


def test_port_lists_every_network_and_refuses_with_the_remedy(tmp_path, capsys):
    assert call("port", "--list") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("lightpose", "mobilefacenet", "small_pose"))
    assert "'jfsr port --list' shows both" in refused(capsys, "port")
    assert "no frozen network 'lightpos'; did you mean 'lightpose'?" in refused(
        capsys, "port", "lightpos", tmp_path / "x"
    )
    assert str(tmp_path / "x") in refused(capsys, "port", "lightpose", tmp_path / "x")


def test_data_check_names_what_is_wrong(faces, tmp_path, capsys):
    assert call("data", "check", tmp_path / "in") == 0
    assert "2 images" in capsys.readouterr().out
    (tmp_path / "in" / "bad.png").write_text("x")
    assert call("data", "check", tmp_path / "in") == 2
    assert "bad.png: not an image" in capsys.readouterr().out
    (tmp_path / "in" / "labels.csv").write_text("file,yaw_deg\na.png,left\n")
    assert "line 2: yaw_deg is 'left'" in refused(capsys, "data", "check", tmp_path / "in")


@pytest.mark.parametrize("words", [(), ("restor",), ("restore",), ("data",), ("export",)])
def test_wrong_words_exit_with_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        call(*words)
    assert caught.value.code == 2
    assert "usage: jfsr" in capsys.readouterr().err


def test_help_answers_without_importing_anything_heavy():
    code = """
import sys
from jfsr.__main__ import main
try:
    main(["--help"])
except SystemExit as done:
    assert done.code == 0
assert not {"jax", "flax", "numpy", "orbax", "PIL", "tensorflow"} & set(sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert all(f"    {command} " in out for command in ("restore", "export", "port", "data"))


def test_a_real_generator_restores_and_exports_without_tensorflow(load_config, faces, tmp_path):
    """What a user does with a trained run, in another process: workdir -> bundle -> picture."""
    config = load_config("msgan", "debug,generator")
    net = common.init_net(msgan.generator(config), jax.random.key(0), jnp.zeros((1, 16, 16, 3)), ema=True)
    manager = checkpoint.open_manager(tmp_path / "gan", config)
    checkpoint.save(manager, jax.device_get(common.new_state({"g": net})), wait=True)
    manager.close()
    code = """
import sys
from jfsr.__main__ import main
run, face, bundle, out = sys.argv[1:]
assert main(["export", run, "-o", bundle]) == 0
assert main(["restore", face, "--cropped", "--checkpoint", bundle, "-o", out]) == 0
with open(out + "/boxes.csv", "w") as boxes:
    boxes.write("file,x0,y0,x1,y1\\na.png,2,2,14,14\\n")
photo = ["restore", face, "--checkpoint", bundle, "--boxes", out + "/boxes.csv", "--no-pose", "-o", out + "/photo"]
assert main(photo) == 0
heavy = {"tensorflow", "tensorflow_datasets", "clu", "torch", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    paths = [tmp_path / "gan", faces[0], tmp_path / "bundle", tmp_path / "out"]
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"  # restore finds the program that export compiled
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    noise = [line for line in done.stderr.splitlines() if not line.startswith("note: no head pose")]
    assert noise == []
    lr = np.asarray(Image.open(faces[0])).astype(np.float32)[None] / 255
    sr = jax.jit(functools.partial(msgan.predict, config))({"params": net.ema}, jnp.asarray(lr))["sr"]
    got = np.asarray(Image.open(tmp_path / "out" / "a.png")).astype(int)
    assert np.abs(got - np.round(255 * np.asarray(sr[0]))).max() <= 1


def test_rewind_sets_later_checkpoints_aside(tmp_path, capsys):
    keep = states.run_config(checkpoint={"every": 1, "keep": 9, "best": "val/psnr", "mode": "max"})
    run = states.saved(tmp_path / "run", 2, 4, config=keep)
    assert "has no checkpoint of step 1; there are 2, 4" in refused(capsys, "rewind", run, "--step=1")
    assert call("rewind", run, "--step=2") == 0
    said = capsys.readouterr()
    assert said.out == f"{run} goes on from step 2\n"
    assert said.err.startswith(f"set aside: {run / 'set_aside'}")
    assert runs.steps(run) == [2]
    assert "no folder" in refused(capsys, "rewind", tmp_path / "nowhere", "--step=2")


def test_degrade_shows_what_training_does_to_a_face(tmp_path, capsys):
    rng = np.random.default_rng(0)
    face, tiny = tmp_path / "face.png", tmp_path / "tiny.png"
    Image.fromarray(rng.integers(0, 256, (140, 150, 3), np.uint8)).save(face)
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tiny)
    out = tmp_path / "sheets" / "fig8.png"
    assert cli.main(["degrade", str(face), "-o", str(out), "--samples", "2"]) == 0
    first = out.read_bytes()
    with Image.open(out) as sheet:
        assert sheet.width > 3 * 128
    for words, rule in (
        (["degrade", str(face), "-o", str(out)], "exists; give another"),
        (["degrade", str(tiny), "-o", str(tmp_path / "b.png")], "tiny.png has 16×16 pixels"),
        (["degrade", str(face), "-o", str(tmp_path / "b.jpg")], "takes the name of a PNG"),
        (["degrade", str(face), "-o", str(tmp_path / "b.png"), "--samples", "0"], "at least 1"),
    ):
        assert cli.main(words) == 2
        assert rule in capsys.readouterr().err
    assert cli.main(["degrade", str(face), "-o", str(out), "--samples", "2", "--overwrite"]) == 0
    assert out.read_bytes() == first  # the same seed, the same copies
    assert not (tmp_path / "b.png").exists()
