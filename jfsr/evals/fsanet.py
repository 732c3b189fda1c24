"""FSA-Net (Yang et al., CVPR 2019) by onnxruntime: a second opinion on every pose, and MSGAN Table 1's row FSA.

Published as omasaht/headpose-fsanet-pytorch (MIT), folder pretrained: two networks, 1×1 scoring and variance scoring,
trained on 300W-LP, whose mean is the prediction. Facts from its src/demo.py and src/3-Test Model.ipynb @ e9182de: a
64×64 BGR face, (x - 127.5) / 128; yaw, pitch, roll in degrees. The labels are Pose_Para's, so the signs are ours.

It expects a wide crop, the landmarks' box and 0.6 of its width and height on every side.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jfsr import files
from jfsr.evals import pose
from jfsr.evals.context import Column, Context
from jfsr.evals.faces import Faces, Line
from jfsr.evals.pose import PoseProgram
from jfsr.frozen import zoo

NETWORK = ""  # it is no network of jfsr.frozen: it comes as two files, by --fsanet
COLUMNS: Mapping[str, Column] = {}  # its lines have the columns of jfsr.evals.pose

INPUT = 64
# The files are known by their digests, whatever they are called.
FILES = {
    "fsanet-1x1-iter-688590.onnx": "d85e90cb4b9d3a87e81bbfdcfcd130cbe0e175407042e439a570aa396c44eda6",
    "fsanet-var-iter-688590.onnx": "2877b1db98e3dc66468e90df8db4a21059facd1c3f107af91c6d4fe6476a03e1",
}


def program(folder: os.PathLike | str) -> PoseProgram:
    """A function that reads (yaw, pitch, roll) in degrees off 8-bit faces, as :func:`jfsr.evals.pose.program`'s does.

    Args:
      folder: where the two published files lie, under any names that end in ``.onnx``.

    Raises:
      MissingWeights: a file is not there, or is another one; names it and where it is published.
      ValueError: onnxruntime is not installed.
    """
    folder = files.path(folder)
    here = {files.sha256(file): file for file in sorted(folder.glob("*.onnx"))}
    absent = [f"{name} (sha256 {digest[:12]}…)" for name, digest in FILES.items() if digest not in here]
    if absent:
        seen = f"; what lies there is something else: {', '.join(f.name for f in here.values())}" if here else ""
        raise zoo.MissingWeights(
            f"FSA-Net needs {' and '.join(absent)} in {folder}{seen}. Get them from omasaht/headpose-fsanet-pytorch "
            "on GitHub, folder pretrained (MIT)"
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError("FSA-Net is run by onnxruntime, which is not installed: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # 64×64 pixels are little work, and one thread gives the same sums everywhere
    load = lambda file: onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return mean_of([load(here[digest]) for digest in FILES.values()])


def run(faces: Iterable[Faces], context: Context) -> list[Line]:
    """The lines of :func:`jfsr.evals.pose.run` for rows named ``original@fsanet``, ``ours@fsanet``, ….

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      context: its program ``'fsanet'``; without it there are no lines.
    """
    if "fsanet" not in context.programs:
        return []
    lines = pose.run(faces, dataclasses.replace(context, programs={"pose": context.programs["fsanet"]}))
    return [{**line, "row": f"{line['row']}@fsanet"} for line in lines]


def mean_of(sessions: Sequence[Any]) -> PoseProgram:
    """Reads poses by the mean of several networks.

    Args:
      sessions: each has onnxruntime's ``run(names, {'input': [1, 3, 64, 64]}) -> [[1, 3]]``; the published graphs take
        one face at a time, so a reading cannot depend on the other faces.
    """

    def read(images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n 3"]:
        out = np.empty((len(images), 3), np.float32)
        for i, face in enumerate(preprocess(images)):
            out[i] = np.mean([session.run(["output"], {"input": face[None]})[0][0] for session in sessions], axis=0)
        return out

    return read


def preprocess(images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n 3 64 64"]:
    """8-bit RGB faces as the network takes them: 64×64, BGR, channels first, (x - 127.5) / 128.

    A 128×128 face is shrunk to the mean of 2×2 pixels, rounded to 8 bits: what cv2.resize, which the authors use, does.

    Raises:
      ValueError: the faces are not squares of 64, 128, 192, … pixels.
    """
    height, width = images.shape[1:3]
    if height != width or width % INPUT:
        raise ValueError(f"FSA-Net takes squares of a multiple of {INPUT} pixels, these faces are {width}×{height}")
    small = [np.asarray(Image.fromarray(x).reduce(width // INPUT)) for x in images]
    bgr = np.array(small, np.float32).reshape(-1, INPUT, INPUT, 3)[..., ::-1]
    return np.ascontiguousarray(((bgr - np.float32(127.5)) / np.float32(128.0)).transpose(0, 3, 1, 2))
