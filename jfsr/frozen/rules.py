"""The rules that turn a published state dict into our variables; every array on both sides is accounted for.

A rule is (regular expression for the source's keys, template of our path, transform). Exactly one rule, or one named
drop, must take each source key, and the result must equal the initialised module in tree, shape and dtype; otherwise an
error lists both sides. A template that ends in ``#N`` names layer N of a stack: the arrays of all layers become one
array with a leading axis, as `jfsr.models.layers.stack_blocks` keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jfsr.frozen.trees import differences, flatten, refuse_if_any, unflatten

VERSION = "1"  # version of the rules, written into every ported file; a file with another version is refused

Rule = tuple[str, str, str]
DROP = "drop"  # stands in the transform's place: the network does not use this array
TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda x: x,
    "conv": lambda x: x.transpose(2, 3, 1, 0),  # OIHW -> HWIO, grouped and depthwise too
    "linear": lambda x: x.T,
}


def conv(source: str, target: str, *, bias: bool = False) -> list[Rule]:
    """Rules for one convolution."""
    rules = [(rf"{source}\.weight", f"params/{target}/kernel", "conv")]
    return rules + ([(rf"{source}\.bias", f"params/{target}/bias", "same")] if bias else [])


def linear(source: str, target: str, *, bias: bool = True) -> list[Rule]:
    """Rules for one linear layer."""
    rules = [(rf"{source}\.weight", f"params/{target}/kernel", "linear")]
    return rules + ([(rf"{source}\.bias", f"params/{target}/bias", "same")] if bias else [])


def norm(source: str, target: str) -> list[Rule]:
    """Rules for one BatchNorm; the count of batches, which older files lack, is dropped."""
    return [
        (rf"{source}\.weight", f"params/{target}/scale", "same"),
        (rf"{source}\.bias", f"params/{target}/bias", "same"),
        (rf"{source}\.running_mean", f"batch_stats/{target}/mean", "same"),
        (rf"{source}\.running_var", f"batch_stats/{target}/var", "same"),
        drop(rf"{source}\.num_batches_tracked"),
    ]


def drop(source: str) -> Rule:
    """Rule for arrays that the network does not use; they may be absent."""
    return source, "", DROP


def apply_rules(
    source: Mapping[str, np.ndarray], rules: Sequence[Rule], wanted: Mapping[str, Any], *, name: str = "network"
) -> dict[str, Any]:
    """Turns a state dict into our variables, float32.

    Args:
      source: arrays by source key.
      rules: the network's, see the module.
      wanted: our variables (arrays or shapes) as the initialised module has them.
      name: the network's name, for the message.

    Raises:
      WeightsError: keys that no rule takes, or more than one; paths that stay empty; shapes that differ.
    """
    target, faults = _place(source, rules)
    refuse_if_any(faults | differences(target, wanted), what=f"this file is not a {name}")
    return unflatten(target)


def likeness(source: Mapping[str, np.ndarray], rules: Sequence[Rule], wanted: Callable[[], Mapping[str, Any]]) -> float:
    """How much a state dict looks like a network: 1 where the rules turn it into the network.

    Args:
      source: arrays by source key.
      rules: the network's.
      wanted: gives its variables' shapes; not called where the rules know fewer than half of the keys.

    Returns:
      The smaller of two shares in [0, 1]: the file's keys that fit an array of ours, and our arrays that get filled.
    """
    patterns = [re.compile(pattern) for pattern, _, _ in rules]
    if 2 * sum(any(p.fullmatch(key) for p in patterns) for key in source) < len(source):
        return 0.0
    target, faults = _place(source, rules)
    shapes = {path: tuple(leaf.shape) for path, leaf in flatten(wanted()).items()}
    fitting = sum(target[path].shape == shape for path, shape in shapes.items() if path in target)
    astray = sum(map(len, faults.values())) + len(target) - fitting
    return min(max(0.0, 1.0 - astray / len(source)), fitting / len(shapes))


def _place(
    source: Mapping[str, np.ndarray], rules: Sequence[Rule]
) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Our arrays by path, layers stacked; and the keys at fault, by kind of fault."""
    target: dict[str, np.ndarray] = {}
    origin: dict[str, str] = {}
    left: list[str] = []
    twice: list[str] = []
    compiled = [(re.compile(pattern), template, how) for pattern, template, how in rules]
    for key, value in source.items():
        hits = [(m, template, how) for regex, template, how in compiled if (m := regex.fullmatch(key))]
        if len(hits) != 1:
            (twice if hits else left).append(key)
            continue
        match, template, how = hits[0]
        if how == DROP:
            continue
        path = match.expand(template)
        if path in target:
            twice.append(f"{key} and {origin[path]}, both for {path}")
        origin[path] = key
        try:
            array = TRANSFORMS[how](np.asarray(value, np.float32))
        except ValueError:  # the transform permutes another number of axes; `differences` reports the shape
            array = np.asarray(value, np.float32)
        target[path] = np.ascontiguousarray(array)
    target, gaps = _stack(target)
    faults = {"keys of the file that no rule takes": left, "keys that two rules take": twice}
    return target, faults | {"incomplete stacks": gaps}


def _stack(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Joins ``path#0``, ``path#1``, … along a leading axis, and names the stacks that cannot be joined."""
    out = {path: array for path, array in arrays.items() if "#" not in path}
    stacks: dict[str, dict[int, np.ndarray]] = {}
    for path in arrays.keys() - out.keys():
        stem, number = path.split("#")
        stacks.setdefault(stem, {})[int(number)] = arrays[path]
    gaps = []
    for stem, layers in sorted(stacks.items()):
        absent = [i for i in range(len(layers)) if i not in layers]
        shapes = sorted({layer.shape for layer in layers.values()})
        if absent or len(shapes) > 1:
            gaps.append(f"{stem}: layer {absent[0]} is missing" if absent else f"{stem}: layers of shapes {shapes}")
        else:
            out[stem] = np.stack([layers[i] for i in range(len(layers))])
    return out, gaps
