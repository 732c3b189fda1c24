"""Scores on a held-out set while training, of the moving average and of the raw parameters."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from jfsr.data import misalign, pipeline


class Validation:
    """Held-out faces in memory, and one compiled program that scores them.

    Args:
      config: the run's config; reads ``val`` and ``scale``.
      method: the method module.
      frozen: variables of the frozen networks, by kind.
    """

    def __init__(self, config: Any, method: Any, frozen: dict):
        ranges = misalign.ranges(config.data.get("misalign"))
        source = pipeline.open_source(config.val.source, upright=bool(ranges and ranges.upright))
        scale = config.get("scale", 1)
        limit = config.val.limit or None
        self.batches = list(
            pipeline.eval_batches(source, scale=scale, batch=config.val.batch, limit=limit, ranges=ranges)
        )
        self.frozen = frozen
        self.score = jax.jit(functools.partial(method.score, config))
        self.predict = jax.jit(functools.partial(method.predict, config)) if hasattr(method, "predict") else None

    def __call__(self, state: Any) -> dict[str, float]:
        """Mean of each score over the faces it is defined for: ``val/…`` for the average, ``val_raw/…`` for the raw."""
        net, out = state.nets["g"], {}
        for prefix, params in (("val", net.ema), ("val_raw", net.params)):
            variables = _variables(params, net.stats)
            rows: dict[str, list] = {}
            for batch in self.batches:
                arrays = {k: v for k, v in batch.items() if k != "names"}
                for name, values in self.score(variables, self.frozen, arrays).items():
                    rows.setdefault(name, []).append(np.asarray(values)[batch["mask"]])
            for name, parts in rows.items():
                values = np.concatenate(parts)
                if np.isfinite(values).any():
                    out[f"{prefix}/{name}"] = float(np.nanmean(values))
        return out

    def sample(self, state: Any, count: int) -> dict[str, Any]:
        """``lr``, ``stages`` and ``hr`` of the first faces, for a picture."""
        batch = self.batches[0]
        net = state.nets["g"]
        stages = self.predict(_variables(net.ema, net.stats), batch["lr"])["stages"]
        return {
            "lr": batch["lr"][:count],
            "stages": {r: np.asarray(x)[:count] for r, x in stages.items()},
            "hr": batch["hr"][:count],
        }


def _variables(params: Any, stats: Any) -> dict[str, Any]:
    """What a module is applied to; a network without running statistics has no ``batch_stats``."""
    return {"params": params, **({"batch_stats": stats} if stats else {})}
