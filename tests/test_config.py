"""Configs: variants, overrides, the schema that both are held against, and what a config is called."""

from __future__ import annotations

import math
import sys

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from support import steps
from support.recorder import Recorder

from jfsr import config as configs
from jfsr import methods
from jfsr.config import ConfigError
from jfsr.training.schema import run_schema


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
    "model": {"widths": tuple[int, ...], "name": str},
    "sources": {"*": {"dir": str}},
}


def parse(arg):
    return configs.parse(arg, base=base(), variants=VARIANTS, schema=SCHEMA)


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
        ("train.batch=4.0", r"'train.batch' takes int, got 4.0"),
        ("train.batch=True", r"takes int"),
        ("train.guard=1", r"takes bool"),
        ("train.rate=fast", r"takes float"),
        ("sources.web.dir=x", r"unknown config key 'sources.web.dir'; did you mean 'sources.heads.dir'\?"),
        ("model.widths=64", r"takes tuple of int"),
        ("model.widths=(64,0.5)", r"takes tuple of int"),
    ],
)
def test_a_wrong_word_is_named_with_the_right_one(arg, says):
    with pytest.raises(ConfigError, match=says):
        parse(arg)


@pytest.mark.parametrize("name", ["train.batch", "train.rate", "train.guard", "model.widths", "model.name"])
@pytest.mark.parametrize("value", [4, 4.0, True, "4", (4, 8), (4, 0.5), [4], math.nan, None])
def test_an_override_and_a_whole_config_are_held_against_one_rule(name, value):
    """What ``key=value`` refuses, a config that holds that value is refused for, in the same words."""
    kind = {"batch": int, "rate": float, "guard": bool, "widths": tuple[int, ...], "name": str}[name.split(".")[1]]
    section, key = name.split(".")
    config = ConfigDict({**base().to_dict()})
    config[section] = ConfigDict({**config[section].to_dict(), key: value})
    by_config = by_override = ""
    try:
        configs.validate(config, SCHEMA)
    except ConfigError as error:
        by_config = str(error).splitlines()[1].strip()
    if kind is not str and value == value:  # any text is a string, and NaN has no literal
        try:
            configs.override(base(), name, repr(value), schema=SCHEMA)
        except ConfigError as error:
            by_override = str(error)
        assert by_override == by_config
    assert (by_config == "") == configs.fits(value, kind)


def test_validate_accepts_what_is_declared_in_parts():
    train = {"train": SCHEMA["train"], "sources": dict}
    rest = {k: v for k, v in SCHEMA.items() if k != "train"} | {"train": {"batch": int}}
    assert configs.merge(train, rest) == configs.merge(rest, train) == SCHEMA  # in any order
    configs.validate(parse(""), configs.merge(train, rest))


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
    assert "unknown config key 'train.bacth'; did you mean 'train.batch'?" in text
    assert "unknown config key 'rate'; did you mean 'train.rate'?" in text
    assert "unknown config key 'sources.heads.dirr'; did you mean 'sources.heads.dir'?" in text
    assert "config key 'scale' is missing" in text
    assert "config key 'train.guard' takes bool, got 1" in text
    assert len(text.splitlines()) == 6


def test_validate_tells_values_from_sections():
    config = base()
    config.model = ConfigDict({"widths": ConfigDict({"a": 1}), "name": "x"})
    with config.ignore_type():
        config.train = 3
    with pytest.raises(
        ConfigError, match=r"(?s)'model.widths' takes tuple of int, got a section.*'train' is a section, got 3"
    ):
        configs.validate(config, SCHEMA)


def test_a_config_that_a_variant_broke_is_refused():
    broken = {"broken": lambda c: c.train.update({"bacth": 3})}
    with pytest.raises(ConfigError, match=r"unknown config key 'train.bacth'; did you mean 'train.batch'"):
        configs.parse("broken", base=base(), variants=broken, schema=SCHEMA)


def test_two_modules_that_declare_one_key_differently_are_a_bug():
    with pytest.raises(TypeError, match=r"train.batch is declared as int and as float"):
        configs.merge(SCHEMA, {"train": {"batch": float}})
    with pytest.raises(TypeError, match=r"train.batch is declared as int and as a section"):
        configs.merge(SCHEMA, {"train": {"batch": {"x": float}}})


def test_recorder_counts_reads_and_nothing_else():
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


METHODS = methods.names()


@pytest.mark.parametrize("name", METHODS)
def test_every_key_of_our_configs_is_declared_by_the_code_and_the_other_way_round(load_config, name):
    for arg in ("", "debug"):
        config = load_config(name, arg)
        assert config.method == name
        configs.validate(config, run_schema(name))
        assert configs.from_json(configs.to_json(config)).to_dict() == config.to_dict()
    config.unlock()
    config.optim.b3 = 0.5
    with pytest.raises(ConfigError, match=r"unknown config key 'optim.b3'; did you mean 'optim.\w+'"):
        configs.validate(config, run_schema(name))
    with pytest.raises(ConfigError, match=r"config key 'optim.ema' takes float, got 'x'"):
        load_config(name, "optim.ema=x")


@pytest.mark.parametrize("name", METHODS)
def test_every_key_that_a_method_declares_is_read(load_config, name):
    declared = {
        key for key in configs.flatten(methods.find(name).CONFIG) if not key.startswith("data.")
    }  # the pipeline's to read
    unread = declared - {key for arg in ARGS[name] for key in traced(load_config(name, arg))}
    assert not unread, f"jfsr/methods/{name}.py declares keys that it never reads"


@pytest.mark.parametrize("name", METHODS)
def test_every_variant_is_valid_and_its_sources_exist(load_config, name):
    from jfsr.data import crops, datasets, pipeline
    from jfsr.data.datasets import synthetic_heads

    heads = {f"{size}{part}" for size in ("", "tiny/") for part in synthetic_heads.COUNTS["full"]}
    load_config(name)
    variants = sys.modules[f"config_{name}"].VARIANTS
    for arg in ("", *variants, *(f"{variant},debug" for variant in variants)):
        config = load_config(name, arg)  # checked against the schema of the run
        for source in (*config.data.sources.values(), config.val.source):
            assert source.dataset in pipeline.DATASETS
            assert source.crop in crops.RULES
            if source.dataset == "synthetic_heads":
                assert source.split in heads
            elif source.dataset != "folder":
                assert datasets.specs()[source.dataset].split(source.split)


# Together these reach every branch: x16 has the smallest resolution, hr256 the largest.
ARGS = {
    "msgan": ("debug,x16,weights.perceptual=0.1,frozen.perceptual=lpips_alex", "debug,hr256"),
    "iafsr": ("debug,weights.adv=1.0,weights.euclid=1.0",),
    "mtun": ("debug,r16,s1,weights.perceptual=0.01,frozen.features=vgg19",),
    "jasrnet": ("debug,one_stage,model.blocks=1",),
    "pose": ("debug,lr16",),
    "identity": ("debug",),
    "gate": ("debug",),
}


def traced(config):
    """Keys that init and a step of every stage read while they are traced; nothing is computed."""
    from jfsr.frozen import trees, zoo

    config, seen = (recorder := Recorder(config)), recorder.seen
    method = methods.find(config.method)
    seen.clear()
    side = config.data.get("hr_size", 128)
    batch = {
        "hr": jax.ShapeDtypeStruct((2, side, side, 3), np.float32),
        "pose_deg": jax.ShapeDtypeStruct((2, 3), np.float32),
        "identity": jax.ShapeDtypeStruct((2,), np.int32),
        "landmarks_px": jax.ShapeDtypeStruct((2, 68, 2), np.float32),
        "visible": jax.ShapeDtypeStruct((2, 68), bool),
        "position": jax.ShapeDtypeStruct((2,), np.int32),
    }
    if config.get("scale", 1) > 1:
        n = side // config.scale
        batch["lr"] = jax.ShapeDtypeStruct((2, n, n, 3), np.float32)
    method.stages(config)
    if isinstance(method, methods.WarmStarter):
        method.warm_starts(config)
    frozen = {k: trees.shapes_of(zoo.network(config.frozen[k]).module, 128) for k in method.needed(config)}
    key = jax.random.key(0)
    state = jax.eval_shape(lambda b: method.init(config, key, b), batch)
    for stage in method.stages(config):
        steps.traced(config, stage, state, frozen, batch, key)
    return set(seen)
