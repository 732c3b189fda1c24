"""Our networks beside a PyTorch reference in float64: values in float32, gradients in float64.

In float32, rounding carries a ReLU, or the larger of two numbers, across its kink now and then, and the gradient under
that place takes the other way; PyTorch's own does so, too, by up to 1e-2. In float64 that does not happen, and what
differs is the function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def away(ours, theirs) -> float:
    """Length of the difference over the length of the reference."""
    return float(np.linalg.norm(np.asarray(ours, np.float64) - theirs) / np.linalg.norm(theirs))


def image_gradient(forward: Callable[[Any, Any], Any], variables: Any, image: Any, pull: Any) -> np.ndarray:
    """Gradient by the image of sum(pull * forward(variables, image)), computed in float64; ``pull`` may be a tree."""
    with jax.enable_x64(True):
        wide = lambda tree: jax.tree.map(lambda x: np.asarray(x, np.float64), tree)
        back = jax.jit(lambda v, i, p: jax.vjp(lambda i: forward(v, i), i)[1](p)[0])
        return np.asarray(back(wide(variables), wide(image), wide(pull)))
