"""Whatever a file holds, its parser gives values or one line: hypothesis looks for what does not."""

from __future__ import annotations

import contextlib
import io
import json
import os
import string

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from support import load_config

from jfsr import config as configs
from jfsr.data import boxes
from jfsr.data.csvfile import read_csv
from jfsr.data.datasets.labels import read_labels
from jfsr.data.images import decode_image
from jfsr.data.pairs import read_pairs_csv
from jfsr.frozen import trees
from jfsr.training import runs
from jfsr.training.schema import run_schema

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies
EXAMPLES = int(os.environ.get("JFSR_EXAMPLES", "40"))  # of each parser; 1,500 take two minutes
bounded = hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)

WORDS = ["a.png", "b.png", "1", "0", "", "-1", "nan", "1e999", '"', "file"]
HEADERS = [b"file,yaw_deg\n", b"file,identity\n", b"file_a,file_b,same\n", b""]
ROWS = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), max_size=5).map(",".join)
TABLES = st.lists(ROWS, max_size=6).map(lambda rows: "\n".join(rows).encode("utf-8", "ignore"))
ANYTHING = st.one_of(st.tuples(st.sampled_from(HEADERS), TABLES).map(b"".join), st.binary(max_size=200))


def tried(parse, *arguments):
    """Parses, and takes a ValueError, or the system's error, for an answer."""
    with contextlib.suppress(ValueError, OSError):
        parse(*arguments)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("place")
    for name in "ab":
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(root / f"{name}.png")
    return root


@bounded
@hypothesis.given(data=ANYTHING)
def test_tables(place, data):
    file = place / "table.csv"
    file.write_bytes(data)
    tried(lambda: list(read_csv(file)[1]))
    tried(read_labels, file, {"a.png", "b.png"})
    tried(read_pairs_csv, file)
    tried(boxes.read_boxes, file)


@bounded
@hypothesis.given(
    at=st.integers(0, 300), by=st.binary(max_size=60), form=st.sampled_from(["PNG", "JPEG", "TIFF", "GIF"])
)
def test_pictures(at, by, form):
    out = io.BytesIO()
    Image.fromarray(np.arange(300, dtype=np.uint16).astype(np.uint8).reshape(10, 10, 3)).save(out, form)
    data = out.getvalue()
    tried(decode_image, data[:at] + by + data[at + len(by) :], "x")


@bounded
@hypothesis.given(st.text(string.ascii_letters + string.digits + "=,.:()[]'\"-_ \\", max_size=60))
def test_overrides(text):
    tried(load_config, "pose", text)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)


@bounded
@hypothesis.given(key=st.sampled_from([*configs.flatten(load_config("msgan", "debug")), "model", "data"]), value=JSON)
def test_configs(place, key, value):
    config = load_config("msgan", "debug").to_dict()
    *path, last = key.split(".")
    node = config
    for name in path:
        node = node[name]
    node[last] = value
    (place / "config.json").write_text(json.dumps(config))
    tried(runs.checked_config, place)
    tried(lambda: configs.validate(ConfigDict(config), run_schema("msgan")))


@bounded
@hypothesis.given(data=st.one_of(JSON.map(json.dumps).map(str.encode), st.binary(max_size=100)))
def test_config_files(place, data):
    (place / "config.json").write_bytes(data)
    tried(runs.checked_config, place)


@bounded
@hypothesis.given(at=st.integers(0, 400), by=st.binary(min_size=1, max_size=8))
def test_weights(place, at, by):
    file = place / "x.safetensors"
    trees.save_tree(file, {"params": {"a": np.zeros(3, np.float32), "b": {"c": np.zeros((2, 2), np.float32)}}})
    data = bytearray(file.read_bytes())
    data[at : at + len(by)] = by
    file.write_bytes(bytes(data))
    tried(trees.load_tree, file)
