"""Porting: every array of the file is accounted for, nothing of ours stays empty, no code of the file runs."""

from __future__ import annotations

import pathlib
import pickle

import numpy as np
import pytest

from jfsr.frozen import port, zoo

RULES = [*port.conv("a", "first", bias=True), *port.norm(r"n\.(\d)", r"norm\1"), *port.linear("b", "last")]


@pytest.fixture
def source():
    """A state dict that RULES turn into :func:`wanted`, every number another."""
    shapes = {"a.weight": (4, 3, 5, 7), "a.bias": (4,), "b.weight": (2, 4), "b.bias": (2,)}
    shapes |= {f"n.0.{leaf}": (4,) for leaf in ("weight", "bias", "running_mean", "running_var")}
    numbers = iter(range(10**6))
    fill = lambda shape: np.array([next(numbers) for _ in range(int(np.prod(shape)))], np.float32).reshape(shape)
    return {key: fill(shape) for key, shape in shapes.items()} | {"n.0.num_batches_tracked": np.array(3)}


@pytest.fixture
def wanted():
    empty = lambda *shape: np.empty(shape, np.float32)
    return {
        "params": {
            "first": {"kernel": empty(5, 7, 3, 4), "bias": empty(4)},
            "norm0": {"scale": empty(4), "bias": empty(4)},
            "last": {"kernel": empty(4, 2), "bias": empty(2)},
        },
        "batch_stats": {"norm0": {"mean": empty(4), "var": empty(4)}},
    }


# --- rules ------------------------------------------------------------------------------------------------------------


def test_rules_put_every_number_in_its_place(source, wanted):
    out = port.apply_rules(source, RULES, wanted)
    first, norm, stats = out["params"]["first"], out["params"]["norm0"], out["batch_stats"]["norm0"]
    assert first["kernel"][1, 2, 0, 3] == source["a.weight"][3, 0, 1, 2]
    assert out["params"]["last"]["kernel"][3, 1] == source["b.weight"][1, 3]
    np.testing.assert_array_equal(first["bias"], source["a.bias"])
    np.testing.assert_array_equal(norm["scale"], source["n.0.weight"])
    np.testing.assert_array_equal(norm["bias"], source["n.0.bias"])
    np.testing.assert_array_equal(stats["mean"], source["n.0.running_mean"])
    np.testing.assert_array_equal(stats["var"], source["n.0.running_var"])
    assert port.flatten(out).keys() == port.flatten(wanted).keys()
    assert all(leaf.dtype == np.float32 for leaf in port.flatten(out).values())


def test_old_files_without_the_count_of_batches_are_complete(source, wanted):
    del source["n.0.num_batches_tracked"]
    port.apply_rules(source, RULES, wanted)


def test_both_sides_are_accounted_for(source, wanted):
    source["c.weight"] = source.pop("b.weight")
    source["a.bias"] = source["a.bias"][:3]
    source["n.1.bias"] = source["n.0.bias"]
    with pytest.raises(port.PortError) as refusal:
        port.apply_rules(source, RULES, wanted, name="toy")
    assert str(refusal.value).splitlines() == [
        "this file is not a toy:",
        "  keys of the file that nothing takes (1): c.weight",
        "  arrays of ours that the file does not fill (1): params/last/kernel",
        "  arrays that we have no place for (1): params/norm1/bias",
        "  arrays of another shape (1): params/first/bias: (3,), needs (4,)",
    ]


def test_an_array_with_other_axes_is_one_of_another_shape(source, wanted):
    source["a.weight"] = source["a.weight"][0]
    with pytest.raises(port.PortError, match=r"params/first/kernel: \(3, 5, 7\), needs \(5, 7, 3, 4\)"):
        port.apply_rules(source, RULES, wanted)


def test_variables_of_another_type_are_refused(wanted):
    wanted["params"]["norm0"]["scale"] = np.zeros(4, np.int32)
    with pytest.raises(
        port.PortError, match=r"(?s)^mine:.*another type \(1\): params/norm0/scale: int32, needs float32"
    ):
        port.check_tree(
            wanted,
            {
                **wanted,
                "params": {
                    **wanted["params"],
                    "norm0": {"scale": np.zeros(4, np.float32), "bias": np.zeros(4, np.float32)},
                },
            },
            what="mine",
        )


def test_a_key_taken_twice_or_two_keys_for_one_place_are_faults_of_the_rules(source, wanted):
    with pytest.raises(port.PortError, match=r"keys that two rules take \(2\): b.weight, b.bias"):
        port.apply_rules(source, [*RULES, *port.linear("[bc]", "last")], wanted)
    source["c.bias"] = source["b.bias"]
    with pytest.raises(port.PortError, match=r"c.bias and b.bias, both for params/last/bias"):
        port.apply_rules(source, [*RULES, *port.linear("c", "last")], wanted)


def test_long_lists_are_cut():
    with pytest.raises(port.PortError, match=r"nothing takes \(20\): k0, .*k7, … and 12 more"):
        port.apply_rules({f"k{i}": np.zeros(1) for i in range(20)}, [], {})


# --- PyTorch files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", [None, "state_dict", "params_ema", "params"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappers_and_prefixes_are_removed(wrapper, prefix, tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {f"{prefix}a.weight": torch.arange(6.0).reshape(2, 3), f"{prefix}n": torch.tensor(4)}
    torch.save({wrapper: tensors, "epoch": 3} if wrapper else tensors, tmp_path / "x.pth")
    out = port.read_torch(tmp_path / "x.pth")
    assert out.keys() == {"a.weight", "n"}
    np.testing.assert_array_equal(out["a.weight"], [[0, 1, 2], [3, 4, 5]])


def test_half_precision_and_parameters_are_read(tmp_path):
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.tensor([0.5, 2.0], dtype=torch.bfloat16))
    torch.save({"w": weight}, tmp_path / "x.pt")
    np.testing.assert_array_equal(port.read_torch(tmp_path / "x.pt")["w"], np.array([0.5, 2.0], np.float32))


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return pathlib.Path.touch, (self.file,)


def test_no_code_of_a_file_runs(tmp_path):
    torch = pytest.importorskip("torch")
    trace = tmp_path / "ran"
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Evil(trace)))
    torch.save({"w": torch.zeros(1), "x": Evil(trace)}, tmp_path / "b.pth")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "c.pt")
    for name in ("a.pkl", "b.pth", "c.pt"):
        with pytest.raises(port.PortError, match=f"{name} is no file of plain PyTorch tensors.*save its state_dict"):
            port.read_torch(tmp_path / name)
    assert not trace.exists()


def test_other_files_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    (tmp_path / "text.pkl").write_text("no pickle")
    (tmp_path / "empty.pkl").write_bytes(b"")
    for name in ("text.pkl", "empty.pkl"):
        with pytest.raises(port.PortError, match="is no file of plain PyTorch tensors"):
            port.read_torch(tmp_path / name)
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(port.PortError, match="holds no state dict, but a list"):
        port.read_torch(tmp_path / "list.pt")
    torch.save({"w": torch.zeros(1), "epoch": 3}, tmp_path / "more.pt")
    with pytest.raises(port.PortError, match="other things than tensors: epoch"):
        port.read_torch(tmp_path / "more.pt")
    with pytest.raises(port.PortError, match="no file"):
        port.read_torch(tmp_path / "absent.pt")


# --- published networks -----------------------------------------------------------------------------------------------


@pytest.fixture
def lightpose(tmp_path):
    """A file with LightPose's keys and random numbers."""
    torch = pytest.importorskip("torch")
    from reference.lightpose_torch import LightPose

    file = tmp_path / "mine.pkl"
    torch.save(LightPose().state_dict(), file)
    return file


def test_a_ported_file_loads_and_says_where_it_comes_from(lightpose, tmp_path, monkeypatch):
    monkeypatch.setenv("JFSR_WEIGHTS", str(tmp_path / "weights"))
    out = zoo.port_file("lightpose", lightpose)
    assert out == tmp_path / "weights" / "lightpose.safetensors"
    assert port.load_tree(out)[1] == {
        "network": "lightpose",
        "source": "mine.pkl",
        "source_sha256": port.sha256(lightpose),
        "published_digest": "another file",
        "rules": port.VERSION,
        "licence": "MIT",
    }
    assert zoo.load("lightpose")[0].name == "lightpose"


def test_a_file_of_another_network_is_recognised(lightpose, tmp_path):
    with pytest.raises(port.PortError) as refusal:
        zoo.port_file("mobilefacenet", lightpose, tmp_path / "out")
    assert "this file is not a mobilefacenet" in str(refusal.value)
    assert f"This looks like lightpose: jfsr port lightpose {lightpose}" in str(refusal.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(port.PortError, match="small_pose is no published network"):
        zoo.port_file("small_pose", lightpose)


# --- safetensors ------------------------------------------------------------------------------------------------------


def test_trees_come_back_as_they_were_saved(tmp_path):
    tree = {"params": {"a": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3).T}, "b": np.array([2], np.int32)}}
    file = tmp_path / "new" / "x.safetensors"
    port.save_tree(file, tree, metadata={"key": "value"})
    back, metadata = port.load_tree(file)
    assert metadata == {"key": "value"}
    assert port.flatten(back).keys() == {"params/a/kernel", "params/b"}
    np.testing.assert_array_equal(back["params"]["a"]["kernel"], tree["params"]["a"]["kernel"])
    assert back["params"]["b"].dtype == np.int32
    port.save_tree(file, {"h": np.array([0.1], np.float16)})
    assert port.load_tree(file)[0]["h"].dtype == np.float32


def test_a_file_appears_whole_or_not_at_all_and_for_everyone(tmp_path, monkeypatch):
    file, plain = tmp_path / "x.safetensors", tmp_path / "plain"
    plain.touch()
    port.save_tree(file, {"a": np.zeros(3, np.float32)})
    assert file.stat().st_mode == plain.stat().st_mode
    before = file.read_bytes()

    def full(self, data):
        self.touch()
        raise OSError("no space left")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        port.save_tree(file, {"a": np.ones(3, np.float32)})
    assert file.read_bytes() == before
    assert sorted(f.name for f in tmp_path.iterdir()) == ["plain", "x.safetensors"]


def test_damaged_files_are_refused(tmp_path):
    file = tmp_path / "x.safetensors"
    port.save_tree(file, {"a": np.zeros(100, np.float32)})
    for damaged in (b"", file.read_bytes()[:-8], b"no safetensors at all"):
        file.write_bytes(damaged)
        with pytest.raises(port.PortError, match="is damaged"):
            port.load_tree(file)
    with pytest.raises(FileNotFoundError):
        port.load_tree(tmp_path / "absent")
