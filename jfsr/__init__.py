"""Joint face super-resolution in JAX/Flax: four papers, one loop, honest frozen networks.

``jfsr.load(path)`` gives a restorer; everything else is reached by module.
"""

from __future__ import annotations

__version__ = "0.1.0"


def __getattr__(name: str):
    # Lazy, so that `import jfsr` costs nothing and modules can be imported without jax being set up first.
    if name == "load":
        from jfsr.api import load

        return load
    raise AttributeError(f"module 'jfsr' has no attribute {name!r}")
