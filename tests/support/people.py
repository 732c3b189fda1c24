"""Faces of people whose embedding is their pixels: what the tests of verification and identification share."""

from __future__ import annotations

import numpy as np

from jfsr.evals.faces import Faces

PEOPLE = 12  # three faces each


def some_faces(batch):
    """36 faces of 12 people in batches; a restored face has forgotten some of its person."""
    rng = np.random.default_rng(12)
    person = rng.integers(0, 256, (PEOPLE, 2, 2, 3))
    original = np.clip(np.repeat(person, 3, axis=0) + rng.normal(scale=25, size=(36, 2, 2, 3)), 0, 255)
    ours = np.clip(128 + 0.5 * (original - 128) + rng.normal(scale=40, size=original.shape), 0, 255)
    names = [f"{i // 3}_{i % 3}.png" for i in range(36)]
    for i in range(0, 36, batch):
        part = np.s_[i : i + batch]
        n = len(names[part])
        yield Faces(
            names=names[part],
            position=np.arange(36)[part],
            lr=original[part].astype(np.uint8),
            images={"original": original[part].astype(np.uint8), "ours": ours[part].astype(np.uint8)},
            pose_deg=np.full((n, 3), np.nan),
            landmarks_px=np.full((n, 68, 2), np.nan),
            visible=np.zeros((n, 68), bool),
        )


def pixels(images):
    return images.reshape(len(images), -1).astype(np.float32) - 128
