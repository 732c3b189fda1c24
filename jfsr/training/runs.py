"""A trained run on disk: the workdir that trained it, or the bundle made of it. Both hold the same arrays."""

from __future__ import annotations

import hashlib
import os
import pathlib
from typing import Any

import jax
import numpy as np

from jfsr.frozen.porting import load_tree
from jfsr.training import checkpoint

PARAMS = "params.safetensors"  # a bundle's arrays, named 'params/…' and 'batch_stats/…'


def load_variables(
    path: os.PathLike | str, *, step: int | str = "best", ema: bool = True
) -> tuple[dict[str, Any], int | None]:
    """``{'params', 'batch_stats'}`` of a workdir's generator or of a bundle, and the step (None for a bundle).

    Raises:
      ValueError: the path is neither, or a bundle whose parameters are not the ones that were exported.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise ValueError(f"{path} is no folder; give a workdir of train.py or a bundle of 'jfsr export'")
    if (path / PARAMS).exists():
        variables, note = load_tree(path / PARAMS)
        if note.get("sha256") != digest(variables):
            raise ValueError(f"{path / PARAMS} does not hold the parameters that were exported; copy the bundle again")
        return variables, None
    net, step = checkpoint.load_net(path, step=step)
    params = net["ema"] if ema and net["ema"] else net["params"]
    return {"params": params, **({"batch_stats": net["stats"]} if net["stats"] else {})}, step


def digest(variables: dict[str, Any]) -> str:
    """sha256 over names, shapes and float32 values of all arrays: the same for a workdir and the bundle made of it."""
    sha = hashlib.sha256()
    for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(variables), key=lambda p: jax.tree_util.keystr(p[0])):
        sha.update(f"{jax.tree_util.keystr(path)}{np.shape(leaf)}".encode())
        sha.update(np.ascontiguousarray(leaf, dtype=np.float32).tobytes())
    return sha.hexdigest()
