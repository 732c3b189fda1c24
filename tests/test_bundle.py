"""Bundles: complete or absent, the trained parameters and nothing else, and a card that says where they come from."""

from __future__ import annotations

import re

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from support import fake_run
from support.fake_run import new_config, new_params

import jfsr
from jfsr import api, bundle
from jfsr import config as configs
from jfsr.__main__ import main
from jfsr.training import runs


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    fake_run.install(monkeypatch)


@pytest.fixture
def run(tmp_path):
    return fake_run.workdir(tmp_path / "run")


def test_a_bundle_holds_the_average_of_the_best_step(run, tmp_path):
    out = bundle.export_bundle(run, tmp_path / "deep" / "bundle")
    assert {p.name for p in out.iterdir()} == {
        "config.json",
        "params.safetensors",
        "README.md",
        "check.npz",
        "program.jax",
        "program.json",
    }
    assert len({p.stat().st_mode for p in out.iterdir()}) == 1, "some files of the bundle are for the owner alone"
    arrays = load_file(out / "params.safetensors")
    assert set(arrays) == {"params/gain", "params/tone/bias"}
    assert arrays["params/gain"][0] == np.float32(0.05)  # half of step 10, whose score is the higher
    assert all(a.dtype == np.float32 for a in arrays.values())
    assert runs.read_config(out).to_dict() == new_config().to_dict()
    with safe_open(out / "params.safetensors", framework="numpy") as file:
        note = file.metadata()
    assert note["step"] == "10"
    assert note["config"] == configs.config_hash(new_config())
    assert note["sha256"] == runs.digest(runs.load_variables(run)[0])


@pytest.mark.parametrize(
    ("options", "gain"), [({"step": "last"}, 0.1), ({"step": 20}, 0.1), ({"step": "last", "ema": False}, 0.2)]
)
def test_another_step_or_the_raw_parameters(run, tmp_path, options, gain):
    out = bundle.export_bundle(run, tmp_path / "bundle", **options)
    variables, step = runs.load_variables(out)
    assert step is None
    np.testing.assert_array_equal(variables["params"]["gain"], np.full(3, gain, np.float32))
    card = (out / "README.md").read_text()
    assert "at step 20" in card
    assert ("moving average of the" in card) == options.get("ema", True)


def test_a_bundle_of_half_the_size_is_the_rounded_parameters(run, tmp_path):
    out = bundle.export_bundle(run, tmp_path / "half", half=True)
    arrays = load_file(out / "params.safetensors")
    assert all(a.dtype == np.float16 for a in arrays.values())
    variables, _ = runs.load_variables(out)  # its digest is that of what it reads
    assert variables["params"]["gain"].dtype == np.float32
    np.testing.assert_array_equal(variables["params"]["gain"], np.float32(np.float16(0.05)))
    api.load(out, check=True)
    stats = {"norm": {"var": np.full(3, 1e6, np.float32)}}
    wide = fake_run.workdir(tmp_path / "wide", stats=stats)
    with pytest.raises(ValueError, match=r"\['var'\] has values beyond float16; export without --half"):
        bundle.export_bundle(wide, tmp_path / "none", half=True)
    assert not (tmp_path / "none").exists()


def test_a_name_is_a_bundle_that_ships(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs, "SHIPPED", tmp_path / "shipped")
    bundle.export_bundle(run, tmp_path / "shipped" / "msgan-x8")
    assert runs.shipped() == ["msgan-x8"]
    monkeypatch.chdir(tmp_path)
    assert api.load("msgan-x8", check=True).name == "msgan-x8"
    assert main(["models"]) == 0
    assert "msgan-x8    fake: ×8 face super-resolution; 0.0 MB" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"no folder msgan-x9; .* \(msgan-x8 ship with jfsr\)"):
        api.load("msgan-x9")
    (tmp_path / "msgan-x8").mkdir()  # a folder of that name goes before
    with pytest.raises(ValueError, match=r"msgan-x8 has no config\.json"):
        api.load("msgan-x8")


@pytest.mark.parametrize("name", [name for name in runs.shipped() if name != api.GATE])
def test_what_ships_computes_what_its_export_did_and_has_a_card(name):
    folder = runs.SHIPPED / name
    assert api.load(name, check=True).config.frozen.pose == api.PHOTO_POSE
    card = (folder / "README.md").read_text()
    assert card.startswith(f"# {name}: ")
    assert all(word in card for word in ("non-commercial", "no evidence of who", "Fails", "FSA-Net"))


@pytest.mark.parametrize("name", runs.shipped())
def test_what_ships_is_small_whole_and_free_of_paths(name):
    folder = runs.SHIPPED / name
    assert (folder / runs.PARAMS).stat().st_size < 8e6
    assert not re.search(r'"/|"~', (folder / "config.json").read_text()), "a path of the machine that trained it"
    assert runs.load_variables(name)[1] is None  # its digest holds
    assert (folder / "README.md").read_text().startswith(f"# {name}: ")


def test_statistics_travel_with_the_parameters(tmp_path):
    stats = {"norm": {"mean": np.arange(3, dtype=np.float32)}}
    run = fake_run.workdir(tmp_path / "run", stats=stats)
    variables, _ = runs.load_variables(bundle.export_bundle(run, tmp_path / "bundle"))
    np.testing.assert_array_equal(variables["batch_stats"]["norm"]["mean"], [0, 1, 2])


def test_a_network_has_a_bundle_without_a_test_vector(tmp_path):
    run = fake_run.workdir(tmp_path / "run", config=new_config(method="fake_network"))
    out = bundle.export_bundle(run, tmp_path / "bundle")
    assert runs.load_variables(out)[0]["params"]["gain"][0] == np.float32(0.05)
    with pytest.raises(ValueError, match="is a frozen network: it restores no faces"):
        api.load(out)


def test_the_card_says_where_it_comes_from(run, tmp_path):
    card = (bundle.export_bundle(run, tmp_path / "bundle") / "README.md").read_text()
    for word in (
        "×8 face super-resolution",
        f"`{configs.config_hash(new_config())}`",
        f"jfsr {jfsr.__version__}",
        bundle.commit(),
        runs.digest(runs.load_variables(run)[0]),
        "- heads: synthetic_heads train",
        "| val/psnr | 30 |",
        "terms of those photographs",
    ):
        assert word in card
    assert str(tmp_path) not in card


def test_the_card_says_what_was_changed_before_that_step(run, tmp_path):
    _, step = runs.load_net(run, step="best")
    runs.note_change(run, step - 1, {"optim.lr": "0.001 -> 0.0001"})
    runs.note_change(run, step, {"optim.lr": "0.0001 -> 7.5"})
    card = (bundle.export_bundle(run, tmp_path / "bundle") / "README.md").read_text()
    assert f"Changed on the way:\n\n- after step {step - 1}, 20" in card
    assert "`optim.lr`: 0.001 -> 0.0001\n" in card
    assert "7.5" not in card


def test_the_folder_appears_complete_or_not_at_all(run, tmp_path, monkeypatch):
    out = tmp_path / "bundle"
    monkeypatch.setattr(bundle, "_test_vector", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bundle.export_bundle(run, out)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_nothing_is_replaced(run, tmp_path):
    out = bundle.export_bundle(run, tmp_path / "bundle")
    before = (out / "params.safetensors").read_bytes()
    with pytest.raises(ValueError, match="bundle exists; give a new folder"):
        bundle.export_bundle(run, out, step="last")
    assert (out / "params.safetensors").read_bytes() == before


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*; give a workdir of train"):
        bundle.export_bundle(tmp_path / "nowhere", tmp_path / "bundle")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"has no config.json, so it is neither a workdir"):
        bundle.export_bundle(tmp_path / "empty", tmp_path / "bundle")
    with pytest.raises(ValueError, match="holds no checkpoint yet"):
        bundle.export_bundle(fake_run.workdir(tmp_path / "new", scores=()), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_the_test_vector_is_what_the_network_answers(run, tmp_path):
    out = bundle.export_bundle(run, tmp_path / "bundle")
    vector = bundle.read_check(out)
    assert vector["lr"].shape == (1, 16, 16, 3)
    wanted = np.repeat(np.repeat(vector["lr"], 8, 1), 8, 2) * np.float32(0.05) + new_params(0)["tone"]["bias"] / 2
    np.testing.assert_allclose(vector["sr"], wanted.clip(0, 1), atol=1e-6)
    assert api.load(out, check=True).step is None
    np.savez(out / "check.npz", lr=vector["lr"], sr=vector["sr"] + 0.01)
    api.load(out)
    with pytest.raises(ValueError, match=r"differs by up to 0.01 from the exported one"):
        api.load(out, check=True)
    np.savez(out / "check.npz", lr=vector["lr"], sr=vector["sr"] * np.nan)
    with pytest.raises(ValueError, match="differs by up to nan"):
        api.load(out, check=True)
    (out / "check.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="holds no test vector"):
        api.load(out, check=True)
    with pytest.raises(ValueError, match="holds no test vector"):
        api.load(run, check=True)
