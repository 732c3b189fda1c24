"""The script and the notebook of examples/ run, on a workdir of a tiny MSGAN whose weights are drawn, not trained."""

from __future__ import annotations

import importlib.util
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support import ROOT
from support.networks import drawn

from jfsr.methods import msgan
from jfsr.methods.common import Net, State
from jfsr.training import checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory, load_config):
    """A workdir with one checkpoint; its pose and identity networks are those that ship with jfsr."""
    config = load_config("msgan", "quick,generator,model.features=4,model.growth=4,model.blocks=(1,1)")
    params = jax.device_get(drawn(msgan.generator(config), jnp.zeros((1, 16, 16, 3)))["params"])
    zero = np.zeros((), np.int32)
    workdir = tmp_path_factory.mktemp("examples") / "run"
    manager = checkpoint.open_manager(workdir, config)
    nets = {"g": Net(params=params, ema=params)}
    checkpoint.save(manager, State(step=np.array(7, np.int32), nets=nets, skipped=zero, bad_run=zero), wait=True)
    manager.close()
    return workdir


def load(name):
    spec = importlib.util.spec_from_file_location(f"examples_{name}", ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    return load("restore")


ANGLES = r"yaw +[+-]\d+\.\d°  pitch +[+-]\d+\.\d°  roll +[+-]\d+\.\d°"


def test_the_script_restores_a_rendered_head(script, run, tmp_path, capsys):
    out = tmp_path / "head.png"
    script.main([f"--checkpoint={run}", f"--out={out}"])
    said = capsys.readouterr().out
    assert re.fullmatch(rf"true pose      {ANGLES}\nrestored pose  {ANGLES}\n{re.escape(str(out))}\n", said)
    with Image.open(out) as picture:
        assert picture.width > 3 * 128  # low resolution, restored, original
        assert picture.height > 128


def test_a_photographs_face_is_drawn_small_enlarged_restored_and_as_it_was(run, tmp_path, capsys):
    pytest.importorskip("skimage")
    out = tmp_path / "deep" / "photograph.png"
    load("photograph").main([f"--checkpoint={run}", "--small", "16", "40", "-o", str(out)])
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"1[56]\.\d px: run, moved \d+\.\d°", said[0])
    assert said[1].split(": ")[1].startswith("large enough")
    assert said[2] == str(out)
    with Image.open(out) as picture:
        assert picture.width > 4 * 128
        assert picture.height > 2 * 128


def test_the_script_restores_a_picture(script, run, tmp_path, capsys):
    tiny, out = tmp_path / "tiny.png", tmp_path / "face.png"
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(tiny)
    script.main([f"--checkpoint={run}", f"--image={tiny}", "-o", str(out)])
    said = capsys.readouterr().out
    assert "true pose" not in said
    assert re.search(rf"restored pose  {ANGLES}", said)
    assert out.is_file()


def test_the_notebook_runs_from_top_to_bottom(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JFSR_RUN", str(run))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))  # the heads are rendered here
    notebook = json.loads((ROOT / "examples" / "quickstart.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells), (
        "committed with its outputs"
    )
    names: dict = {}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"quickstart.ipynb, code cell {number}", "exec"), names)
    said = capsys.readouterr().out
    assert "msgan ×8, step 7" in said
    assert "(4, 16, 16, 3) -> (4, 128, 128, 3) uint8" in said
    assert names["sheet"].width > 4 * 128
    assert len(re.findall(r"mean absolute error +\d+\.\d\d°", said)) == 3
    assert "# Sixteen synthetic heads, for a trial, ×8" in said
    assert "| Ours" in said
    assert {line["row"] for line in names["scored"].lines} == {"original", "bicubic", "nearest", "ours"}
    assert len({line["name"] for line in names["scored"].lines}) == 16
