"""Who is known and who is to be named in an identification: each person's gallery face, chosen by rule (IAFSR)."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import numpy as np
from jaxtyping import Float, UInt8

from jfsr import metrics
from jfsr.data.records import Source

# Faces this much less frontal than their person's most frontal one still compete for the gallery, by sharpness: about
# 5° of yaw. Measured: `asymmetry` is .0106 per degree of |yaw| over 152 AFLW faces with poses (correlation .95).
TOLERANCE = 0.05


@dataclasses.dataclass(frozen=True)
class Roles:
    """Who is known and who is to be named.

    Attributes:
      gallery: person by name of the face, one face each.
      probes: person by name of the face: all the others of these people.
      indices: of all of them in the source, rising: what to restore and embed.
      unusable: reason of every record that cannot be read or cropped.
    """

    gallery: dict[str, int]
    probes: dict[str, int]
    indices: list[int]
    unusable: list[str]


def choose(source: Source, *, min_images: int = 25) -> Roles:
    """Takes the people with more than ``min_images`` faces, and for each one a gallery face; the rest are probes.

    DEVIATES: IAFSR says 'a high-quality frontal face'; ours is the sharpest of the most frontal ones. How frontal a
    face is, :func:`asymmetry` of its five landmarks tells; how sharp, :func:`sharpness`. Of the faces within
    ``TOLERANCE`` of the person's most frontal one, the sharpest is taken, and of equals the first. A face with an
    unknown landmark is a probe.

    Args:
      source: cropped originals with identities and five landmarks; each is read once.
      min_images: 25 as in IAFSR; CelebA then has, by the paper, 3,661 people and 102,678 probes.

    Raises:
      ValueError: nobody has so many faces, a person of whom no face has landmarks, or a name that two faces bear.
    """
    people: dict[int, list[tuple[int, str, float, float]]] = defaultdict(list)
    unusable: list[str] = []
    for index in range(len(source)):
        try:
            record = source[index]
        except ValueError as error:  # as in faces.usable
            unusable.append(str(error))
            continue
        if record["identity"] >= 0:
            face = index, record["name"], asymmetry(record["landmarks5_px"]), sharpness(record["image"])
            people[int(record["identity"])].append(face)
    kept = {person: faces for person, faces in people.items() if len(faces) > min_images}
    if not kept:
        most = max(map(len, people.values()), default=0)
        raise ValueError(
            f"nobody in {source.name} has more than {min_images} faces; the most are {most} of one person "
            f"({len(people)} people with an identity); lower min_images"
        )
    roles = Roles({}, {}, sorted(face[0] for faces in kept.values() for face in faces), unusable)
    for person, faces in kept.items():
        known = [face for face in faces if np.isfinite(face[2])]
        if not known:
            raise ValueError(
                f"no face of person {person} in {source.name} (e.g. {faces[0][1]}) has five landmarks, by which the "
                "gallery is chosen; add them to labels.csv"
            )
        limit = min(face[2] for face in known) + TOLERANCE
        best = max((face for face in known if face[2] <= limit), key=lambda face: (face[3], -face[0]))
        roles.gallery[best[1]] = person
        roles.probes.update({face[1]: person for face in faces if face is not best})
    if len(roles.gallery.keys() | roles.probes.keys()) < len(roles.indices):
        raise ValueError(f"two faces of {source.name} have the same name; give each its own")
    return roles


def asymmetry(landmarks5_px: Float[np.ndarray, "5 2"]) -> float:
    """How far the nose tip lies beside the middle of eyes and mouth, over the distance of the eyes.

    0 for a frontal face, growing with |yaw|; roll, size and pitch do not matter. NaN where a point is unknown, infinite
    where the eyes coincide.
    """
    left, right, nose, *mouth = landmarks5_px.astype(np.float64)
    axis = right - left
    length = float(np.linalg.norm(axis))
    if length == 0:
        return np.inf
    middle = ((left + right) / 2 + (mouth[0] + mouth[1]) / 2) / 2
    return abs(float((nose - middle) @ axis)) / length**2


def sharpness(image: UInt8[np.ndarray, "h w 3"]) -> float:
    """Variance of the Laplacian (4 neighbours, inside the picture) of the luma, in 8-bit levels squared."""
    y = 255.0 * metrics.luma(metrics.from_8bit(image))[..., 0]
    laplacian = y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:] - 4.0 * y[1:-1, 1:-1]
    return float(laplacian.var())
