"""House rules for every test: four CPU devices, shapes checked at run time, compiled programs cached."""

from __future__ import annotations

import gc
import os
import pathlib

# Before JAX and jfsr are imported. TensorFlow's C++ start-up lines are no warnings of ours.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the tests' time is compiling, and their networks are too small to gain by what makes programs fast: LLVM's
# passes, and XLA's newer code generator, which takes twice as long for a small program as the older one.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false")

from jaxtyping import install_import_hook

install_import_hook("jfsr", "beartype.beartype")

import jax
import pytest
from support import SHARED, load_config

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "warn")  # with warnings as errors: an accidental broadcast fails
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "jfsr" / "jax-tests"
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


# JAX's and TensorFlow's modules are a million objects that every collection would walk through while it traces.
gc.set_threshold(200_000, 50, 1000)


def pytest_collection_finish():
    """Once all is imported, what is imported is no garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of real faces and weights beside the checkout; tests on it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the folder of real faces and weights (../shared) is not present")
    return SHARED


@pytest.fixture(scope="session", name="load_config")
def _load_config():
    return load_config


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A window of Chromium; the test is skipped where there is none."""
    from support import browsing

    with browsing.chromium(tmp_path_factory.mktemp("chromium")) as window:
        yield window
