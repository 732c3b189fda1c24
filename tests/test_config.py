"""Configs: variants, overrides, the keys that something reads, and what a config is called."""

from __future__ import annotations

import importlib
import math
import sys

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from jfsr import config as configs
from jfsr.config import ConfigError, Recorder


def base():
    return ConfigDict(
        {
            "scale": 8,
            "train": ConfigDict({"batch": 16, "rate": 1e-3, "guard": True}),
            "model": ConfigDict({"widths": (64, 128), "name": "rrdb"}),
            "sources": ConfigDict({"heads": ConfigDict({"dir": ""})}),
        }
    )


def set_scale(c):
    c.scale = 16


def halve(c):
    c.train.batch = c.train.batch // 2


VARIANTS = {"x16": set_scale, "half": halve}
SCHEMA = {
    "scale": int,
    "train": {"batch": int, "rate": float, "guard": bool},
    "model": {"widths": tuple, "name": str},
    "sources": {"*": {"dir": str}},
}


def parse(arg):
    return configs.parse(arg, VARIANTS, base())


def test_no_argument_is_the_base_and_locked():
    config = parse("")
    assert config.scale == 8
    assert config.is_locked
    with pytest.raises(AttributeError):
        config.typo = 1


def test_variants_apply_in_order_and_overrides_after_them():
    config = parse("train.batch=10, half,x16,half")
    assert (config.scale, config.train.batch) == (16, 10)
    assert parse("half,half").train.batch == 4


@pytest.mark.parametrize(
    ("arg", "key", "value"),
    [
        ("train.rate=1", "train.rate", 1.0),
        ("train.rate=2e-4", "train.rate", 2e-4),
        ("train.guard=false", "train.guard", False),
        ("train.guard=True", "train.guard", True),
        ("model.widths=(4,8,16),half", "model.widths", (4, 8, 16)),
        ("model.name=3", "model.name", "3"),
        ("sources.heads.dir='a,b',half", "sources.heads.dir", "a,b"),
        ("sources.heads.dir=faces/train=1", "sources.heads.dir", "faces/train=1"),
        ("model.name=it's,half", "model.name", "it's"),
    ],
)
def test_an_override_keeps_the_type(arg, key, value):
    got = configs.flatten(parse(arg))[key]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("arg", "says"),
    [
        ("x17", r"unknown variant 'x17'; did you mean 'x16'\? \(variants: x16, half\)"),
        ("train.bacth=4", r"'train.bacth'; did you mean 'train.batch'\?"),
        ("batch=4", r"'batch'; did you mean 'train.batch'\?"),
        ("train=4", r"'train' is a section; set one of its keys: train.batch, train.guard, train.rate"),
        ("train.batch=4.0", r"'train.batch' takes int \(now 16\), got '4.0'"),
        ("train.batch=True", r"takes int"),
        ("train.guard=1", r"takes bool"),
        ("train.rate=fast", r"takes float"),
        ("model.widths=64", r"takes tuple of int"),
        ("model.widths=(64,0.5)", r"takes tuple of int"),
    ],
)
def test_a_wrong_word_is_named_with_the_right_one(arg, says):
    with pytest.raises(ConfigError, match=says):
        parse(arg)


def test_validate_accepts_what_is_declared_in_parts():
    train = {"train": SCHEMA["train"], "sources": dict}
    rest = {k: v for k, v in SCHEMA.items() if k != "train"} | {"train": {"batch": int}}
    configs.validate(parse(""), train, rest)
    configs.validate(parse(""), rest, train)  # the order of declarations does not matter


def test_validate_lists_every_fault_at_once_with_the_nearest_key():
    config = base()
    config.train.bacth = 3
    config.rate = 0.1
    config.sources.heads.dirr = "x"
    del config["scale"]
    config.train = ConfigDict({**config.train.to_dict(), "guard": 1})
    with pytest.raises(ConfigError) as caught:
        configs.validate(config, SCHEMA)
    text = str(caught.value)
    assert "nothing reads 'train.bacth'; did you mean 'train.batch'?" in text
    assert "nothing reads 'rate'; did you mean 'train.rate'?" in text
    assert "nothing reads 'sources.heads.dirr'; did you mean 'sources.heads.dir'?" in text
    assert "'scale' is read and absent" in text
    assert "'train.guard' is 1, where the code reads bool" in text
    assert len(text.splitlines()) == 6


def test_validate_tells_values_from_sections():
    config = base()
    config.model = ConfigDict({"widths": ConfigDict({"a": 1}), "name": "x"})
    with config.ignore_type():
        config.train = 3
    with pytest.raises(ConfigError, match=r"(?s)'model.widths' is a section.*'train' is 3, where the code reads a sec"):
        configs.validate(config, SCHEMA)


def test_two_modules_that_declare_one_key_differently_are_a_bug():
    with pytest.raises(TypeError, match=r"train.batch is declared as int and as float"):
        configs.validate(base(), SCHEMA, {"train": {"batch": float}})
    with pytest.raises(TypeError, match=r"train.batch is declared as int and as a section"):
        configs.validate(base(), SCHEMA, {"train": {"batch": {"x": float}}})


def test_recorder_counts_readings_and_nothing_else():
    config = Recorder(parse(""))
    assert "scale" in config
    assert list(config.keys()) == ["model", "scale", "sources", "train"]
    section = config.train
    assert config.seen == set()
    assert (section.batch, config["scale"], config.get("nope", 5)) == (16, 8, 5)
    assert config.seen == {"train.batch", "scale"}
    assert dict(**config.model) == {"widths": (64, 128), "name": "rrdb"}
    assert config["sources.heads.dir"] == ""
    assert config.seen == {"train.batch", "scale", "model.widths", "model.name", "sources.heads.dir"}
    assert isinstance(config, ConfigDict)
    assert config.train.to_dict() == base().train.to_dict()
    assert {"train.rate", "train.guard"} < config.seen


def test_json_brings_back_the_same_config():
    config = parse("half")
    again = configs.from_json(configs.to_json(config))
    assert again.to_dict() == config.to_dict()
    assert again.model.widths == (64, 128)
    assert configs.config_hash(again) == configs.config_hash(config)
    with pytest.raises(ConfigError, match="numbers, strings"):
        configs.to_json(ConfigDict({"x": math.nan}))
    with pytest.raises(ConfigError, match="numbers, strings"):
        configs.to_json(ConfigDict({"x": {1, 2}}))


def test_the_hash_depends_on_values_not_on_order_or_spelling():
    assert configs.config_hash(parse("")) == "898c9c50b68f"  # golden: a change would orphan every published number
    assert configs.config_hash(parse("train.rate=1")) == configs.config_hash(parse("train.rate=1.0"))
    assert configs.config_hash(parse("x16,half")) == configs.config_hash(parse("half,x16"))
    assert configs.config_hash(parse("x16")) != configs.config_hash(parse(""))


def test_diff_names_what_differs():
    old, new = parse(""), parse("half,model.widths=(64,)")
    assert configs.diff(old, old) == {}
    del (changed := ConfigDict(new.to_dict())).train["rate"]
    assert configs.diff(old, changed) == {
        "model.widths": "(64, 128) -> (64,)",
        "train.batch": "16 -> 8",
        "train.rate": "0.001 -> (absent)",
    }


METHODS = ("msgan", "iafsr", "mtun", "jasrnet", "pose", "identity", "gate")


@pytest.mark.parametrize("name", METHODS)
def test_every_key_of_our_configs_is_declared_by_the_code_and_the_other_way_round(load_config, name):
    import train
    from jfsr.data import pipeline

    method = importlib.import_module(f"jfsr.methods.{name}")
    for arg in ("", "debug"):
        config = load_config(name, arg)
        assert config.method == name
        configs.validate(config, train.CONFIG, method.CONFIG, pipeline.CONFIG)
        assert configs.from_json(configs.to_json(config)).to_dict() == config.to_dict()
    config.unlock()
    config.optim.b3 = 0.5
    with pytest.raises(ConfigError, match=r"nothing reads 'optim.b3'; did you mean 'optim.\w+'"):
        configs.validate(config, train.CONFIG, method.CONFIG, pipeline.CONFIG)


@pytest.mark.parametrize("name", METHODS)
def test_every_key_that_a_method_declares_is_read(load_config, name):
    method = importlib.import_module(f"jfsr.methods.{name}")
    declared = {key for key in configs.flatten(method.CONFIG) if not key.startswith("data.")}  # the pipeline's to read
    unread = declared - {key for arg in ARGS[name] for key in traced(load_config(name, arg))}
    assert not unread, f"jfsr/methods/{name}.py declares keys that it never reads"


@pytest.mark.parametrize("name", METHODS)
def test_every_source_of_every_variant_is_one_that_there_is(load_config, name):
    from jfsr.data import crops, datasets, pipeline
    from jfsr.data.datasets import synthetic_heads

    heads = {f"{size}{part}" for size in ("", "tiny/") for part in synthetic_heads.COUNTS["full"]}
    load_config(name)
    for arg in ("", *sys.modules[f"config_{name}"].VARIANTS):
        config = load_config(name, arg)
        for source in (*config.data.sources.values(), config.val.source):
            assert source.dataset in pipeline.DATASETS
            assert source.crop in crops.RULES
            if source.dataset == "synthetic_heads":
                assert source.split in heads
            elif source.dataset != "folder":
                assert datasets.specs()[source.dataset].split(source.split)


# Together these reach every branch: x16 the smallest resolution, lpips the perceptual frozen network.
ARGS = {
    "msgan": ("debug,x16", "debug,x8,weights.lpips=0.1,frozen.perceptual=lpips_alex"),
    "iafsr": ("debug", "debug,srgan", "debug,sr_ou"),
    "mtun": ("debug", "debug,weights.f=0.01,frozen.features=vgg19"),
    "jasrnet": ("debug", "debug,align_only"),
    "pose": ("debug,lr16",),
    "identity": ("debug",),
    "gate": ("debug",),
}


def traced(config):
    """Keys read while a method is traced, without computing anything, by init and by a step of every stage."""
    from jfsr.frozen import porting, zoo

    config, seen = (recorder := Recorder(config)), recorder.seen
    method = importlib.import_module(f"jfsr.methods.{config.method}")
    seen.clear()
    batch = {
        "hr": jax.ShapeDtypeStruct((2, 128, 128, 3), np.float32),
        "pose_deg": jax.ShapeDtypeStruct((2, 3), np.float32),
        "identity": jax.ShapeDtypeStruct((2,), np.int32),
        "landmarks_px": jax.ShapeDtypeStruct((2, 68, 2), np.float32),
        "visible": jax.ShapeDtypeStruct((2, 68), bool),
        "position": jax.ShapeDtypeStruct((2,), np.int32),
    }
    if config.get("scale", 1) > 1:
        n = 128 // config.scale
        batch["lr"] = jax.ShapeDtypeStruct((2, n, n, 3), np.float32)
    if hasattr(method, "starts"):
        method.starts(config)
    frozen = {k: porting.shapes_of(zoo.network(config.frozen[k]).module, 128) for k in method.needed(config)}
    key = jax.random.key(0)
    state = jax.eval_shape(lambda b: method.init(config, key, b), batch)
    one_device = lambda tree: jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), tree)
    for stage in method.stages(config):
        step = lambda s, f, b, stage=stage: method.train_step(config, s, f, b, key, stage=stage)
        jax.eval_shape(jax.vmap(step, axis_name="data"), *map(one_device, (state, frozen, batch)))
    return set(seen)
