"""Which printed rows a run may stand beside: those whose configuration in the paper is the run's own.

The paper's widths, weights, losses and scale are kept in :mod:`jfsr.tables.paper_configs`, because a bundle is scored
where there is no configs/. A run that differs in any of them claims no row: its numbers stand below the printed ones,
and the table says in what it differs. Faces, optimizer and precision do not decide; a difference in them is said too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from jfsr import config as configs
from jfsr import files
from jfsr.frozen import zoo
from jfsr.tables.paper_configs import PAPER

# The keys that make a system the paper's: what it computes, what it learns from, how large the faces are, and how long.
DECIDING = ("scale", "data.hr_size", "model.", "disc.", "loss.", "weights.", "stage_weights.", "heatmap.", "frozen.")
STEPS = ("train.steps", "train.pixel_steps", "train.joint_steps")
# How a step is computed or what is kept of it; nothing that the paper decides.
IGNORED = (
    "method", "seed", "parallel", "model.remat", "train.guard", "train.max_bad_run", "data.shuffle", "data.degrade_on",
    "data.where", "log.", "checkpoint.", "val.",
)  # fmt: skip
DATASETS = "data.sources"  # of these keys, the names of the data sets


class Claim(NamedTuple):
    """What a system may be compared with.

    Attributes:
      rows: the variants of its paper's printed rows that it is; empty if none.
      why: where it is none, the reason as a sentence.
      training: where it is one, in what its training differs from the paper's configuration; '' = in nothing.
    """

    rows: frozenset[str] = frozenset()
    why: str = ""
    training: str = ""


def find(config: Any) -> Claim:
    """The printed rows that a run claims.

    Args:
      config: of the run, under today's keys; None for a system that is no run, such as a folder of images.
    """
    if config is None:
        return Claim(why="Not the paper's configuration: no run of ours, so nothing is known of its training")
    if config.method not in PAPER:
        return Claim(why=f"Not the paper's configuration: a run of {config.method!r}, which no paper's table has")
    mine = comparable(config)
    gaps = [(row, _gaps(mine, wanted)) for row, wanted in papers(config.method)]
    rows = frozenset(row for row, gap in gaps if not any(map(decides, gap)))
    if rows:
        _, least = min(((row, gap) for row, gap in gaps if row in rows), key=lambda x: len(x[1]))
        said = _said(least, mine)
        return Claim(rows, training=f"Trained otherwise than the paper's configuration: {said}" if said else "")
    row, least = min(gaps, key=lambda x: sum(map(decides, x[1])))
    said = _said({key: value for key, value in least.items() if decides(key)}, mine)
    return Claim(why=f"Not the paper's configuration (nearest: {row!r}): {said}")


def decides(key: str) -> bool:
    """Whether a run that differs from the paper in this key is not the paper's system."""
    return (key.startswith(DECIDING) or key in STEPS) and key != "model.dtype"


def comparable(config: Any) -> dict[str, Any]:
    """The keys of a config that are held against the paper's, flat; tuples as lists, networks by name."""
    flat = {k: v for k, v in configs.flatten(config).items() if not k.startswith((*IGNORED, DATASETS))}
    out = {key: list(value) if isinstance(value, (tuple, list)) else value for key, value in flat.items()}
    out |= {key: _network(str(value)) for key, value in out.items() if key.startswith("frozen.")}
    sources = config.get("data", {}).get("sources", {})
    return out | {DATASETS: sorted({sources[name].dataset for name in sources})}


def papers(method: str) -> list[tuple[str, dict[str, Any]]]:
    """(row, the paper's keys) of a method; a row that the paper prints at two scales, or for either head, twice."""
    paper = PAPER[method]
    return [(row, {**paper["keys"], **changes}) for row, several in paper["rows"].items() for changes in several]


def _gaps(mine: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The paper's values of the keys in which a run is another; None = the paper's configuration has no such key."""
    keys = sorted({*mine, *wanted}, key=lambda key: (not decides(key), key))
    return {key: wanted.get(key) for key in keys if _another(key, mine.get(key), wanted.get(key))}


def _another(key: str, mine: Any, paper: Any) -> bool:
    if key in STEPS and mine and paper:
        return mine < paper  # a longer training is the paper's as well
    return mine != paper and not (key in STEPS and not mine and not paper)


def _said(gaps: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    show = lambda value: "absent" if value is None else "none" if value == "" else _text(value)
    return ", ".join(f"{key} {show(mine.get(key))} (paper {show(paper)})" for key, paper in gaps.items())


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value)) if value and isinstance(value[0], str) else f"({', '.join(map(str, value))})"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _network(name: str) -> str:
    """The zoo's name of a frozen network, also of a fine-tuned one in a folder; the folder where it cannot be read."""
    if not name or name in zoo.names():
        return name
    try:
        return str(configs.from_json(files.read_text(files.path(name) / "config.json")).model.name)
    except (OSError, ValueError, AttributeError):
        return name
