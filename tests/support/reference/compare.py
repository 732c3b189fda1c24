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

from jfsr.frozen import zoo

# Not as the other tests, see conftest.py: these networks are of full size, and run longer than they compile.
FAST = {"xla_backend_optimization_level": 2, "xla_cpu_use_fusion_emitters": True}


def away(ours, theirs) -> float:
    """Length of the difference over the length of the reference."""
    return float(np.linalg.norm(np.asarray(ours, np.float64) - theirs) / np.linalg.norm(theirs))


def image_gradient(forward: Callable[[Any, Any], Any], variables: Any, image: Any, pull: Any) -> np.ndarray:
    """Gradient by the image of sum(pull * forward(variables, image)), computed in float64; ``pull`` may be a tree."""
    with jax.enable_x64(True):
        wide = lambda tree: jax.tree.map(lambda x: np.asarray(x, np.float64), tree)
        back = jax.jit(lambda v, i, p: jax.vjp(lambda i: forward(v, i), i)[1](p)[0], compiler_options=FAST)
        return np.asarray(back(wide(variables), wide(image), wide(pull)))


def normalised(net: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A PyTorch network on NHWC images in [0, 1], float64, with ImageNet's normalisation."""
    import torch

    # In float64 like the images: constants rounded to float32 would carry some ReLUs across their kinks.
    mean, std = (torch.tensor(v, dtype=torch.float64) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return lambda x: net(((x - mean) / std).permute(0, 3, 1, 2))


def assert_parity(name: str, variables: Any, net: Any, call: Callable[[Any], Any], image: np.ndarray) -> list:
    """Our network's outputs are within 1e-4 of PyTorch's, and its image gradient within 1e-6 (both relative).

    Args:
      name: our network's name in the zoo.
      variables: its variables.
      net: the PyTorch network with the same weights; float32 before and after.
      call: NHWC images -> what ``net`` gives for them, one tensor or several.
      image: [b, h, w, 3] in [0, 1].

    Returns:
      (ours in float32, theirs in float64) for each output.
    """
    import torch

    net.double()
    x = torch.tensor(image, dtype=torch.float64, requires_grad=True)
    outputs = call(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    pull = [np.random.default_rng(1).normal(size=tuple(o.shape)).astype(np.float32) for o in outputs]
    sum((o * torch.tensor(p)).sum() for o, p in zip(outputs, pull, strict=True)).backward()
    net.float()

    forward = lambda v, i: jax.tree.leaves(zoo.network(name).apply(v, i))
    ours = jax.jit(forward, compiler_options=FAST)(variables, image)
    pairs = [(np.asarray(o), t.detach().numpy()) for o, t in zip(ours, outputs, strict=True)]
    assert max(away(*pair) for pair in pairs) < 1e-4
    gradient = away(image_gradient(forward, variables, image, pull), x.grad.numpy())
    assert gradient < 1e-6, gradient
    return pairs
