"""Turns a published PyTorch file into our weights, with a note on where they come from: ``jfsr port``."""

from __future__ import annotations

import functools
import os
import pathlib
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from jfsr import files
from jfsr.frozen import rules, trees, zoo
from jfsr.frozen.network import FrozenNetwork
from jfsr.frozen.trees import WeightsError

# Keys under which files keep a state dict. Where a file has several, the first in this order: averages before raw.
WRAPPERS = ("state_dict", "params_ema", "params", "model")


def port_file(
    name: str, file: os.PathLike | str | Sequence[os.PathLike | str], out: os.PathLike | str | None = None
) -> pathlib.Path:
    """Turns a published PyTorch file into weights for :func:`jfsr.frozen.zoo.load`.

    Args:
      name: a frozen network of the zoo.
      file: the published file; for a network that is published in several files, all of them in any order.
      out: where to write; by default the weights folder.

    Returns:
      The safetensors file, with its provenance in the metadata (:func:`provenance` reads it).

    Raises:
      WeightsError: the file is not this network (lists the keys on both sides and the network that it looks like), or
        the number of files is not the published one.
    """
    net = zoo.network(name)
    if not net.rules:
        raise WeightsError(f"{name} is no published network; it comes with jfsr")
    sources = [files.path(f) for f in ([file] if isinstance(file, (str, os.PathLike)) else file)]
    if len(sources) != len(net.files):
        raise WeightsError(
            f"{name} is published in {len(net.files)} file{'s' * (len(net.files) > 1)}, got {len(sources)}: "
            f"{net.port_command()}"
        )
    state = merge({str(source): read_torch(source) for source in sources})
    try:
        variables = rules.apply_rules(state, net.rules, trees.shapes_of(net.module), name=name)
    except WeightsError as error:
        raise WeightsError(f"{error}{_likely_cause(net, state, sources)}") from None
    target = files.path(out) if out else zoo.weights_dir() / f"{name}.safetensors"
    digests = [files.sha256(source) for source in sources]
    note = {
        "network": name,
        # One line for each file.
        "source": "\n".join(source.name for source in sources),
        "source_sha256": "\n".join(digests),
        "published_digest": "\n".join(_verdicts(digests, [published.sha256 for published in net.files])),
        "rules": rules.VERSION,
        "licence": net.licence,
    }
    trees.save_tree(target, variables, metadata=note)
    return target


def provenance(file: os.PathLike | str) -> list[str]:
    """Where the weights in a ported file come from: one line for each published file."""
    note = trees.read_metadata(file)
    says = {
        "equal": "is that of the published file",
        "another file": "is NOT that of the published file: other weights of this network, or a changed file",
        "unknown": "cannot be checked: no digest of the published file is known here",
    }
    columns = (note[key].split("\n") for key in ("source", "source_sha256", "published_digest"))
    about = f"{note['network']}, {note['licence']}, rules {note['rules']}"
    return [f"{about}: sha256 {sha} of {name} {says[verdict]}" for name, sha, verdict in zip(*columns, strict=True)]


def _verdicts(digests: Sequence[str], published: Sequence[str]) -> list[str]:
    """For each file 'equal' to a published one, 'another file', or 'unknown' where a published digest is not known."""
    unmatched = [p for p in published if not (p and any(d.startswith(p) for d in digests))]
    verdicts = []
    for digest in digests:
        equal = any(p and digest.startswith(p) for p in published)
        verdicts.append("equal" if equal else "another file" if all(unmatched) else "unknown")
    return verdicts


def _likely_cause(net: FrozenNetwork, state: Mapping[str, np.ndarray], sources: Sequence[pathlib.Path]) -> str:
    """The network that a refused file looks like, if it looks more like that one than like ``net``."""
    published = [other for other in map(zoo.network, zoo.names()) if other.rules]
    like = {
        other.name: rules.likeness(state, other.rules, functools.partial(trees.shapes_of, other.module))
        for other in published
    }
    best = max(published, key=lambda other: (like[other.name], other.name == net.name))
    if best.name == net.name or like[best.name] < 0.5:
        return ""
    command = best.port_command(*sources) if len(sources) == len(best.files) else best.port_command()
    return f"\nThis looks like {best.name}, not {net.name}: {command}"


def read_torch(file: os.PathLike | str) -> dict[str, np.ndarray]:
    """Tensors of a PyTorch file by key, without running code from it.

    Wrappers (``state_dict``, ``params_ema``, ``params``, ``model``, also inside each other) are opened and a
    ``module.`` before every key is removed. The ending does not matter: .pkl, .pt, .pth and .pth.tar are one format.

    Raises:
      ImportError: torch is not installed.
      WeightsError: not a PyTorch file, or a pickle that holds more than plain tensors.
    """
    file = pathlib.Path(file)
    if not file.is_file():
        raise WeightsError(f"no file {file}")
    try:
        import torch
    except ImportError as error:
        raise ImportError("porting reads PyTorch files and needs torch: pip install 'jfsr[port]'") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they concern files that are refused below
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged data makes the unpickler raise nearly anything
        # The reason alone: PyTorch's message also advises to read the file unsafely.
        text = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].split())
        reason = re.split(r"\. | Please | Check the ", text)[0][:200] or "it is empty"
        advice = "it is cut off or no PyTorch file at all: get it again"
        if isinstance(error, pickle.UnpicklingError):
            advice = (
                "a pickle with anything else could run any code, so it is not read: save the model's state_dict() in "
                "the program that made it"
            )
        raise WeightsError(f"{file} is no file of plain PyTorch tensors ({reason}); {advice}") from error
    opened: list[int] = []  # a dict may contain itself
    while isinstance(loaded, dict) and (inner := [w for w in WRAPPERS if isinstance(loaded.get(w), dict)]):
        if id(loaded) in opened:
            raise WeightsError(f"{file} holds a dict that contains itself; save the model's state_dict()")
        opened.append(id(loaded))
        loaded = loaded[inner[0]]
    if not isinstance(loaded, dict) or not loaded:
        raise WeightsError(f"{file} holds no state dict, but a {type(loaded).__name__}; save the model's state_dict()")
    others = [str(key) for key, value in loaded.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise WeightsError(
            f"{file} holds other things than tensors: {trees.shorten(others)}; save the model's state_dict() alone"
        )
    plain = lambda x: x.layout == torch.strided and not x.is_meta and not x.is_quantized and not x.is_complex()
    if others := [str(key) for key, value in loaded.items() if not plain(value)]:
        raise WeightsError(
            f"{file} holds tensors that are sparse, quantised, complex or without data: {trees.shorten(others)}; save "
            "the state_dict() of the float model"
        )
    if all(str(key).startswith("module.") for key in loaded):
        loaded = {str(key).removeprefix("module."): value for key, value in loaded.items()}
    # NumPy has no bfloat16, and all our weights are float32.
    return {str(key): value.detach().float().numpy() for key, value in loaded.items()}


def merge(states: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Joins the state dicts of several files, for a network that is published in more than one.

    Args:
      states: file name -> arrays by key.

    Raises:
      WeightsError: two files hold the same key.
    """
    merged: dict[str, np.ndarray] = {}
    for file, state in states.items():
        both = sorted(set(merged) & set(state))
        if both:
            raise WeightsError(
                f"{file} repeats keys of the other file ({len(both)}): {trees.shorten(both)}; give each file once"
            )
        merged |= state
    return merged
