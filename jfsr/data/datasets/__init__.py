"""One published data set per file, described by its ``SPEC``; synthetic heads; folders of images."""

from __future__ import annotations

import functools
import importlib

# Published sets, by name: the file that describes each.
MODULES = {
    "300w": "w300",
    "300w_lp": "w300lp",
    "aflw": "aflw",
    "aflw2000": "aflw2000",
    "biwi": "biwi",
    "celeba": "celeba",
    "celeba_wild": "celeba_wild",
    "cfp": "cfp",
    "helen194": "helen194",
    "lfw": "lfw",
    "menpo": "menpo",
    "pointing04": "pointing04",
    "vggface2": "vggface2",
    "wider_face": "wider_face",
}
NAMES = tuple(MODULES)


@functools.cache
def specs() -> dict:
    """Name -> description of every published set, a :class:`jfsr.data.datasets.official.Official`."""
    return {name: importlib.import_module(f"{__name__}.{module}").SPEC for name, module in MODULES.items()}
