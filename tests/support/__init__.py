"""What several tests share; nothing here is a test."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # the config files import configs.common
SHARED = ROOT.parent / "shared"


def load_config(name: str, arg: str = "") -> Any:
    """The config that --config=configs/NAME.py:ARG gives."""
    spec = importlib.util.spec_from_file_location(f"config_{name}", ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.get_config(arg)
