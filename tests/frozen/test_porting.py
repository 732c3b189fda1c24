"""Porting: every array of the file is accounted for, nothing of ours stays empty, no code of the file runs."""

from __future__ import annotations

import pathlib
import pickle

import jax
import numpy as np
import pytest

from jfsr import __main__ as cli
from jfsr.frozen import porting, zoo

RULES = [*porting.conv("a", "first", bias=True), *porting.norm(r"n\.(\d)", r"norm\1"), *porting.linear("b", "last")]


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
    out = porting.apply_rules(source, RULES, wanted)
    first, norm, stats = out["params"]["first"], out["params"]["norm0"], out["batch_stats"]["norm0"]
    assert first["kernel"][1, 2, 0, 3] == source["a.weight"][3, 0, 1, 2]
    assert out["params"]["last"]["kernel"][3, 1] == source["b.weight"][1, 3]
    np.testing.assert_array_equal(first["bias"], source["a.bias"])
    np.testing.assert_array_equal(norm["scale"], source["n.0.weight"])
    np.testing.assert_array_equal(norm["bias"], source["n.0.bias"])
    np.testing.assert_array_equal(stats["mean"], source["n.0.running_mean"])
    np.testing.assert_array_equal(stats["var"], source["n.0.running_var"])
    assert porting.flatten(out).keys() == porting.flatten(wanted).keys()
    assert all(leaf.dtype == np.float32 for leaf in porting.flatten(out).values())


def test_old_files_without_the_count_of_batches_are_complete(source, wanted):
    del source["n.0.num_batches_tracked"]
    porting.apply_rules(source, RULES, wanted)


def test_both_sides_are_accounted_for(source, wanted):
    source["c.weight"] = source.pop("b.weight")
    source["a.bias"] = source["a.bias"][:3]
    source["n.1.bias"] = source["n.0.bias"]
    with pytest.raises(porting.PortError) as refusal:
        porting.apply_rules(source, RULES, wanted, name="toy")
    assert str(refusal.value).splitlines() == [
        "this file is not a toy:",
        "  keys of the file that nothing takes (1): c.weight",
        "  arrays of ours that the file does not fill (1): params/last/kernel",
        "  arrays that we have no place for (1): params/norm1/bias",
        "  arrays of another shape (1): params/first/bias: (3,), needs (4,)",
    ]


def test_an_array_with_other_axes_is_one_of_another_shape(source, wanted):
    source["a.weight"] = source["a.weight"][0]
    with pytest.raises(porting.PortError, match=r"params/first/kernel: \(3, 5, 7\), needs \(5, 7, 3, 4\)"):
        porting.apply_rules(source, RULES, wanted)


def test_variables_of_another_type_are_refused(wanted):
    wanted["params"]["norm0"]["scale"] = np.zeros(4, np.int32)
    with pytest.raises(
        porting.PortError, match=r"(?s)^mine:.*another type \(1\): params/norm0/scale: int32, needs float32"
    ):
        porting.check_tree(
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
    with pytest.raises(porting.PortError, match=r"keys that two rules take \(2\): b.weight, b.bias"):
        porting.apply_rules(source, [*RULES, *porting.linear("[bc]", "last")], wanted)
    source["c.bias"] = source["b.bias"]
    with pytest.raises(porting.PortError, match=r"c.bias and b.bias, both for params/last/bias"):
        porting.apply_rules(source, [*RULES, *porting.linear("c", "last")], wanted)


def test_numbered_arrays_are_stacked_in_the_order_of_their_numbers():
    rules = [(r"blocks\.(\d+)\.w", r"params/blocks/kernel#\1", "linear")]
    source = {f"blocks.{i}.w": np.full((2, 3), i, np.float32) for i in (3, 10, *range(3), *range(4, 10))}
    wanted = {"params": {"blocks": {"kernel": np.empty((11, 3, 2), np.float32)}}}
    kernel = porting.apply_rules(source, rules, wanted)["params"]["blocks"]["kernel"]
    np.testing.assert_array_equal(kernel[:, 0, 0], np.arange(11))
    with pytest.raises(
        porting.PortError, match=r"stacks that are not whole \(1\): params/blocks/kernel: layer 4 is miss"
    ):
        porting.apply_rules({k: v for k, v in source.items() if k != "blocks.4.w"}, rules, wanted)


def test_likeness_counts_what_fits(source, wanted):
    like = lambda source: porting.likeness(source, RULES, lambda: wanted)
    assert like(source) == 1.0
    assert like({**source, "c": np.zeros(1)}) == 1 - 1 / 10  # one of ten keys has no place
    assert like({k: v for k, v in source.items() if k != "a.bias"}) == 7 / 8  # one of eight arrays stays empty
    assert like({**source, "a.bias": np.zeros(3)}) == 7 / 8
    others = {"x": np.zeros(1), "y": np.zeros(1), "a.bias": np.zeros(4)}
    assert porting.likeness(others, RULES, lambda: pytest.fail("no need to look at shapes")) == 0.0


def test_long_lists_are_cut():
    with pytest.raises(porting.PortError, match=r"nothing takes \(20\): k0, .*k7, … and 12 more"):
        porting.apply_rules({f"k{i}": np.zeros(1) for i in range(20)}, [], {})


# --- PyTorch files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", [None, "state_dict", "params_ema", "params", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappers_and_prefixes_are_removed(wrapper, prefix, tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {f"{prefix}a.weight": torch.arange(6.0).reshape(2, 3), f"{prefix}n": torch.tensor(4)}
    torch.save({wrapper: tensors, "epoch": 3} if wrapper else tensors, tmp_path / "x.pth")
    out = porting.read_torch(tmp_path / "x.pth")
    assert out.keys() == {"a.weight", "n"}
    np.testing.assert_array_equal(out["a.weight"], [[0, 1, 2], [3, 4, 5]])


def test_the_average_is_read_of_two_and_wrappers_may_stand_in_each_other(tmp_path):
    torch = pytest.importorskip("torch")
    raw, average = {"w": torch.zeros(2)}, {"w": torch.ones(2)}
    torch.save({"model": {"params": raw, "params_ema": average}, "epoch": 1}, tmp_path / "x.pth")
    np.testing.assert_array_equal(porting.read_torch(tmp_path / "x.pth")["w"], [1, 1])


def test_a_checkpoint_of_2017_is_read(tmp_path):
    """PyTorch's format before 1.6, with everything that a training program put beside the network."""
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(2, 3)
    tensors = {f"module.{key}": value for key, value in net.state_dict().items()}
    optimizer = {"state": {7: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [7]}]}
    whole = {"epoch": 3, "arch": "LightCNN", "state_dict": tensors, "prec1": torch.tensor(98.9), "optimizer": optimizer}
    torch.save(whole, tmp_path / "x.pth.tar", _use_new_zipfile_serialization=False)
    out = porting.read_torch(tmp_path / "x.pth.tar")
    assert out.keys() == {"weight", "bias"}
    np.testing.assert_array_equal(out["weight"], net.weight.detach().numpy())


def test_parts_are_merged_and_equal_keys_refused():
    a, b = {"x": np.zeros(1), "y": np.zeros(2)}, {"z": np.zeros(3)}
    assert porting.merge({"a.pth": a, "b.pth": b}).keys() == {"x", "y", "z"}
    with pytest.raises(porting.PortError, match=r"b.pth repeats keys of the other file \(1\): y; give each part once"):
        porting.merge({"a.pth": a, "b.pth": {"y": np.zeros(2), **b}})


def test_half_precision_and_parameters_are_read(tmp_path):
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.tensor([0.5, 2.0], dtype=torch.bfloat16))
    torch.save({"w": weight}, tmp_path / "x.pt")
    np.testing.assert_array_equal(porting.read_torch(tmp_path / "x.pt")["w"], np.array([0.5, 2.0], np.float32))


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
        with pytest.raises(
            porting.PortError, match=f"{name} is no file of plain PyTorch tensors.*state_dict"
        ) as refusal:
            porting.read_torch(tmp_path / name)
        assert "weights_only" not in str(refusal.value)  # PyTorch's advice to read it unsafely is not passed on
    assert not trace.exists()


def test_other_files_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    (tmp_path / "text.pkl").write_text("no pickle")
    (tmp_path / "empty.pkl").write_bytes(b"")
    for name in ("text.pkl", "empty.pkl"):
        with pytest.raises(porting.PortError, match="is no file of plain PyTorch tensors"):
            porting.read_torch(tmp_path / name)
    torch.save({"w": torch.zeros(100)}, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:-50])
    with pytest.raises(porting.PortError, match=r"cut.pt is no file of plain PyTorch tensors .*; it is cut off or no"):
        porting.read_torch(tmp_path / "cut.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(porting.PortError, match="holds no state dict, but a list"):
        porting.read_torch(tmp_path / "list.pt")
    torch.save({"w": torch.zeros(1), "epoch": 3}, tmp_path / "more.pt")
    with pytest.raises(porting.PortError, match="other things than tensors: epoch"):
        porting.read_torch(tmp_path / "more.pt")
    with pytest.raises(porting.PortError, match="no file"):
        porting.read_torch(tmp_path / "absent.pt")


# --- published networks -----------------------------------------------------------------------------------------------


@pytest.fixture
def lightpose(tmp_path):
    """A file with LightPose's keys and random numbers."""
    torch = pytest.importorskip("torch")
    from support.reference.lightpose_torch import LightPose

    file = tmp_path / "mine.pkl"
    torch.save(LightPose().state_dict(), file)
    return file


def test_a_ported_file_loads_and_says_where_it_comes_from(lightpose, tmp_path, monkeypatch):
    monkeypatch.setenv("JFSR_WEIGHTS", str(tmp_path / "weights"))
    out = zoo.port_file("lightpose", lightpose)
    assert out == tmp_path / "weights" / "lightpose.safetensors"
    assert porting.load_tree(out)[1] == {
        "network": "lightpose",
        "source": "mine.pkl",
        "source_sha256": porting.sha256(lightpose),
        "published_digest": "another file",
        "rules": porting.VERSION,
        "licence": "MIT",
    }
    assert zoo.load("lightpose")[0].name == "lightpose"
    (line,) = zoo.provenance(out)
    assert line.startswith(f"lightpose, MIT, rules 1: sha256 {porting.sha256(lightpose)} of mine.pkl is NOT that of")


def test_digests_are_held_against_the_published_ones():
    a, b, c = ("a" * 64, "b" * 64, "c" * 64)
    verdicts = zoo._verdicts
    assert verdicts([a], [a]) == ["equal"]
    assert verdicts([a], ["aaaaaaaa"]) == ["equal"]  # the eight digits in torchvision's file names
    assert verdicts([b], [a]) == ["another file"]
    assert verdicts([b], [""]) == ["unknown"]
    assert verdicts([b, a], [a, b]) == ["equal", "equal"]  # in any order
    assert verdicts([b, a], [a, ""]) == ["unknown", "equal"]
    assert verdicts([b, c], [a, b]) == ["equal", "another file"]


def test_hopenet_s_file_of_2017_needs_no_counts_and_its_unused_head_is_dropped(tmp_path):
    torch = pytest.importorskip("torch")
    from support.reference.hopenet_torch import Hopenet

    net = Hopenet().state_dict()
    old = {key: value for key, value in net.items() if not key.endswith("num_batches_tracked")}
    assert (len(net), len(old)) == (326, 273)
    torch.save(old, tmp_path / "old.pkl", _use_new_zipfile_serialization=False)
    variables, note = porting.load_tree(zoo.port_file("hopenet", tmp_path / "old.pkl", tmp_path / "out"))
    assert note["published_digest"] == "unknown"
    assert "no digest of the published file is known" in zoo.provenance(tmp_path / "out")[0]
    np.testing.assert_array_equal(variables["params"]["yaw"]["kernel"], net["fc_yaw.weight"].numpy().T)
    assert not [path for path in porting.flatten(variables) if "finetune" in path]


def test_lpips_is_ported_from_two_files_in_any_order_and_from_no_other_number(tmp_path):
    torch = pytest.importorskip("torch")
    from support.reference.lpips_torch import backbone, weights

    torch.save(backbone("alex").state_dict(), one := tmp_path / "one.pth")
    torch.save(weights("alex").state_dict(), two := tmp_path / "two.pth")
    there = porting.load_tree(zoo.port_file("lpips_alex", [one, two], tmp_path / "a"))
    back = porting.load_tree(zoo.port_file("lpips_alex", [two, one], tmp_path / "b"))
    for path, array in porting.flatten(there[0]).items():
        np.testing.assert_array_equal(array, porting.flatten(back[0])[path])
    assert there[1]["source"] == "one.pth\ntwo.pth"
    assert [line.split(" of ")[1].split(" ")[0] for line in zoo.provenance(tmp_path / "b")] == ["two.pth", "one.pth"]
    command = "jfsr port lpips_alex alexnet-owt-7be5be79.pth alex.pth"
    for files in (one, [one, two, two]):
        with pytest.raises(porting.PortError, match=f"lpips_alex is published in 2 files, got [13]: {command}"):
            zoo.port_file("lpips_alex", files, tmp_path / "c")
    # One part of it is no other network, but looks like this one.
    with pytest.raises(
        porting.PortError, match=f"(?s)is not a vgg19.*This looks like lpips_alex, not vgg19: {command}"
    ):
        zoo.port_file("vgg19", one, tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(("is_", "is_not"), [("lightcnn29", "lightcnn9"), ("lightcnn29v2", "lightcnn29")])
def test_a_sibling_is_told_apart(is_, is_not, tmp_path):
    torch = pytest.importorskip("torch")
    from support.reference.lightcnn_torch import LightCNN29

    with torch.device("meta"):
        net = LightCNN29(5, v2=is_ == "lightcnn29v2")
    tensors = {f"module.{key}": torch.zeros(value.shape) for key, value in net.state_dict().items()}
    torch.save({"state_dict": tensors, "epoch": 80}, file := tmp_path / "renamed.pth.tar")
    with pytest.raises(porting.PortError) as refusal:
        zoo.port_file(is_not, file, tmp_path / "out")
    assert str(refusal.value).endswith(f"This looks like {is_}, not {is_not}: jfsr port {is_} {file}")


def test_the_right_network_with_a_fault_is_not_called_another(lightpose, tmp_path):
    torch = pytest.importorskip("torch")
    tensors = torch.load(lightpose, weights_only=True)
    del tensors["fc_yaw.bias"]
    torch.save(tensors, lightpose)
    with pytest.raises(porting.PortError, match=r"file does not fill \(1\): params/yaw/bias") as refusal:
        zoo.port_file("lightpose", lightpose, tmp_path / "out")
    assert "looks like" not in str(refusal.value)


def test_the_list_has_every_network_with_file_place_licence_size_and_state(tmp_path, monkeypatch):
    monkeypatch.setenv("JFSR_WEIGHTS", str(tmp_path))
    lines = {line.split()[0]: line for line in zoo.describe().splitlines()}
    wanted = "hopenet facenet lightcnn9 lightcnn29 lightcnn29v2 lpips_alex lpips_vgg vgg19 magface rrdb lightpose"
    assert set(wanted.split()) | {"mobilefacenet"} <= lines.keys()
    for name in zoo.names():
        net = zoo.network(name)
        state = "absent" if net.rules else "present"
        assert all(word in lines[name] for word in (state, net.file, net.published, net.licence)), name
        assert net.licence, name
        assert net.published, name
        if not net.megabytes:  # then the list shows the number of parameters
            count = sum(x.size for x in jax.tree.leaves(porting.shapes_of(net.module)["params"]))
            assert net.parameters == count, name


def test_the_command_prints_the_target_and_what_it_knows_of_the_file(lightpose, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JFSR_WEIGHTS", str(tmp_path / "weights"))
    assert cli.main(["port", "lightpose", str(lightpose)]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(tmp_path / "weights" / "lightpose.safetensors")
    assert "is NOT that of the published file" in err
    assert cli.main(["port", "lpips_alex", str(lightpose)]) == 2
    assert "published in 2 files, got 1" in capsys.readouterr().err
    assert cli.main(["port", "mobilefacenet", str(lightpose)]) == 2
    assert "This looks like lightpose" in capsys.readouterr().err


def test_a_file_of_another_network_is_recognised(lightpose, tmp_path):
    with pytest.raises(porting.PortError) as refusal:
        zoo.port_file("mobilefacenet", lightpose, tmp_path / "out")
    assert "this file is not a mobilefacenet" in str(refusal.value)
    assert f"This looks like lightpose, not mobilefacenet: jfsr port lightpose {lightpose}" in str(refusal.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(porting.PortError, match="small_pose is no published network"):
        zoo.port_file("small_pose", lightpose)


# --- safetensors ------------------------------------------------------------------------------------------------------


def test_trees_come_back_as_they_were_saved(tmp_path):
    tree = {"params": {"a": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3).T}, "b": np.array([2], np.int32)}}
    file = tmp_path / "new" / "x.safetensors"
    porting.save_tree(file, tree, metadata={"key": "value"})
    back, metadata = porting.load_tree(file)
    assert metadata == {"key": "value"}
    assert porting.flatten(back).keys() == {"params/a/kernel", "params/b"}
    np.testing.assert_array_equal(back["params"]["a"]["kernel"], tree["params"]["a"]["kernel"])
    assert back["params"]["b"].dtype == np.int32
    porting.save_tree(file, {"h": np.array([0.1], np.float16)})
    assert porting.load_tree(file)[0]["h"].dtype == np.float32


def test_a_file_appears_whole_or_not_at_all_and_for_everyone(tmp_path, monkeypatch):
    file, plain = tmp_path / "x.safetensors", tmp_path / "plain"
    plain.touch()
    porting.save_tree(file, {"a": np.zeros(3, np.float32)})
    assert file.stat().st_mode == plain.stat().st_mode
    before = file.read_bytes()

    def full(self, data):
        self.touch()
        raise OSError("no space left")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        porting.save_tree(file, {"a": np.ones(3, np.float32)})
    assert file.read_bytes() == before
    assert sorted(f.name for f in tmp_path.iterdir()) == ["plain", "x.safetensors"]


def test_damaged_files_are_refused(tmp_path):
    file = tmp_path / "x.safetensors"
    porting.save_tree(file, {"a": np.zeros(100, np.float32)})
    for damaged in (b"", file.read_bytes()[:-8], b"no safetensors at all"):
        file.write_bytes(damaged)
        with pytest.raises(porting.PortError, match="is damaged"):
            porting.load_tree(file)
    with pytest.raises(FileNotFoundError):
        porting.load_tree(tmp_path / "absent")
