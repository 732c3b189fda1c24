"""House rules for every test: four CPU devices, shapes checked at run time, compiled programs cached."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys

# Before JAX and jfsr are imported. TensorFlow's C++ start-up lines are no warnings of ours.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook("jfsr", "beartype.beartype")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "warn")  # with warnings as errors: an accidental broadcast fails
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "jfsr" / "jax-tests"
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

ROOT = pathlib.Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of real faces and weights beside the checkout; tests on it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the folder of real faces and weights (../shared) is not present")
    return SHARED


def load_config(name: str, arg: str = ""):
    """The config that --config=configs/NAME.py:ARG gives."""
    spec = importlib.util.spec_from_file_location(f"config_{name}", ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.get_config(arg)


@pytest.fixture(scope="session", name="load_config")
def _load_config():
    return load_config
