"""What a training needs to know of its faces, checked before the first step: training on nothing is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

# label of a record -> its name for people, and where a batch knows it
KNOWN: dict[str, tuple[str, Callable[[dict[str, np.ndarray]], Any]]] = {
    "pose_deg": ("pose", lambda batch: np.isfinite(batch["pose_deg"]).all(-1)),
    "identity": ("identity", lambda batch: batch["identity"] >= 0),
    "landmarks_px": ("landmark that is visible", lambda batch: batch["visible"].any(-1)),
}


def check(batches: Iterable[dict[str, np.ndarray]], needs: Mapping[str, str], *, faces: int = 512) -> None:
    """Refuses to train on nothing.

    Args:
      batches: the first ones of the training; only as many are drawn as it takes.
      needs: {label of a record: what needs it}.
      faces: after so many faces without a label, it is taken for absent.

    Raises:
      ValueError: none of the first faces has a label that is needed.
    """
    seen, missing = 0, dict(needs)
    for batch in batches if needs else ():
        seen += len(batch["position"])
        missing = {label: why for label, why in missing.items() if not KNOWN[label][1](batch).any()}
        if not missing:
            return
        if seen >= faces:
            break
    for label, why in missing.items():
        remedy = f", or set {why} to 0" if "." in why else ""
        raise ValueError(
            f"this would train on nothing: none of the first {seen} faces of data.sources has a known "
            f"{KNOWN[label][0]}, and {why} needs it; give labelled faces (jfsr data check){remedy}"
        )
