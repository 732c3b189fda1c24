"""What computes a run without this package: a program of ``jax.export``, and an ONNX model.

    program.jax     ``{name: array}`` of params.safetensors, and lr [b, h, w, 3] float32 in [0, 1] -> ``{'sr': …}``;
                    runs on cpu, cuda and tpu with jax alone, parameters not included
    program.json    the JAX that made it, and the day until which later versions of JAX promise to run it
    model.onnx      lr -> sr, parameters included

A program expires, parameters and config do not: they stay the release. JAX promises to run a program for six months
(https://docs.jax.dev/en/latest/export/export.html#compatibility-guarantees-for-custom-calls); the JAX that made it
always does.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.export
import jax.extend
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from jfsr import files, methods
from jfsr.frozen.trees import flatten, unflatten
from jfsr.geometry import HR_SIZE
from jfsr.models import layers

PROGRAM = "program.jax"
ABOUT = "program.json"
ONNX = "model.onnx"
PLATFORMS = ("cpu", "cuda", "tpu")
LASTS = datetime.timedelta(days=180)
OPSET = 21  # of ONNX; onnxruntime 1.18 (May 2024) was the first to read it

# (arrays by name, lr) -> outputs by name
Call = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]


class ProgramError(ValueError):
    """A program that cannot be run here: why, and what to do instead."""


def input_shape(config: ConfigDict) -> tuple[int, int, int]:
    """Height, width and channels of what a run takes."""
    side = config.data.get("hr_size", HR_SIZE) // config.scale
    return side, side, 3


def restoring(config: ConfigDict) -> methods.SuperResolver:
    """The method of a run that restores faces; ProgramError for another."""
    method = methods.find(config.method)
    if not isinstance(method, methods.SuperResolver):
        raise ProgramError(f"{config.method} is a frozen network: it restores no faces, and has no program")
    return method


def write(folder: pathlib.Path, config: ConfigDict, stored: Mapping[str, Any]) -> None:
    """Writes the program of a run's ``predict`` for arrays of the types that are stored."""
    leaves = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in flatten(stored).items()}
    (batch,) = jax.export.symbolic_shape("b")
    lr = jax.ShapeDtypeStruct((batch, *input_shape(config)), np.float32)
    with layers.rolled():  # what is traced on a CPU must compile quickly on every platform
        exported = jax.export.export(jax.jit(_outputs(config)), platforms=PLATFORMS)(leaves, lr)
    today = datetime.date.today()
    about = {"jax": jax.__version__, "made": str(today), "runs_until": str(today + LASTS), "platforms": list(PLATFORMS)}
    files.write_bytes(folder / PROGRAM, bytes(exported.serialize()))
    files.write_json(folder / ABOUT, about)


def load(folder: pathlib.Path) -> Call:
    """The program of a bundle.

    Raises:
      ProgramError: there is none, it has expired, is of another JAX or for other platforms.
    """
    file, instead = folder / PROGRAM, "the parameters in the same folder compute the same"
    if not file.exists():
        raise ProgramError(f"{folder} has no {PROGRAM}; {instead}, and 'jfsr export' adds one")
    try:
        about = json.loads(files.read_text(folder / ABOUT))
        made_by, until = str(about["jax"]), datetime.date.fromisoformat(about["runs_until"])
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ProgramError(f"{folder / ABOUT} is missing or damaged ({error}); {instead}") from error
    if made_by != jax.__version__ and datetime.date.today() > until:
        raise ProgramError(
            f"{file} has expired: jax {made_by} made it, later versions promise to run it until {until}, and this is "
            f"jax {jax.__version__}; {instead}, and 'jfsr export' makes a new one"
        )
    try:
        exported = jax.export.deserialize(bytearray(file.read_bytes()))
        platforms = exported.platforms
    except Exception as error:  # flatbuffers and MLIR raise what they like
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ProgramError(
            f"{file} cannot be read by jax {jax.__version__} ({reason}); jax {made_by} made it; {instead}"
        ) from error
    here = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
    if here not in platforms:
        raise ProgramError(f"{file} is for {', '.join(platforms)}, and this is {here}; {instead}")
    return jax.jit(exported.call)


def _outputs(config: ConfigDict) -> Callable[[Mapping[str, Array], Array], dict[str, Array]]:
    """What a program computes: of ``predict`` all but the images on the way."""
    predict = restoring(config).predict

    def run(arrays: Mapping[str, Array], lr: Float[Array, "b h w 3"]) -> dict[str, Array]:
        variables = unflatten({name: jnp.asarray(x, jnp.float32) for name, x in arrays.items()})
        return {name: value for name, value in predict(config, variables, lr).items() if name != "stages"}

    return run


# ---- ONNX


def write_onnx(
    folder: pathlib.Path, config: ConfigDict, variables: Mapping[str, Any], vector: Mapping[str, np.ndarray]
) -> None:
    """Writes a run's ``predict`` as an ONNX model: ``lr`` [b, h, w, 3] float32 in [0, 1] -> ``sr``.

    Of the four systems jax2onnx 0.13 knows the operations of MSGAN and IAFSR, and not the warp of MTUN and the
    landmarks of JASRNet.

    Args:
      folder: where to write it.
      config: the run's config.
      variables: of its network.
      vector: ``lr`` and the ``sr`` that it must give; a model that gives another is not written.

    Raises:
      ImportError: the extra 'onnx' is absent.
      ProgramError: jax2onnx does not know an operation of this method, or makes a model that computes something else.
    """
    try:
        import jax2onnx
        import onnxruntime  # noqa: F401 - what is written is run at once
    except ImportError as error:
        raise ImportError("--onnx needs jax2onnx and onnxruntime; pip install 'jfsr[onnx]'") from error
    arrays = {name: jnp.asarray(x, jnp.float32) for name, x in flatten(variables).items()}
    run = _outputs(config)
    (batch,) = jax.export.symbolic_shape("b")
    lr = jax.ShapeDtypeStruct((batch, *input_shape(config)), np.float32)
    instead = "export without --onnx: the program of jax.export computes the same"
    try:
        # Traced first: jax2onnx puts functions of its own in place of some of Flax's, and ours do not fit them.
        traced = jax.extend.core.jaxpr_as_fun(jax.make_jaxpr(lambda lr: run(arrays, lr)["sr"])(lr))
        with _quiet("jax2onnx", "onnx_ir"), jax.numpy_rank_promotion("allow"):
            model = jax2onnx.to_onnx(
                lambda lr: traced(lr)[0],
                inputs=[lr],
                input_names=["lr"],
                output_names=["sr"],
                opset=OPSET,
                model_name=config.method,
            )
    except Exception as error:  # it raises what it meets: of its own, of JAX, of ONNX
        reason = " ".join(str(error).split())[:120]
        raise ProgramError(f"jax2onnx cannot write this {config.method} ({reason}); {instead}") from error
    file = folder / ONNX
    files.write_bytes(file, model.SerializeToString())
    gap = float(np.max(np.abs(run_onnx(file, vector["lr"]) - vector["sr"])))
    if not gap <= 1e-3:
        raise ProgramError(f"jax2onnx writes this {config.method} so that its output is off by {gap:.2g}; {instead}")


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Without the warnings of these packages, which say nothing to a user of ours."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def run_onnx(file: os.PathLike | str, lr: Float[np.ndarray, "b h w 3"]) -> Float[np.ndarray, "b _ _ 3"]:
    """What a model of :func:`write_onnx` gives in onnxruntime, on the CPU.

    Raises:
      ImportError: onnxruntime is absent.
      ProgramError: this onnxruntime does not run the model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f"{file} is run by onnxruntime; pip install 'jfsr[onnx]'") from error
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # the exception says it too
        session = onnxruntime.InferenceSession(os.fspath(file), options, providers=["CPUExecutionProvider"])
        return session.run(["sr"], {"lr": lr})[0]
    except Exception as error:  # onnxruntime has one class for each status
        reason = " ".join(str(error).split())[:200]
        raise ProgramError(
            f"{file} is not run by onnxruntime {onnxruntime.__version__} ({reason}); use a newer onnxruntime (the "
            f"model is of opset {OPSET}), or export without --onnx"
        ) from error
