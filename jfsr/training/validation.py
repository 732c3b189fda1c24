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
from jfsr.training.parallel import Parallel


class Validation:
    """Held-out faces in memory, and one compiled program that scores them on all devices, each its share.

    Args:
      config: the run's config; reads ``val``, ``scale``, ``data.misalign``, ``data.hr_size`` and ``log.samples``.
      method: the method.
      frozen: variables of the frozen networks, by kind.
      mesh: the devices.

    Raises:
      ValueError: the config asks for sample pictures of a method that restores no faces.
    """

    def __init__(self, config: Any, method: Method, frozen: dict, mesh: Parallel):
        if config.log.samples and not isinstance(method, SuperResolver):
            raise ValueError(f"log.samples is {config.log.samples}, and {config.method} restores no faces; set it to 0")
        ranges = misalign.ranges(config.data.get("misalign"))
        size = config.data.get("hr_size", HR_SIZE)
        source = pipeline.open_source(config.val.source, upright=bool(ranges and ranges.upright), size=size)
        scale = config.get("scale", 1)
        limit = config.val.limit or None
        # The low resolution is clean; by JASRNet's operator where the training uses that.
        operator = "cv2_cubic" if config.data.degradation == "cv2_cubic" else "pil_bicubic"
        devices = len(mesh.devices)
        batch = -(-config.val.batch // devices) * devices
        how: dict[str, Any] = {"scale": scale, "batch": batch, "limit": limit, "ranges": ranges}
        self.mesh, (start, rows) = mesh, mesh.share(batch)
        # Every process has all masks, and its own faces.
        self.masks: list[np.ndarray] = []
        self.batches: list[dict[str, np.ndarray]] = []
        for whole in pipeline.eval_batches(source, **how, lr_operator=operator):
            if not self.masks:
                self.first = {k: whole[k][: config.log.samples] for k in ("lr", "hr") if k in whole}
            self.masks.append(whole["mask"])
            self.batches.append({k: v[start : start + rows] for k, v in whole.items() if k != "names"})
        self.frozen = mesh.whole(frozen)
        self.score = mesh.per_face(functools.partial(method.score, config))
        if isinstance(method, SuperResolver):
            self.predict = jax.jit(functools.partial(method.predict, config))

    def __call__(self, state: State) -> dict[str, float]:
        """Mean of each score over the faces it is defined for: ``val/…`` for the average, ``val_raw/…`` for the raw.

        Args:
          state: host arrays (``Parallel.fetch``).
        """
        net, means = state.nets["g"], {}
        for prefix, average in (("val", True), ("val_raw", False)):
            variables = self.mesh.whole(common.variables(net, average=average))
            scores: dict[str, list[np.ndarray]] = {}
            for mask, batch in zip(self.masks, self.batches, strict=True):
                for name, values in self.score(variables, self.frozen, batch).items():
                    scores.setdefault(name, []).append(np.asarray(values)[mask])
            for name, chunks in scores.items():
                values = np.concatenate(chunks)
                if np.isfinite(values).any():
                    means[f"{prefix}/{name}"] = float(np.nanmean(values))
        return means

    def sample(self, state: State, count: int) -> dict[str, Any]:
        """``lr``, ``stages`` and ``hr`` of the first faces, for a picture."""
        lr = self.first["lr"][:count]
        stages = self.predict(common.variables(state.nets["g"]), lr)["stages"]
        return {"lr": lr, "stages": {r: np.asarray(x) for r, x in stages.items()}, "hr": self.first["hr"][:count]}
