"""Scores on held-out faces while training, of the moving averages and of the raw parameters and statistics."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from jfsr.data import misalign, pipeline
from jfsr.geometry import HR_SIZE
from jfsr.methods import Method, SuperResolver, common
from jfsr.methods.common import State


class Validation:
    """Held-out faces in memory, and one compiled program that scores them.

    Args:
      config: the run's config; reads ``val``, ``scale``, ``data.misalign``, ``data.hr_size`` and ``log.samples``.
      method: the method.
      frozen: variables of the frozen networks, by kind.

    Raises:
      ValueError: the config asks for sample pictures of a method that restores no faces.
    """

    def __init__(self, config: Any, method: Method, frozen: dict):
        if config.log.samples and not isinstance(method, SuperResolver):
            raise ValueError(f"log.samples is {config.log.samples}, and {config.method} restores no faces; set it to 0")
        ranges = misalign.ranges(config.data.get("misalign"))
        size = config.data.get("hr_size", HR_SIZE)
        source = pipeline.open_source(config.val.source, upright=bool(ranges and ranges.upright), size=size)
        scale = config.get("scale", 1)
        limit = config.val.limit or None
        # The low resolution is clean; by JASRNet's operator where the training uses that.
        operator = "cv2_cubic" if config.data.degradation == "cv2_cubic" else "pil_bicubic"
        how: dict[str, Any] = {"scale": scale, "batch": config.val.batch, "limit": limit, "ranges": ranges}
        self.batches = list(pipeline.eval_batches(source, **how, lr_operator=operator))
        self.frozen = frozen
        self.score = jax.jit(functools.partial(method.score, config))
        if isinstance(method, SuperResolver):
            self.predict = jax.jit(functools.partial(method.predict, config))

    def __call__(self, state: State) -> dict[str, float]:
        """Mean of each score over the faces it is defined for: ``val/…`` for the average, ``val_raw/…`` for the raw."""
        net, means = state.nets["g"], {}
        for prefix, average in (("val", True), ("val_raw", False)):
            variables = common.variables(net, average=average)
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
        stages = self.predict(common.variables(net), batch["lr"])["stages"]
        return {
            "lr": batch["lr"][:count],
            "stages": {r: np.asarray(x)[:count] for r, x in stages.items()},
            "hr": batch["hr"][:count],
        }
