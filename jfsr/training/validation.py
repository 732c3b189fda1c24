"""Scores on held-out faces while training, of the moving average and of the raw parameters."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from jfsr.data import misalign, pipeline
from jfsr.methods import Method, SuperResolver
from jfsr.methods.common import Net, State


class Validation:
    """Held-out faces in memory, and one compiled program that scores them.

    Args:
      config: the run's config; reads ``val``, ``scale``, ``data.misalign`` and ``log.samples``.
      method: the method.
      frozen: variables of the frozen networks, by kind.

    Raises:
      ValueError: the config asks for sample pictures of a method that restores no faces.
    """

    def __init__(self, config: Any, method: Method, frozen: dict):
        if config.log.samples and not isinstance(method, SuperResolver):
            raise ValueError(f"log.samples is {config.log.samples}, and {config.method} restores no faces; set it to 0")
        ranges = misalign.ranges(config.data.get("misalign"))
        source = pipeline.open_source(config.val.source, upright=bool(ranges and ranges.upright))
        scale = config.get("scale", 1)
        limit = config.val.limit or None
        self.batches = list(
            pipeline.eval_batches(source, scale=scale, batch=config.val.batch, limit=limit, ranges=ranges)
        )
        self.frozen = frozen
        self.score = jax.jit(functools.partial(method.score, config))
        if isinstance(method, SuperResolver):
            self.predict = jax.jit(functools.partial(method.predict, config))

    def __call__(self, state: State) -> dict[str, float]:
        """Mean of each score over the faces it is defined for: ``val/…`` for the average, ``val_raw/…`` for the raw."""
        net, means = state.nets["g"], {}
        for prefix, params in (("val", net.ema), ("val_raw", net.params)):
            variables = _variables(net, params)
            scores: dict[str, list[np.ndarray]] = {}
            for batch in self.batches:
                arrays = {k: v for k, v in batch.items() if k != "names"}
                for name, values in self.score(variables, self.frozen, arrays).items():
                    scores.setdefault(name, []).append(np.asarray(values)[batch["mask"]])
            for name, chunks in scores.items():
                values = np.concatenate(chunks)
                if np.isfinite(values).any():
                    means[f"{prefix}/{name}"] = float(np.nanmean(values))
        return means

    def sample(self, state: State, count: int) -> dict[str, Any]:
        """``lr``, ``stages`` and ``hr`` of the first faces, for a picture."""
        batch, net = self.batches[0], state.nets["g"]
        stages = self.predict(_variables(net, net.ema), batch["lr"])["stages"]
        return {
            "lr": batch["lr"][:count],
            "stages": {r: np.asarray(x)[:count] for r, x in stages.items()},
            "hr": batch["hr"][:count],
        }


def _variables(net: Net, params: Any) -> dict[str, Any]:
    """What a module is applied to; a network without running statistics has no ``batch_stats``."""
    return {"params": params, **({"batch_stats": net.stats} if net.stats else {})}
