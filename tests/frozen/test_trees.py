"""Variables come back as they were saved, damaged files are refused, and a wrong type is named."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from jfsr.frozen import trees
from jfsr.frozen.trees import WeightsError


def test_trees_come_back_as_they_were_saved(tmp_path):
    tree = {"params": {"a": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3).T}, "b": np.array([2], np.int32)}}
    file = tmp_path / "new" / "x.safetensors"
    trees.save_tree(file, tree, metadata={"key": "value"})
    back, metadata = trees.load_tree(file)
    assert metadata == {"key": "value"}
    assert trees.flatten(back).keys() == {"params/a/kernel", "params/b"}
    np.testing.assert_array_equal(back["params"]["a"]["kernel"], tree["params"]["a"]["kernel"])
    assert back["params"]["b"].dtype == np.int32
    trees.save_tree(file, {"h": np.array([0.1], np.float16)})
    assert trees.load_tree(file)[0]["h"].dtype == np.float32


def test_a_file_appears_complete_or_not_at_all_and_for_everyone(tmp_path, monkeypatch):
    file, plain = tmp_path / "x.safetensors", tmp_path / "plain"
    plain.touch()
    trees.save_tree(file, {"a": np.zeros(3, np.float32)})
    assert file.stat().st_mode == plain.stat().st_mode
    before = file.read_bytes()

    def full(self, data):
        self.touch()
        raise OSError("no space left")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        trees.save_tree(file, {"a": np.ones(3, np.float32)})
    assert file.read_bytes() == before
    assert sorted(f.name for f in tmp_path.iterdir()) == ["plain", "x.safetensors"]


def test_damaged_files_are_refused(tmp_path):
    file = tmp_path / "x.safetensors"
    trees.save_tree(file, {"a": np.zeros(100, np.float32)})
    for damaged in (b"", file.read_bytes()[:-8], b"no safetensors at all"):
        file.write_bytes(damaged)
        with pytest.raises(WeightsError, match="is damaged"):
            trees.load_tree(file)
    with pytest.raises(FileNotFoundError):
        trees.load_tree(tmp_path / "absent")


def test_variables_of_another_type_are_refused():
    tree = lambda dtype: {"params": {"norm0": {"scale": np.zeros(4, dtype), "bias": np.zeros(4, np.float32)}}}
    with pytest.raises(WeightsError, match=r"(?s)^mine:.*another type \(1\): params/norm0/scale: int32, needs float32"):
        trees.check_tree(tree(np.int32), tree(np.float32), what="mine")
