"""Joint face super-resolution in JAX/Flax: four papers on one training loop, measured by frozen networks.

``jfsr.load(path)`` gives a restorer; import everything else from its module.
"""

from __future__ import annotations

__version__ = "0.1.0"


def __getattr__(name: str):
    # Lazy, so that `import jfsr` costs nothing and JAX can still be configured after it.
    if name == "load":
        from jfsr.api import load

        return load
    raise AttributeError(f"module 'jfsr' has no attribute {name!r}")
