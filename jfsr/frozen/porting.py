"""Published PyTorch weights -> ours: rules from key to path, with two-sided accounting; safetensors in and out.

A network's file holds ``RULES``: (regular expression of source keys, template of our path, transform). Every source key
must be consumed by exactly one rule or one named drop, and the result must equal the initialised module in tree, shape
and dtype; else an error lists both sides. A template that ends in ``#N`` names layer N of a stack: the arrays of all
layers become one with a leading axis, as `jfsr.models.layers.stack_blocks` keeps them.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import pickle
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

VERSION = "1"  # of the rules; written into every ported file, and a file of another version is refused

Rule = tuple[str, str, str]
DROP = "drop"  # in a rule's place of a transform: the network does not use this array
WRAPPERS = ("state_dict", "params_ema", "params", "model")  # of several in one file the first: averages before raw
TRANSFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda x: x,
    "conv": lambda x: x.transpose(2, 3, 1, 0),  # OIHW -> HWIO, grouped and depthwise too
    "linear": lambda x: x.T,
}


class PortError(ValueError):
    """A file that cannot become this network: what is missing, what is left over, and the likely cause."""


def conv(source: str, target: str, *, bias: bool = False) -> list[Rule]:
    """Rules of one convolution."""
    rules = [(rf"{source}\.weight", f"params/{target}/kernel", "conv")]
    return rules + ([(rf"{source}\.bias", f"params/{target}/bias", "same")] if bias else [])


def linear(source: str, target: str, *, bias: bool = True) -> list[Rule]:
    """Rules of one linear layer."""
    rules = [(rf"{source}\.weight", f"params/{target}/kernel", "linear")]
    return rules + ([(rf"{source}\.bias", f"params/{target}/bias", "same")] if bias else [])


def norm(source: str, target: str) -> list[Rule]:
    """Rules of one BatchNorm; the count of batches, which older files lack, is dropped."""
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
      rules: see the module.
      wanted: our variables (arrays or shapes) as the initialised module has them.
      name: for the message.

    Raises:
      PortError: keys that no rule, or more than one, consumes; paths that stay empty; shapes that differ.
    """
    target, faults = _place(source, rules)
    _refuse(f"this file is not a {name}", faults | _differences(target, wanted))
    return unflatten(target)


def likeness(source: Mapping[str, np.ndarray], rules: Sequence[Rule], wanted: Callable[[], Mapping[str, Any]]) -> float:
    """How much a state dict looks like a network: 1 where the rules turn it into the network.

    Args:
      source: arrays by source key.
      rules: the network's.
      wanted: gives its variables' shapes; not called for a file whose keys are mostly others.

    Returns:
      The smaller of two shares in [0, 1]: keys of the file that find a place of their shape, arrays of ours so filled.
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
    """Our arrays by path, stacks stacked; and what went wrong on the way, by kind."""
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
        except ValueError:  # another number of axes than the transform permutes: reported as a shape below
            array = np.asarray(value, np.float32)
        target[path] = np.ascontiguousarray(array)
    target, gaps = _stack(target)
    faults = {"keys of the file that nothing takes": left, "keys that two rules take": twice}
    return target, faults | {"stacks that are not whole": gaps}


def _stack(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Joins ``path#0``, ``path#1``, … along a leading axis, and names the stacks that cannot be joined."""
    out = {path: array for path, array in arrays.items() if "#" not in path}
    stacks: dict[str, dict[int, np.ndarray]] = {}
    for path in arrays.keys() - out.keys():
        stem, number = path.split("#")
        stacks.setdefault(stem, {})[int(number)] = arrays[path]
    gaps = []
    for stem, parts in sorted(stacks.items()):
        absent = [i for i in range(len(parts)) if i not in parts]
        shapes = sorted({part.shape for part in parts.values()})
        if absent or len(shapes) > 1:
            gaps.append(f"{stem}: layer {absent[0]} is missing" if absent else f"{stem}: layers of shapes {shapes}")
        else:
            out[stem] = np.stack([parts[i] for i in range(len(parts))])
    return out, gaps


def check_tree(tree: Mapping[str, Any], wanted: Mapping[str, Any], *, what: str) -> None:
    """Refuses variables that differ from the initialised module's in tree, shape or dtype.

    Raises:
      PortError: begins with ``what`` and lists the differences.
    """
    _refuse(what, _differences(flatten(tree), wanted))


def _differences(found: Mapping[str, np.ndarray], wanted: Mapping[str, Any]) -> dict[str, list[str]]:
    shapes = {path: tuple(leaf.shape) for path, leaf in flatten(wanted).items()}
    types = {path: leaf.dtype for path, leaf in flatten(wanted).items()}
    both = sorted(set(found) & set(shapes))
    return {
        "arrays of ours that the file does not fill": sorted(set(shapes) - set(found)),
        "arrays that we have no place for": sorted(set(found) - set(shapes)),
        "arrays of another shape": [
            f"{p}: {found[p].shape}, needs {shapes[p]}" for p in both if found[p].shape != shapes[p]
        ],
        "arrays of another type": [
            f"{p}: {found[p].dtype}, needs {types[p]}" for p in both if found[p].dtype != types[p]
        ],
    }


def _refuse(what: str, faults: Mapping[str, list[str]]) -> None:
    if any(faults.values()):
        lines = [f"  {fault} ({len(names)}): {_some(names)}" for fault, names in faults.items() if names]
        raise PortError(f"{what}:\n" + "\n".join(lines))


def read_torch(file: os.PathLike | str) -> dict[str, np.ndarray]:
    """Tensors of a PyTorch file by key, without running code from it.

    Wrappers (``state_dict``, ``params_ema``, ``params``, ``model``, also inside each other) are opened and a
    ``module.`` before every key is removed. The name's ending does not matter: .pkl, .pt, .pth and .pth.tar are one.

    Raises:
      ImportError: torch is not installed.
      PortError: not a PyTorch file, or a pickle of something else than plain tensors.
    """
    file = pathlib.Path(file)
    if not file.is_file():
        raise PortError(f"no file {file}")
    try:
        import torch
    except ImportError as error:
        raise ImportError("porting reads PyTorch files and needs torch: pip install 'jfsr[port]'") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it refuses anyway
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, UnicodeDecodeError, AttributeError) as error:
        # The reason alone, without PyTorch's advice around it to read the file unsafely.
        text = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].split())
        reason = re.split(r"\. | Please | Check the ", text)[0][:200] or "it is empty"
        advice = "it is cut off or no PyTorch file at all: get it again"
        if isinstance(error, pickle.UnpicklingError):
            advice = (
                "a pickle of other things could run any code, so it is not read: save the model's state_dict() in the "
                "program that made it"
            )
        raise PortError(f"{file} is no file of plain PyTorch tensors ({reason}); {advice}") from error
    while isinstance(loaded, dict) and (inner := [w for w in WRAPPERS if isinstance(loaded.get(w), dict)]):
        loaded = loaded[inner[0]]
    if not isinstance(loaded, dict) or not loaded:
        raise PortError(f"{file} holds no state dict, but a {type(loaded).__name__}; save the model's state_dict()")
    others = [str(key) for key, value in loaded.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise PortError(f"{file} holds other things than tensors: {_some(others)}; save the model's state_dict() alone")
    if all(str(key).startswith("module.") for key in loaded):
        loaded = {str(key).removeprefix("module."): value for key, value in loaded.items()}
    # NumPy has no bfloat16; everything of ours is float32.
    return {str(key): value.detach().float().numpy() for key, value in loaded.items()}


def merge(sources: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One state dict of several files', for a network that is published in parts.

    Args:
      sources: arrays by key, by the file's name.

    Raises:
      PortError: a key stands in two files.
    """
    whole: dict[str, np.ndarray] = {}
    for file, source in sources.items():
        both = sorted(set(whole) & set(source))
        if both:
            raise PortError(f"{file} repeats keys of the other file ({len(both)}): {_some(both)}; give each part once")
        whole |= source
    return whole


def save_tree(file: os.PathLike | str, tree: Mapping[str, Any], *, metadata: Mapping[str, str] | None = None) -> None:
    """Writes nested dicts of arrays as safetensors, names ``a/b/c``; the file appears whole or not at all."""
    file = pathlib.Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Not `save_file`, which makes a file that its owner alone can read.
    data = save({k: np.ascontiguousarray(v) for k, v in flatten(tree).items()}, metadata=dict(metadata or {}))
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def load_tree(file: os.PathLike | str) -> tuple[dict[str, Any], dict[str, str]]:
    """Nested dicts of arrays, floats as float32, and the metadata of a file that :func:`save_tree` wrote.

    Raises:
      FileNotFoundError: no such file.
      PortError: the file is no safetensors, or damaged.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            metadata = dict(opened.metadata() or {})
            leaves = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise PortError(f"{file} is damaged ({error}); remove it and make it again") from error
    widen = lambda x: x.astype(np.float32) if np.issubdtype(x.dtype, np.floating) else x
    return unflatten({name: widen(value) for name, value in leaves.items()}), metadata


def read_metadata(file: os.PathLike | str) -> dict[str, str]:
    """The metadata of a file that :func:`save_tree` wrote, without its arrays."""
    with safe_open(file, framework="numpy") as opened:
        return dict(opened.metadata() or {})


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by path ``a/b/c``."""
    out: dict[str, Any] = {}
    for name, value in tree.items():
        out |= flatten(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return out


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of :func:`flatten`."""
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        *folders, last = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = value
    return tree


def shapes_of(module: Any, size: int = 128) -> dict[str, Any]:
    """Our variables' shapes, without computing anything; ``size`` is the image's side."""
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    return jax.eval_shape(module.init, jax.random.key(0), image)


def sha256(file: os.PathLike | str) -> str:
    """Digest of a file."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _some(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f", … and {len(names) - most} more" if len(names) > most else "")
