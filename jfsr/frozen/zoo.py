"""Every frozen network by name: its entry, where its weights lie, and its variables or a clear refusal.

``config.frozen.*`` and ``--pose`` take a name, or the folder (workdir or bundle) of a network that we trained.
:func:`load` gives the network and its variables, or refuses and says what to do: nothing scores with random weights.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import os
import pathlib
from typing import Any

from jfsr import files
from jfsr.config import nearest
from jfsr.frozen import rules, trees
from jfsr.frozen.network import FrozenNetwork, PublishedFile
from jfsr.frozen.trees import WeightsError

# The files that declare networks, in the order of `jfsr port --list`.
MODULES = (
    "hopenet",
    "lightpose",
    "mobilefacenet",
    "facenet",
    "lightcnn",
    "lpips",
    "vgg19",
    "magface",
    "rrdb",
    "small",
)
PACKAGED = pathlib.Path(__file__).parent / "weights"


class MissingWeights(ValueError):  # noqa: N818 - reads as what it says
    """The weights of a frozen network are not on this machine; the message says how to get them."""


@functools.cache
def networks() -> dict[str, FrozenNetwork]:
    """Name -> entry of every frozen network, with or without weights on this machine."""
    declared = [importlib.import_module(f"jfsr.frozen.{module}").NETWORKS for module in MODULES]
    return {net.name: net for entries in declared for net in entries}


def names() -> tuple[str, ...]:
    """The name of every frozen network, with or without weights on this machine."""
    return tuple(networks())


def network(name: str) -> FrozenNetwork:
    """The entry of a frozen network, without its weights, by name or by the folder of one that we trained.

    Raises:
      ValueError: no such name and no such folder, or a folder with something else in it; says which.
    """
    if name in networks():
        return networks()[name]
    file = files.path(name) / "config.json"
    if not file.exists():
        raise ValueError(
            f"no frozen network {name!r}{nearest(name, names())} "
            f"(frozen networks: {', '.join(names())}, or the folder of one from train.py)"
        )
    try:
        config = json.loads(files.read_text(file))
        method, model = config["method"], config["model"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is no config of jfsr ({type(error).__name__}: {error}); "
            f"export the run again: jfsr export WORKDIR -o {name}"
        ) from error
    if method not in ("pose", "identity"):
        raise ValueError(f"{name} holds a {method}, which is no frozen network; a pose or identity network is")
    if method == "pose" and config.get("scale", 1) > 1:
        raise ValueError(
            f"{name} was trained on low-resolution faces and reads no originals; it is a baseline: --direct of eval.py"
        )
    if model.get("name") not in networks():
        raise ValueError(
            f"{file}: model.name is {model.get('name')!r}, which this version of jfsr does not have "
            f"(networks: {', '.join(names())}); use the version that trained it"
        )
    return dataclasses.replace(networks()[model["name"]], name=name)


def load(name: str) -> tuple[FrozenNetwork, dict[str, Any]]:
    """A frozen network and its variables, float32.

    Raises:
      MissingWeights: the weights are not here; says which command fetches or makes them.
      WeightsError: the weights are damaged, belong to another network, or were ported by another version's rules.
      ValueError: no such frozen network.
    """
    net = network(name)
    if name in networks():
        file = _weights(name)
        if file is None:
            raise MissingWeights(_how_to_get(net))
        remedy = _how_to_get(net, again=True)
    else:
        file = files.path(name) / "params.safetensors"
        if not file.exists():
            raise MissingWeights(f"{name} is a workdir; make a bundle of it first: jfsr export {name} -o FOLDER")
        remedy = "export it again with this version of jfsr"
    variables, note = trees.load_tree(file)
    if net.rules and note.get("rules", rules.VERSION) != rules.VERSION:
        raise WeightsError(
            f"{file} was ported by rules {note['rules']}, and this version of jfsr has rules {rules.VERSION}; {remedy}"
        )
    trees.check_tree(variables, trees.shapes_of(net.module), what=f"{file} does not hold this {net.name}; {remedy}")
    return net, variables


def present(name: str) -> bool:
    """Whether the weights of a frozen network of the zoo are on this machine."""
    return _weights(name) is not None


def weights_dir() -> pathlib.Path:
    """Where ported weights lie: $JFSR_WEIGHTS, or ~/.cache/jfsr."""
    return files.path(os.environ["JFSR_WEIGHTS"]) if os.environ.get("JFSR_WEIGHTS") else files.cache()


def describe() -> str:
    """A table of every network: whether its weights are here, its published files, size, licence and place."""
    rows = [("name", "kind", "weights", "input", "size", "licence", "published")]
    for name, net in networks().items():
        size = f"{net.megabytes:.1f} MB" if net.megabytes else f"{net.parameters / 1e6:.1f} M parameters"
        side = f"{net.input_size}×{net.input_size}" if net.input_size else "any"
        where = f"{' + '.join(f.name for f in net.files)}: {net.published}" if net.files else net.published
        rows.append((name, net.kind, "present" if present(name) else "absent", side, size, net.licence, where))
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    lines = ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([f"weights folder: {weights_dir()}", *lines])


def _weights(name: str) -> pathlib.Path | None:
    """The weights of a network: those in the weights folder, which the user has ported, else those that ship with jfsr.

    Of our own networks, which are not ported, it is the other way round.
    """
    folders = (weights_dir(), PACKAGED) if networks()[name].rules else (PACKAGED, weights_dir())
    return next((file for folder in folders if (file := folder / f"{name}.safetensors").exists()), None)


def _how_to_get(net: FrozenNetwork, *, again: bool = False) -> str:
    """What to do for a network's weights: missing ones, or ``again`` where those that are here will not do."""
    if not net.rules:
        gone = "" if again else f"{net.name} ships with jfsr, and {PACKAGED / (net.name + '.safetensors')} is gone; "
        return f"{gone}install jfsr again"
    absent = "" if again else f"the weights of {net.name} are not in {weights_dir()}. "
    here = [file for published in net.files if (file := _in_weights_dir(published))]
    if len(here) == len(net.files):
        them = "Its published file is there" if len(here) == 1 else "Its published files are there"
        return f"{absent}{them}: {net.port_command(*here)}"
    get = " and ".join(published.name for published in net.files)
    return f"{absent}Get {get} from {net.published} ({net.licence}), then: {net.port_command()}"


def _in_weights_dir(published: PublishedFile) -> pathlib.Path | None:
    """A published file, if it lies in the weights folder under its own name or, by its digest, under another."""
    candidates = [f for end in ("pkl", "pt", "pth", "pth.tar") for f in sorted(weights_dir().glob(f"*.{end}"))]
    fits = lambda f: f.name == published.name or (published.sha256 and files.sha256(f).startswith(published.sha256))
    return next((file for file in candidates if fits(file)), None)
