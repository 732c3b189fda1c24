"""Configs written by earlier versions: read under today's keys, and an override with an old key names the new one."""

from __future__ import annotations

import json

import pytest
from support import ROOT

from jfsr import config as configs
from jfsr import methods, renames
from jfsr.config import ConfigError
from jfsr.training import runs
from jfsr.training.schema import run_schema

# Written by the code of commit c8dccb3: configs/NAME.py, and configs/NAME.py:debug.
OLD = ROOT / "tests" / "support" / "old_configs"
NAMES = ["gate", "iafsr", "identity", "jasrnet", "msgan", "mtun", "pose"]


# Defaults that are others now. An old run keeps its own value.
CHANGED = {
    "iafsr": {f"{source}.{key}" for source in ("data.sources.faces", "val.source") for key in ("crop", "margin")},
    "jasrnet": {"data.degradation", "data.sources.faces.margin", "val.source.margin"},
}


def old_config(name, arg):
    return (OLD / f"{name}{'_' if arg else ''}{arg}.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("arg", ["", "debug"])
@pytest.mark.parametrize("name", NAMES)
def test_an_old_config_is_todays_config(load_config, name, arg, tmp_path):
    (tmp_path / "config.json").write_text(old_config(name, arg), encoding="utf-8")
    read, now = runs.read_config(tmp_path), load_config(name, arg)
    # What came later is read as what such a run did, and is not today's default.
    came = renames.ADDED_TO_EVERY | renames.ADDED.get(name, {})
    assert set(configs.diff(read, now)) - set(came) <= CHANGED.get(name, set())
    configs.validate(read, run_schema(name))
    again = configs.from_json(configs.to_json(read))  # so its workdir resumes
    assert configs.config_hash(again) == configs.config_hash(read)
    assert methods.find(name).stages(read) == methods.find(name).stages(now)


def test_a_key_that_came_later_has_the_value_that_means_what_the_run_did(tmp_path):
    (tmp_path / "config.json").write_text(old_config("msgan", ""), encoding="utf-8")
    flat = configs.flatten(runs.read_config(tmp_path))
    assert flat["data.clean_share"] == 0.0
    assert (flat["disc.feature_norm"], flat["loss.norm_clip"], flat["loss.clip_sr"]) == ("apart", "hard", False)
    assert (flat["loss.stage_one"], flat["loss.pose_target"]) == ("all", "label")
    strides = {r: flat[f"disc.strides.r{r}"] for r in (16, 32, 64, 128)}
    assert strides == {16: (2, 1, 1, 1, 1), 32: (2, 2, 1, 1, 1), 64: (2, 2, 2, 1, 1), 128: (2, 2, 2, 2, 2)}


@pytest.mark.parametrize("name", NAMES)
def test_the_keys_that_came_later_are_keys(name):
    assert set(renames.ADDED_TO_EVERY | renames.ADDED.get(name, {})) <= set(configs.flatten(run_schema(name)))


@pytest.mark.parametrize("name", NAMES)
def test_a_config_of_today_is_left_as_it_is(load_config, name):
    config = load_config(name).to_dict()
    assert renames.upgrade(config) == config
    assert renames.upgrade({"method": name}) == {"method": name}  # a config may lack what it does not need
    assert renames.upgrade({"data": {"sources": {}}}) == {"data": {"sources": {}}}


@pytest.mark.parametrize(
    ("name", "old", "says"),
    [
        ("jasrnet", "weights.sr=1e3", "'weights.sr' is now 'weights.pixel'"),
        ("msgan", "alpha.r128=1.0", "'alpha.r128' is now 'stage_weights.r128'"),
        ("msgan", "start.g=rrdb", "'start.g' is now 'warm_start.g'"),
        ("mtun", "data.sources.heads.reader=folder", "'data.sources.heads.reader' is now 'data.sources.heads.dataset'"),
        ("mtun", "train.epoch_steps=3", "'train.epoch_steps' is now 'optim.lr_decay_every'"),
        ("iafsr", "train.pixel_epochs=2", "is now 'train.pixel_steps', a number of steps: epochs × faces / batch"),
        ("iafsr", "train.faces=2", "'train.faces' is gone: the length of a run is given in steps"),
        ("pose", "optim.decay=0.1", "'optim.decay' is now 'optim.weight_decay'"),
    ],
)
def test_an_override_with_an_old_key_names_the_new_one(load_config, name, old, says):
    with pytest.raises(ConfigError, match=says):
        load_config(name, old)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_leads_from_keys_that_were_to_keys_that_are(name):
    was = configs.flatten(json.loads(old_config(name, "")))
    now = configs.flatten(run_schema(name))
    for old, entry in (renames.RENAMES[name]).items():
        assert old in was or any(key.startswith(f"{old}.") for key in was), old
        assert not entry.name or entry.name in now or any(key.startswith(f"{entry.name}.") for key in now), entry.name
    # Every key that is no longer one has an entry.
    for key in was:
        assert key in now or key.startswith(("data.sources.", "val.source.")) or renames.now(name, key), key


def test_epochs_become_the_steps_that_they_were():
    old = {"method": "iafsr", "train": {"batch": 16, "faces": 1000, "pixel_epochs": 2.5, "joint_epochs": 0.3}}
    assert renames.upgrade(old)["train"] == {"batch": 16, "pixel_steps": 156, "joint_steps": 19}
