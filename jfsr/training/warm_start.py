"""Initial parameters for a new run: random, published ones, or those of another run.

``config.warm_start.NET`` is ``''`` (random), a network of the zoo that the method knows how to use (``'rrdb'``), or a
folder: a workdir, whose best checkpoint's moving averages are taken, or a bundle. A method offers this as a
:class:`jfsr.methods.WarmStarter`. A path in its ``WARM_STARTS`` names an array or everything below it, and all of it
must fit. The name ``'*'`` stands for any network of the zoo. From it, as from a folder, every parameter and every
running statistic is taken, and every one must fit.

A method's ``init`` is compiled as a whole and reads no file. So :func:`load` reads before it, and :func:`apply`
replaces parameters after it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jfsr import files
from jfsr.config import nearest
from jfsr.frozen import trees, zoo
from jfsr.methods import Method, WarmStarter
from jfsr.methods.common import State
from jfsr.training import runs


class WarmStartError(ValueError):
    """Parameters that a network cannot start from: names paths and shapes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
    """Parameters for one network.

    Attributes:
      source: where they come from.
      params: arrays by our path, ``trunk1/conv_first/kernel``.
      complete: they are all the parameters and statistics of the network, not a part of the parameters.
      unused: how many arrays of the source the network has no use for.
      stats: running statistics by our path, if it is complete and the network has some.
    """

    source: str
    params: dict[str, np.ndarray]
    complete: bool
    unused: int
    stats: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def load(method: Method, config: Any) -> dict[str, Given]:
    """Reads what ``config.warm_start`` names, by network; nothing for a method that has no such choice.

    Raises:
      WarmStartError: neither a network that this method can start from nor a folder.
      MissingWeights: the network's weights are not on this machine; says which command makes them.
      CheckpointError, WeightsError, ValueError: a folder that is no workdir or bundle, or is damaged.
    """
    if not isinstance(method, WarmStarter):
        return {}
    return {
        name: _read(name, source, method.WARM_STARTS.get(name, {}))
        for name, source in method.warm_starts(config).items()
    }


def apply(fresh: State, given: dict[str, Given]) -> tuple[State, list[str]]:
    """Replaces parameters and running statistics of a fresh state, and their moving averages with them.

    Args:
      fresh: the State that ``method.init`` made.
      given: from :func:`load`.

    Returns:
      The state, and a line for each network that says how much of it was and was not taken.

    Raises:
      WarmStartError: paths or shapes that do not fit.
    """
    nets, lines = dict(fresh.nets), []
    for name, start in given.items():
        net = nets[name]
        own = trees.flatten(net.params)
        _check(name, start, own, trees.flatten(net.stats))
        nets[name] = net.replace(
            params=_replaced(net.params, start.params),
            ema=_replaced(net.ema, start.params),
            stats=_replaced(net.stats, start.stats),
            ema_stats=_replaced(net.ema_stats, start.stats),
        )
        count, taken = len(start.params), sum(own[path].size for path in start.params)
        total = sum(x.size for x in own.values())
        lines.append(
            f"{name} starts from {start.source}: {count} of {len(own)} arrays, {taken:,} of {total:,} parameters "
            f"taken; {len(own) - count} arrays start fresh, {start.unused} of the source are not used"
        )
    return fresh.replace(nets=nets), lines


def _read(name: str, source: str, known: Mapping[str, Mapping[str, str]]) -> Given:
    if source in known:
        published = trees.flatten(zoo.load(source)[1]["params"])
        params, used = {}, set()
        for ours, theirs in known[source].items():
            for path, array in published.items():
                if f"{path}/".startswith(f"{theirs}/"):
                    params[ours + path.removeprefix(theirs)] = array
                    used.add(path)
        return Given(source=source, params=params, complete=False, unused=len(published) - len(used))
    if "*" in known and source in zoo.names():
        return _complete(source, zoo.load(source)[1])
    folder = files.path(source)
    if not folder.is_dir():
        names = zoo.names() if "*" in known else tuple(known)
        choice = f"{', '.join(names)}, or the folder of a run or bundle" if names else "the folder of a run or bundle"
        raise WarmStartError(
            f"warm_start.{name} is {source!r}{nearest(source, names)}, which is no folder; it can be {choice}"
        )
    variables, step = runs.load_variables(folder)
    at = "" if step is None else f" at step {step}"
    return _complete(f"{source}{at}", variables)


def _complete(source: str, variables: Mapping[str, Any]) -> Given:
    params, stats = trees.flatten(variables["params"]), trees.flatten(variables.get("batch_stats", {}))
    return Given(source=source, params=params, complete=True, unused=0, stats=stats)


def _check(name: str, start: Given, params: dict[str, Any], stats: dict[str, Any]) -> None:
    given, own = start.params | start.stats, params | (stats if start.complete else {})
    faults = [f"{p}: only in the source" for p in sorted(given.keys() - own.keys())]
    if start.complete:
        faults += [f"{p}: only in this run" for p in sorted(own.keys() - given.keys())]
    both = sorted(own.keys() & given.keys())
    shapes = {p: (given[p].shape, own[p].shape) for p in both}
    faults += [f"{p}: {list(there)} there, {list(here)} here" for p, (there, here) in shapes.items() if there != here]
    if faults:
        shown = [*faults[:8], f"… and {len(faults) - 8} more"] if len(faults) > 8 else faults
        raise WarmStartError(
            f"{name} cannot start from {start.source}:\n  " + "\n  ".join(shown) + "\n"
            f"Give config.model (and config.scale) the sizes of the source, or start from random parameters: "
            f"warm_start.{name}=''."
        )


def _replaced(tree: Any, given: Mapping[str, np.ndarray]) -> Any:
    """The tree with the given leaves; each is an array of its own, since the step donates its buffers."""
    leaves = trees.flatten(tree)
    return trees.unflatten(
        leaves | {path: jnp.array(x, leaves[path].dtype) for path, x in given.items() if path in leaves}
    )
