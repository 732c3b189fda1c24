"""Variables as nested dicts: leaves by path, safetensors in and out, and how two trees differ."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jfsr import files
from jfsr.geometry import HR_SIZE


class WeightsError(ValueError):
    """A file that cannot become this network: what is missing, what is left over, and the likely cause."""


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by path ``a/b/c``."""
    out: dict[str, Any] = {}
    for name, value in tree.items():
        out |= flatten(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return out


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of :func:`flatten`; WeightsError where a name is an array and a folder of arrays at once."""
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        *folders, last = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
            if not isinstance(node, dict):
                raise WeightsError(f"{path!r} stands below an array")
        if last in node:
            raise WeightsError(f"{path!r} is an array, and others stand below it")
        node[last] = value
    return tree


def shapes_of(module: nn.Module, size: int = HR_SIZE) -> dict[str, Any]:
    """The shapes of a module's variables, without computing anything; ``size`` is the image's side."""
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    return jax.eval_shape(module.init, jax.random.key(0), image)


def save_tree(file: os.PathLike | str, tree: Mapping[str, Any], *, metadata: Mapping[str, str] | None = None) -> None:
    """Writes nested dicts of arrays as safetensors, names ``a/b/c``; the file appears complete or not at all."""
    file = pathlib.Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Not `save_file`: only its owner could read the file that it makes.
    data = save({k: np.ascontiguousarray(v) for k, v in flatten(tree).items()}, metadata=dict(metadata or {}))
    files.write_bytes(file, data)


def load_tree(file: os.PathLike | str, *, widen: bool = True) -> tuple[dict[str, Any], dict[str, str]]:
    """Nested dicts of arrays, and the metadata of a file that :func:`save_tree` wrote.

    Args:
      file: the file.
      widen: floats become float32.

    Raises:
      FileNotFoundError: no such file.
      WeightsError: the file is no safetensors, or damaged.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            metadata = dict(opened.metadata() or {})
            leaves = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise WeightsError(f"{file} is damaged ({error}); remove it and make it again") from error
    if widen:
        leaves = {k: x.astype(np.float32) if np.issubdtype(x.dtype, np.floating) else x for k, x in leaves.items()}
    try:
        return unflatten(leaves), metadata
    except WeightsError as error:
        raise WeightsError(f"{file} is damaged ({error}); remove it and make it again") from error


def read_metadata(file: os.PathLike | str) -> dict[str, str]:
    """The metadata of a file that :func:`save_tree` wrote, without its arrays."""
    with safe_open(file, framework="numpy") as opened:
        return dict(opened.metadata() or {})


def check_tree(tree: Mapping[str, Any], wanted: Mapping[str, Any], *, what: str) -> None:
    """Refuses variables that differ from the initialised module's in tree, shape or dtype.

    Raises:
      WeightsError: its first line is ``what``, the others list the differences.
    """
    refuse_if_any(differences(flatten(tree), wanted), what=what)


def differences(leaves: Mapping[str, np.ndarray], wanted: Mapping[str, Any]) -> dict[str, list[str]]:
    """Where leaves by path differ from the tree ``wanted`` of arrays or shapes: kind of fault -> what is at fault."""
    shapes = {path: tuple(leaf.shape) for path, leaf in flatten(wanted).items()}
    types = {path: leaf.dtype for path, leaf in flatten(wanted).items()}
    both = sorted(set(leaves) & set(shapes))
    return {
        "arrays of ours that the file does not fill": sorted(set(shapes) - set(leaves)),
        "arrays that we have no place for": sorted(set(leaves) - set(shapes)),
        "arrays of another shape": [
            f"{p}: {leaves[p].shape}, needs {shapes[p]}" for p in both if leaves[p].shape != shapes[p]
        ],
        "arrays of another type": [
            f"{p}: {leaves[p].dtype}, needs {types[p]}" for p in both if leaves[p].dtype != types[p]
        ],
    }


def refuse_if_any(faults: Mapping[str, list[str]], *, what: str) -> None:
    """Raises a WeightsError that starts with ``what`` and lists the faults, if there are any."""
    if any(faults.values()):
        lines = [f"  {fault} ({len(names)}): {shorten(names)}" for fault, names in faults.items() if names]
        raise WeightsError(f"{what}:\n" + "\n".join(lines))


def shorten(names: list[str], most: int = 8) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:most]) + (f", … and {len(names) - most} more" if len(names) > most else "")
