"""Rules account for every array: nothing in the file is left over, and nothing of ours stays empty."""

from __future__ import annotations

import numpy as np
import pytest

from jfsr.frozen import rules, trees
from jfsr.frozen.trees import WeightsError

RULES = [*rules.conv("a", "first", bias=True), *rules.norm(r"n\.(\d)", r"norm\1"), *rules.linear("b", "last")]


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


def test_rules_put_every_number_in_its_place(source, wanted):
    out = rules.apply_rules(source, RULES, wanted)
    first, norm, stats = out["params"]["first"], out["params"]["norm0"], out["batch_stats"]["norm0"]
    assert first["kernel"][1, 2, 0, 3] == source["a.weight"][3, 0, 1, 2]
    assert out["params"]["last"]["kernel"][3, 1] == source["b.weight"][1, 3]
    np.testing.assert_array_equal(first["bias"], source["a.bias"])
    np.testing.assert_array_equal(norm["scale"], source["n.0.weight"])
    np.testing.assert_array_equal(norm["bias"], source["n.0.bias"])
    np.testing.assert_array_equal(stats["mean"], source["n.0.running_mean"])
    np.testing.assert_array_equal(stats["var"], source["n.0.running_var"])
    assert trees.flatten(out).keys() == trees.flatten(wanted).keys()
    assert all(leaf.dtype == np.float32 for leaf in trees.flatten(out).values())


def test_old_files_without_the_count_of_batches_are_complete(source, wanted):
    del source["n.0.num_batches_tracked"]
    rules.apply_rules(source, RULES, wanted)


def test_both_sides_are_accounted_for(source, wanted):
    source["c.weight"] = source.pop("b.weight")
    source["a.bias"] = source["a.bias"][:3]
    source["n.1.bias"] = source["n.0.bias"]
    with pytest.raises(WeightsError) as refusal:
        rules.apply_rules(source, RULES, wanted, name="toy")
    assert str(refusal.value).splitlines() == [
        "this file is not a toy:",
        "  keys of the file that no rule takes (1): c.weight",
        "  arrays of ours that the file does not fill (1): params/last/kernel",
        "  arrays that we have no place for (1): params/norm1/bias",
        "  arrays of another shape (1): params/first/bias: (3,), needs (4,)",
    ]


def test_an_array_with_other_axes_is_one_of_another_shape(source, wanted):
    source["a.weight"] = source["a.weight"][0]
    with pytest.raises(WeightsError, match=r"params/first/kernel: \(3, 5, 7\), needs \(5, 7, 3, 4\)"):
        rules.apply_rules(source, RULES, wanted)


def test_a_key_taken_twice_or_two_keys_for_one_place_are_faults_of_the_rules(source, wanted):
    with pytest.raises(WeightsError, match=r"keys that two rules take \(2\): b.weight, b.bias"):
        rules.apply_rules(source, [*RULES, *rules.linear("[bc]", "last")], wanted)
    source["c.bias"] = source["b.bias"]
    with pytest.raises(WeightsError, match=r"c.bias and b.bias, both for params/last/bias"):
        rules.apply_rules(source, [*RULES, *rules.linear("c", "last")], wanted)


def test_numbered_arrays_are_stacked_in_the_order_of_their_numbers():
    stack = [(r"blocks\.(\d+)\.w", r"params/blocks/kernel#\1", "linear")]
    source = {f"blocks.{i}.w": np.full((2, 3), i, np.float32) for i in (3, 10, *range(3), *range(4, 10))}
    wanted = {"params": {"blocks": {"kernel": np.empty((11, 3, 2), np.float32)}}}
    kernel = rules.apply_rules(source, stack, wanted)["params"]["blocks"]["kernel"]
    np.testing.assert_array_equal(kernel[:, 0, 0], np.arange(11))
    with pytest.raises(WeightsError, match=r"incomplete stacks \(1\): params/blocks/kernel: layer 4 is miss"):
        rules.apply_rules({k: v for k, v in source.items() if k != "blocks.4.w"}, stack, wanted)


def test_likeness_counts_what_fits(source, wanted):
    like = lambda source: rules.likeness(source, RULES, lambda: wanted)
    assert like(source) == 1.0
    assert like({**source, "c": np.zeros(1)}) == 1 - 1 / 10  # one of ten keys has no place
    assert like({k: v for k, v in source.items() if k != "a.bias"}) == 7 / 8  # one of eight arrays stays empty
    assert like({**source, "a.bias": np.zeros(3)}) == 7 / 8
    others = {"x": np.zeros(1), "y": np.zeros(1), "a.bias": np.zeros(4)}
    assert rules.likeness(others, RULES, lambda: pytest.fail("no need to look at shapes")) == 0.0


def test_long_lists_are_cut():
    with pytest.raises(WeightsError, match=r"no rule takes \(20\): k0, .*k7, … and 12 more"):
        rules.apply_rules({f"k{i}": np.zeros(1) for i in range(20)}, [], {})
