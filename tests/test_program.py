"""Programs that run without jfsr: the same pictures, on any batch, and a line that says why one does not run."""

from __future__ import annotations

import datetime
import functools
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from support import ROOT, fake_run
from support.steps import faces

import jfsr
from jfsr import api, bundle, methods, program
from jfsr.__main__ import main
from jfsr.frozen.trees import load_tree
from jfsr.training import runs

# Every kind of layer of the four systems; a method of the papers, with landmarks where it has them.
SYSTEMS = {
    "msgan": "debug,generator,model.blocks=(2,1)",
    "iafsr": "debug,sr_net",
    "mtun": "debug,p",
    "jasrnet": "debug,one_stage,model.blocks=1,model.features=2",
}


def _random(config):
    """Variables of a run, drawn and not trained; variances are positive."""
    shapes = jax.eval_shape(
        functools.partial(methods.find(config.method).init, config), jax.random.key(0), faces(config)
    )
    g, rng = shapes.nets["g"], np.random.default_rng(1)
    scale = lambda x: 1.0 / np.sqrt(np.prod(x.shape[:-1]))  # of a kernel
    draw = lambda x: (rng.normal(0, scale(x), x.shape) if x.ndim > 1 else rng.uniform(0.01, 0.3, x.shape)).astype("f4")
    return jax.tree.map(draw, {"params": g.params, **({"batch_stats": g.stats} if g.stats else {})})


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_program_computes_what_the_system_does_for_any_batch(load_config, tmp_path, name):
    config = load_config(name, SYSTEMS[name])
    variables = _random(config)
    program.write(tmp_path, config, variables)
    lr = np.random.default_rng(0).uniform(size=(3, *program.input_shape(config))).astype(np.float32)
    expected = jax.jit(functools.partial(methods.find(name).predict, config))(variables, lr)
    call = program.load(tmp_path)
    given = call(program.flatten(variables), lr)
    assert set(given) == set(expected) - {"stages"}
    for key in given:
        np.testing.assert_allclose(given[key], expected[key], atol=1e-4 if key == "sr" else 1e-2, err_msg=key)
    assert np.ptp(given["sr"]) > 0.1, "a flat picture proves nothing"


# ---- A bundle of the fake method


@pytest.fixture
def folder(tmp_path, monkeypatch):
    fake_run.install(monkeypatch)
    run = fake_run.workdir(tmp_path / "run")
    return bundle.export_bundle(run, tmp_path / "bundle")


LR = np.random.default_rng(3).uniform(size=(5, 16, 16, 3)).astype(np.float32)


def test_a_bundle_computes_without_jfsr_and_flax(folder, tmp_path):
    code = """
import jax, numpy as np, safetensors.numpy, sys
program = jax.export.deserialize(bytearray(open("program.jax", "rb").read()))
arrays = safetensors.numpy.load_file("params.safetensors")
np.save(sys.argv[1], program.call(arrays, np.load(sys.argv[2]))["sr"])
assert not {"jfsr", "flax", "tensorflow"} & set(sys.modules)
"""
    np.save(tmp_path / "lr.npy", LR)
    command = [sys.executable, "-c", code, str(tmp_path / "sr.npy"), str(tmp_path / "lr.npy")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "sr.npy"), api.load(folder).predict(LR))
    # The card says the same lines.
    card = (folder / "README.md").read_text()
    assert all(line in card for line in code.splitlines()[2:4])


def test_a_program_is_taken_only_when_asked_for(folder, monkeypatch):
    expected = api.load(folder).predict(LR)
    monkeypatch.setattr(program, "load", lambda _: lambda arrays, lr: {"sr": 0.0 * lr.repeat(8, 1).repeat(8, 2)})
    np.testing.assert_array_equal(api.load(folder).predict(LR), expected)
    assert np.max(np.abs(api.load(folder, program=True).predict(LR))) == 0.0


@pytest.mark.parametrize("half", [False, True])
def test_a_restorer_by_its_program_gives_the_same_faces(folder, tmp_path, half):
    folder = bundle.export_bundle(folder, tmp_path / "again", half=half)
    assert load_file(folder / "params.safetensors")["params/gain"].dtype == (np.float16 if half else np.float32)
    by_program = jfsr.load(folder, program=True)
    np.testing.assert_array_equal(by_program(LR), jfsr.load(folder)(LR))


def _change(folder, **changes):
    file = folder / program.ABOUT
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _expire(folder, monkeypatch):
    _change(folder, runs_until="2026-01-31", jax="0.4.30")


def _damage(folder, monkeypatch):
    (folder / program.PROGRAM).write_bytes(b"\x00" * 50)
    _change(folder, jax="9.0.0")


def _cut(folder, monkeypatch):
    (folder / program.PROGRAM).write_bytes((folder / program.PROGRAM).read_bytes()[:-200])


def _for_others(folder, monkeypatch):
    monkeypatch.setattr(program.jax, "default_backend", lambda: "metal")


def _nameless(folder, monkeypatch):
    (folder / program.ABOUT).write_text('{"jax": "0.10')


def _absent(folder, monkeypatch):
    (folder / program.PROGRAM).unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_expire, rf"program\.jax has expired: jax 0\.4\.30 made it, .* until 2026-01-31, .* jax {jax.__version__}"),
        (_damage, rf"program\.jax cannot be read by jax {jax.__version__} \(.*\); jax 9\.0\.0 made it"),
        (_cut, r"program\.jax cannot be read by jax"),
        (_for_others, r"program\.jax is for cpu, cuda, tpu, and this is metal"),
        (_nameless, r"program\.json is missing or damaged"),
        (_absent, r"has no program\.jax"),
    ],
)  # fmt: skip
def test_where_a_program_does_not_run_the_parameters_do_and_it_is_said(folder, monkeypatch, capsys, harm, said):
    expected = api.load(folder).predict(LR)
    harm(folder, monkeypatch)
    with pytest.warns(UserWarning, match=said + ".*; the parameters in the same folder compute the same"):
        restorer = api.load(folder, program=True)
    np.testing.assert_array_equal(restorer.predict(LR), expected)
    assert main(["export", "--check", str(folder)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "parameters: differs by at most 0 of 255"
    assert second.startswith("program.jax: ")
    assert "compute the same" in second


def test_an_expired_program_still_runs_on_the_jax_that_made_it(folder):
    _change(folder, runs_until="2026-01-31")
    assert program.load(folder) is not None
    about = json.loads((folder / program.ABOUT).read_text())
    assert about["jax"] == jax.__version__
    made = datetime.date.fromisoformat(about["made"])
    assert program.LASTS.days == 180
    assert abs((datetime.date.today() - made).days) <= 1


def test_a_replay_that_differs_says_by_how_much_and_ends_with_1(folder, capsys):
    vector = bundle.read_check(folder)
    np.savez(folder / "check.npz", lr=vector["lr"], sr=vector["sr"] + np.float32(5 / 255))
    assert main(["export", "--check", str(folder)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "parameters: differs by at most 5 of 255: another picture",
        "program.jax: differs by at most 5 of 255: another picture",
    ]
    np.savez(folder / "check.npz", lr=vector["lr"], sr=vector["sr"] * np.float32("nan"))
    assert main(["export", "--check", str(folder)]) == 1


def test_a_bundle_is_exported_again_with_a_new_program(folder, tmp_path):
    (folder / program.PROGRAM).unlink()
    again = bundle.export_bundle(folder, tmp_path / "again")
    assert (again / "README.md").read_text() == (folder / "README.md").read_text()
    (was, note), (now, its_note) = (load_tree(f / runs.PARAMS) for f in (folder, again))
    assert note == its_note
    jax.tree.map(np.testing.assert_array_equal, was, now)
    assert (again / program.PROGRAM).exists()
    with pytest.raises(ValueError, match="is a bundle, of one step"):
        bundle.export_bundle(folder, tmp_path / "third", step=10)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--check", "RUN"], "is a workdir; --check takes a bundle"),
        (["--check", "BUNDLE", "-o", "x"], "--check reads a bundle and writes nothing"),
        (["BUNDLE"], "export needs -o, the folder to make"),
        (["--check", "nowhere"], "no folder nowhere"),
    ],
)
def test_wrong_options_are_one_line(folder, tmp_path, capsys, options, said):
    places = {"RUN": str(tmp_path / "run"), "BUNDLE": str(folder)}
    assert main(["export", *(places.get(o, o) for o in options)]) == 2
    assert said in capsys.readouterr().err


# ---- ONNX


def test_without_jax2onnx_the_message_says_how_to_install_it_and_nothing_is_written(
    folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    assert main(["export", str(folder), "-o", str(tmp_path / "onnx"), "--onnx"]) == 2
    assert "pip install 'jfsr[onnx]'" in capsys.readouterr().err
    assert not (tmp_path / "onnx").exists()


def test_a_model_that_onnxruntime_cannot_read_is_one_line(folder, capsys):
    pytest.importorskip("onnxruntime")
    (folder / program.ONNX).write_bytes(b"no model")
    assert main(["export", "--check", str(folder)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert "model.onnx is not run by onnxruntime" in line
    assert "use a newer onnxruntime (the model is of opset 21), or export without --onnx" in line


@pytest.fixture
def onnx():
    pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    pytest.importorskip("jax2onnx", reason="the extra 'onnx' is not installed")


@pytest.mark.parametrize("name", ["msgan", "iafsr"])
def test_an_onnx_model_computes_the_same_in_onnxruntime(onnx, load_config, tmp_path, name):
    config = load_config(name, SYSTEMS[name])
    variables = _random(config)
    lr = np.random.default_rng(0).uniform(size=(3, *program.input_shape(config))).astype(np.float32)
    sr = np.asarray(jax.jit(functools.partial(methods.find(name).predict, config))(variables, lr)["sr"])
    assert np.ptp(sr) > 0.1, "a flat picture proves nothing"
    program.write_onnx(tmp_path, config, variables, {"lr": lr[:1], "sr": sr[:1]})
    np.testing.assert_allclose(program.run_onnx(tmp_path / program.ONNX, lr), sr, atol=1e-4)
    with pytest.raises(program.ProgramError, match=r"its output is off by 0\.1"):
        program.write_onnx(tmp_path, config, variables, {"lr": lr[:1], "sr": sr[:1] + np.float32(0.1)})


@pytest.mark.parametrize("name", ["mtun", "jasrnet"])
def test_a_system_that_jax2onnx_does_not_know_is_refused_in_one_line(onnx, load_config, tmp_path, name):
    config = load_config(name, SYSTEMS[name])
    with pytest.raises(program.ProgramError, match=rf"this {name} \(.*\); export without --onnx"):
        program.write_onnx(tmp_path, config, _random(config), {})


def test_the_program_is_made_here_and_nowhere_else():
    """One place knows jax.export and ONNX."""
    users = {
        str(f.relative_to(ROOT))
        for f in (ROOT / "jfsr").rglob("*.py")
        if any(word in f.read_text(encoding="utf-8") for word in ("jax.export.", "jax2onnx"))
    }
    assert users == {"jfsr/program.py", "jfsr/bundle.py"}  # the bundle's card quotes the lines of a user
