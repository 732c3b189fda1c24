"""What a fresh run starts from, where not from chance: published parameters, or those of another run.

``config.start.NET`` is ``''`` (chance), a network of the zoo that the method knows how to use (``'rrdb'``), or a
folder: a workdir, whose best checkpoint's moving average is taken, or a bundle. A method offers

* ``STARTS``: {net: {name in the zoo: {path in our parameters: path in that network's}}}, where a path names an array
  or everything below it; all of it must fit. Of a folder every parameter is taken, and every one must fit;
* ``starts(config) -> {net: name or folder}``, without those that start from chance.

A method's ``init`` is compiled as a whole and reads no file; so `load` reads before it, and `begin` replaces after it.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from jfsr.config import nearest
from jfsr.frozen import porting, zoo
from jfsr.training import runs


class StartError(ValueError):
    """Parameters that a network cannot start from: names paths and shapes."""


@dataclasses.dataclass(frozen=True)
class Given:
    """Parameters for one network.

    Attributes:
      source: where they come from.
      params: arrays by our path, ``trunk1/conv_first/kernel``.
      whole: they are all that the network has.
      unused: arrays of the source that the network has no use for.
    """

    source: str
    params: dict[str, np.ndarray]
    whole: bool
    unused: int


def load(method: Any, config: Any) -> dict[str, Given]:
    """Reads what ``config.start`` names, by net; nothing for a method that has no such choice.

    Raises:
      StartError: neither a network that this method can start from nor a folder.
      MissingWeights: a network whose weights are not here; says which command makes them.
      CheckpointError, PortError, ValueError: a folder that is no workdir or bundle, or is damaged.
    """
    wanted = method.starts(config) if hasattr(method, "starts") else {}
    return {net: _read(net, source, method.STARTS.get(net, {})) for net, source in wanted.items()}


def begin(fresh: Any, given: dict[str, Given]) -> tuple[Any, list[str]]:
    """Replaces parameters of a fresh state, and their moving average with them.

    Args:
      fresh: the State that ``method.init`` made.
      given: from `load`.

    Returns:
      The state, and a line for each network that says how much of it was and was not taken.

    Raises:
      StartError: paths or shapes that do not fit.
    """
    nets, lines = dict(fresh.nets), []
    for name, part in given.items():
        net = nets[name]
        own = porting.flatten(net.params)
        _check(name, part, own)
        nets[name] = net.replace(
            params=porting.unflatten(_replaced(net.params, part)), ema=porting.unflatten(_replaced(net.ema, part))
        )
        count, taken = len(part.params), sum(own[path].size for path in part.params)
        total = sum(x.size for x in own.values())
        lines.append(
            f"{name} starts from {part.source}: {count} of {len(own)} arrays, {taken:,} of {total:,} parameters taken; "
            f"{len(own) - count} arrays start fresh, {part.unused} of the source are not used"
        )
    return fresh.replace(nets=nets), lines


def _read(net: str, source: str, known: dict[str, dict[str, str]]) -> Given:
    if source in known:
        theirs = porting.flatten(zoo.load(source)[1]["params"])
        params, used = {}, set()
        for ours, there in known[source].items():
            for path, array in theirs.items():
                if f"{path}/".startswith(f"{there}/"):
                    params[ours + path.removeprefix(there)] = array
                    used.add(path)
        return Given(source, params, whole=False, unused=len(theirs) - len(used))
    folder = pathlib.Path(source).expanduser()
    if not folder.is_dir():
        choice = f"{', '.join(known)}, or the folder of a run or bundle" if known else "the folder of a run or bundle"
        raise StartError(f"start.{net} is {source!r}{nearest(source, known)}, which is no folder; it can be {choice}")
    variables, step = runs.load_variables(folder)
    at = "" if step is None else f" at step {step}"
    return Given(f"{source}{at}", porting.flatten(variables["params"]), whole=True, unused=0)


def _check(name: str, part: Given, own: dict[str, Any]) -> None:
    faults = [f"{p}: only in the source" for p in sorted(part.params.keys() - own.keys())]
    if part.whole:
        faults += [f"{p}: only in this run" for p in sorted(own.keys() - part.params.keys())]
    both = sorted(own.keys() & part.params.keys())
    shapes = {p: (part.params[p].shape, own[p].shape) for p in both}
    faults += [f"{p}: {list(there)} there, {list(here)} here" for p, (there, here) in shapes.items() if there != here]
    if faults:
        shown = [*faults[:8], f"… and {len(faults) - 8} more"] if len(faults) > 8 else faults
        raise StartError(
            f"{name} cannot start from {part.source}:\n  " + "\n  ".join(shown) + "\n"
            f"Give config.model (and config.scale) the sizes of the source, or start.{name}='' to start from chance."
        )


def _replaced(tree: Any, part: Given) -> dict[str, Any]:
    """Leaves by path; each given one is an array of its own, since the step donates its buffers."""
    leaves = porting.flatten(tree)
    return leaves | {path: jnp.array(part.params[path], leaves[path].dtype) for path in part.params if path in leaves}
