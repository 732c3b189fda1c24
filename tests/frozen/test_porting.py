"""A published file becomes weights with their provenance; a wrong one is named, and no code of a file runs."""

from __future__ import annotations

import pathlib
import pickle

import numpy as np
import pytest

from jfsr import __main__ as cli
from jfsr import files
from jfsr.frozen import porting, rules, trees, zoo
from jfsr.frozen.trees import WeightsError

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
    checkpoint = {
        "epoch": 3,
        "arch": "LightCNN",
        "state_dict": tensors,
        "prec1": torch.tensor(98.9),
        "optimizer": optimizer,
    }
    torch.save(checkpoint, tmp_path / "x.pth.tar", _use_new_zipfile_serialization=False)
    out = porting.read_torch(tmp_path / "x.pth.tar")
    assert out.keys() == {"weight", "bias"}
    np.testing.assert_array_equal(out["weight"], net.weight.detach().numpy())


def test_files_are_merged_and_equal_keys_refused():
    a, b = {"x": np.zeros(1), "y": np.zeros(2)}, {"z": np.zeros(3)}
    assert porting.merge({"a.pth": a, "b.pth": b}).keys() == {"x", "y", "z"}
    with pytest.raises(WeightsError, match=r"b.pth repeats keys of the other file \(1\): y; give each file once"):
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
        with pytest.raises(WeightsError, match=f"{name} is no file of plain PyTorch tensors.*state_dict") as refusal:
            porting.read_torch(tmp_path / name)
        assert "weights_only" not in str(refusal.value)  # PyTorch's advice to read it unsafely is not passed on
    assert not trace.exists()


def test_other_files_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    (tmp_path / "text.pkl").write_text("no pickle")
    (tmp_path / "empty.pkl").write_bytes(b"")
    for name in ("text.pkl", "empty.pkl"):
        with pytest.raises(WeightsError, match="is no file of plain PyTorch tensors"):
            porting.read_torch(tmp_path / name)
    torch.save({"w": torch.zeros(100)}, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:-50])
    with pytest.raises(WeightsError, match=r"cut.pt is no file of plain PyTorch tensors .*; it is cut off or no"):
        porting.read_torch(tmp_path / "cut.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="holds no state dict, but a list"):
        porting.read_torch(tmp_path / "list.pt")
    torch.save({"w": torch.zeros(1), "epoch": 3}, tmp_path / "more.pt")
    with pytest.raises(WeightsError, match="other things than tensors: epoch"):
        porting.read_torch(tmp_path / "more.pt")
    with pytest.raises(WeightsError, match="no file"):
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
    out = porting.port_file("lightpose", lightpose)
    assert out == tmp_path / "weights" / "lightpose.safetensors"
    assert trees.load_tree(out)[1] == {
        "network": "lightpose",
        "source": "mine.pkl",
        "source_sha256": files.sha256(lightpose),
        "published_digest": "another file",
        "rules": rules.VERSION,
        "licence": "MIT",
    }
    assert zoo.load("lightpose")[0].name == "lightpose"
    (line,) = porting.provenance(out)
    assert line.startswith(f"lightpose, MIT, rules 1: sha256 {files.sha256(lightpose)} of mine.pkl is NOT that of")


def test_digests_are_held_against_the_published_ones():
    a, b, c = ("a" * 64, "b" * 64, "c" * 64)
    verdicts = porting._verdicts
    assert verdicts([a], [a]) == ["equal"]
    assert verdicts([a], ["aaaaaaaa"]) == ["equal"]  # the eight digits in torchvision's file names
    assert verdicts([b], [a]) == ["another file"]
    assert verdicts([b], [""]) == ["unknown"]
    assert verdicts([b, a], [a, b]) == ["equal", "equal"]  # in any order
    assert verdicts([b, a], [a, ""]) == ["unknown", "equal"]
    assert verdicts([b, c], [a, b]) == ["equal", "another file"]


def test_lpips_is_ported_from_two_files_in_any_order_and_from_no_other_number(tmp_path):
    torch = pytest.importorskip("torch")
    from support.reference.lpips_torch import backbone, weights

    torch.save(backbone("alex").state_dict(), one := tmp_path / "one.pth")
    torch.save(weights("alex").state_dict(), two := tmp_path / "two.pth")
    forth = trees.load_tree(porting.port_file("lpips_alex", [one, two], tmp_path / "a"))
    back = trees.load_tree(porting.port_file("lpips_alex", [two, one], tmp_path / "b"))
    for path, array in trees.flatten(forth[0]).items():
        np.testing.assert_array_equal(array, trees.flatten(back[0])[path])
    assert forth[1]["source"] == "one.pth\ntwo.pth"
    assert [line.split(" of ")[1].split(" ")[0] for line in porting.provenance(tmp_path / "b")] == [
        "two.pth",
        "one.pth",
    ]
    command = "jfsr port lpips_alex alexnet-owt-7be5be79.pth alex.pth"
    for sources in (one, [one, two, two]):
        with pytest.raises(WeightsError, match=f"lpips_alex is published in 2 files, got [13]: {command}"):
            porting.port_file("lpips_alex", sources, tmp_path / "c")
    # One of the two files alone is not another network, but looks like this one.
    with pytest.raises(WeightsError, match=f"(?s)is not a vgg19.*This looks like lpips_alex, not vgg19: {command}"):
        porting.port_file("vgg19", one, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_the_right_network_with_a_fault_is_not_called_another(lightpose, tmp_path):
    torch = pytest.importorskip("torch")
    tensors = torch.load(lightpose, weights_only=True)
    del tensors["fc_yaw.bias"]
    torch.save(tensors, lightpose)
    with pytest.raises(WeightsError, match=r"file does not fill \(1\): params/yaw/bias") as refusal:
        porting.port_file("lightpose", lightpose, tmp_path / "out")
    assert "looks like" not in str(refusal.value)


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
    with pytest.raises(WeightsError) as refusal:
        porting.port_file("mobilefacenet", lightpose, tmp_path / "out")
    assert "this file is not a mobilefacenet" in str(refusal.value)
    assert f"This looks like lightpose, not mobilefacenet: jfsr port lightpose {lightpose}" in str(refusal.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(WeightsError, match="small_pose is no published network"):
        porting.port_file("small_pose", lightpose)


def looped():
    state = {}
    state["state_dict"] = state
    return state


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of most of these kinds
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda torch: {"a": torch.eye(3).to_sparse()}, "sparse, quantised, complex or without data: a"),
        (lambda torch: {"a": torch.eye(3).to_sparse_csr()}, "sparse, quantised, complex or without data: a"),
        (lambda torch: {"a": torch.empty(3, device="meta")}, "sparse, quantised, complex or without data: a"),
        (lambda torch: {"a": torch.ones(3, dtype=torch.complex64)}, "sparse, quantised, complex or without data: a"),
        (
            lambda torch: {"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)},
            "sparse, quantised, complex or without data: a",
        ),
        (lambda torch: looped(), "a dict that contains itself"),
        (lambda torch: {"state_dict": {"model": {}}}, "holds no state dict"),
        (lambda torch: [torch.ones(3)], "holds no state dict, but a list"),
        (lambda torch: {"a": torch.ones(3), "epoch": 7}, "holds other things than tensors: epoch"),
    ],
)
def test_what_is_no_plain_state_dict_is_one_line(make, says, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    torch.save(make(torch), tmp_path / "x.pth")
    assert cli.main(["port", "hopenet", str(tmp_path / "x.pth"), "-o", str(tmp_path / "out.safetensors")]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert "x.pth" in err
    assert not (tmp_path / "out.safetensors").exists()
