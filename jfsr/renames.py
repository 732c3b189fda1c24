"""Config keys that have another name now, or that are new: configs of earlier versions are read through these tables.

A workdir or bundle of an earlier version holds its config under that version's keys. :func:`upgrade` gives the config
under today's keys, so that the run loads, resumes and is scored as before; :func:`now` names the new key of an old one.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """The new key of an old one.

    Attributes:
      name: the dotted key; ``'*'`` stands for the same name as in the old key.
      value: the new value from the old config (by dotted key); None keeps the old value. The keys that it reads and
        that no longer exist stand in ``RENAMES`` too, with the same new name.
      note: what changed besides the name, for the message.
    """

    name: str
    value: Callable[[Mapping[str, Any]], Any] | None = None
    note: str = ""


def _steps(name: str, epochs: str) -> dict[str, Key]:
    """``epochs`` over ``train.faces`` faces became ``name`` in steps."""
    count = lambda old: round(old[epochs] * old["train.faces"] / old["train.batch"])
    return {epochs: Key(name=name, value=count, note="a number of steps: epochs × faces / batch")}


_FACES = {"train.faces": Key(name="", note="gone: the length of a run is given in steps")}
_DECAY = {"optim.decay": Key(name="optim.weight_decay")}

# Of every method.
EVERY = {
    "data.sources.*.reader": Key(name="data.sources.*.dataset"),
    "val.source.reader": Key(name="val.source.dataset"),
}

# Of one method: old key -> new key. A key may be a section.
RENAMES: dict[str, dict[str, Key]] = {
    "msgan": {
        "alpha": Key(name="stage_weights"),
        "start": Key(name="warm_start"),
        "weights.l1": Key(name="weights.pixel"),
        "weights.lpips": Key(name="weights.perceptual"),
        "weights.ip": Key(name="weights.identity"),
        "weights.pa": Key(name="weights.pose_adv"),
        "weights.est": Key(name="weights.pose_est"),
        "weights.sim": Key(name="weights.pose_angle"),
        "weights.m": Key(name="weights.pose_norm"),
        "weights.mse": Key(name="weights.pose_mse"),
    },
    "iafsr": {
        **_steps("train.pixel_steps", "train.pixel_epochs"),
        **_steps("train.joint_steps", "train.joint_epochs"),
        **_FACES,
    },
    "mtun": {
        "weights.p": Key(name="weights.pixel"),
        "weights.f": Key(name="weights.perceptual"),
        "weights.u": Key(name="weights.adv"),
        "weights.h": Key(name="weights.heatmap"),
        "loss.sigma_px": Key(name="heatmap.sigma_px"),
        "optim.decay": Key(name="optim.rms_decay"),
        "train.epoch_steps": Key(name="optim.lr_decay_every"),
    },
    "jasrnet": {
        "weights.sr": Key(name="weights.pixel"),
        **_steps("train.steps", "train.epochs"),
        **_FACES,
    },
    "pose": {"weights.mse": Key(name="weights.pose_mse"), **_DECAY},
    "identity": {**_DECAY, "model.classes": Key(name="model.people", value=lambda old: (old["model.classes"],))},
    "gate": _DECAY,
}


def _strides(resolution: int) -> Callable[[Mapping[str, Any]], tuple[int, ...]]:
    """The strides that a PatchGAN of MSGAN had: 2 as long as later strides of 1 leave a map of 4 pixels."""

    def of(old: Mapping[str, Any]) -> tuple[int, ...]:
        strides: list[int] = []
        size, count = resolution, len(old["disc.widths"]) + 1
        for i in range(count):
            halve = all(s == 2 for s in strides) and size // 2 - (count - i - 1) >= 4
            strides.append(2 if halve else 1)
            size = size // 2 if halve else size - 1
        return tuple(strides)

    return of


# Keys that configs of earlier versions lack, with the value that means what such a run did: a value, or a function of
# the config under today's keys. They are added to the config of a run, not to a part of one.
ADDED_TO_EVERY: dict[str, Any] = {"data.clean_share": 0.0, "data.hr_size": 128, "data.where": "files"}
ADDED: dict[str, dict[str, Any]] = {
    "msgan": {
        "disc.feature_norm": "apart",
        **{f"disc.strides.r{r}": _strides(r) for r in (16, 32, 64, 128, 256)},
        "stage_weights.r256": 1.0,
        "model.widths": (),
        "loss.norm_clip": "hard",
        "loss.clip_sr": False,
        "loss.stage_one": "all",
        "loss.pose_target": "label",
    },
    "iafsr": {"loss.clip_sr": False},
    "identity": {"optim.head_rate": 1.0, "warm_start.g": ""},
    "jasrnet": {"model.landmarks": 68},
    "mtun": {
        "loss.clip_sr": False,
        "model.autoencoder": True,
        "model.stn_at": 16,
        "model.skip_connection": "autoencoder",
    },
}


def upgrade(config: dict[str, Any]) -> dict[str, Any]:
    """A config under today's keys; one that has them already comes back equal.

    Args:
      config: nested dicts; it is left as it is.
    """
    old = _flatten(config)
    table, new = _table(config.get("method")), {}
    for key, value in old.items():
        found = _lookup(table, key)
        if found is None:
            new[key] = value
        elif (entry := found[0]).value is not None:
            new[entry.name] = entry.value(old)
        elif entry.name:
            new[found[1]] = value
    _add(new, config.get("method"))
    return _unflatten(new)


def _add(new: dict[str, Any], method: Any) -> None:
    """Adds to a run's flat config the keys that it lacks."""
    sections = {key.split(".")[0] for key in new}
    if not isinstance(method, str) or not {"data", "train"} <= sections:
        return
    for key, value in (ADDED_TO_EVERY | ADDED.get(method, {})).items():
        if key not in new:
            new[key] = value(new) if callable(value) else value


def now(method: str, key: str) -> str | None:
    """What became of an old key, as the end of a sentence that names it; None for a key that never was one."""
    found = _lookup(_table(method), key)
    if found is None:
        return None
    entry, name = found
    is_now = f"is now {name!r}" if name else "is"
    return f"{is_now}{', ' if name and entry.note else ' ' if entry.note else ''}{entry.note}"


def _table(method: Any) -> dict[str, Key]:
    return EVERY | RENAMES.get(method, {}) if isinstance(method, str) else EVERY


def _lookup(table: Mapping[str, Key], key: str) -> tuple[Key, str] | None:
    """The entry of a key, or of the section that it is in, and the key's new name."""
    for old, entry in table.items():
        pattern = re.escape(old).replace(r"\*", r"([^.]+)")
        match = re.fullmatch(rf"{pattern}(\..+)?", key)
        if match:
            *names, rest = match.groups()
            name = entry.name
            for part in names:
                name = name.replace("*", part, 1)
            return entry, name + (rest or "")
    return None


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted key; an empty section is a leaf, so that it is not lost."""
    out: dict[str, Any] = {}
    for name, value in config.items():
        inside = isinstance(value, Mapping) and value
        out |= _flatten(value, f"{prefix}{name}.") if inside else {f"{prefix}{name}": value}
    return out


def _unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        section = out
        for name in path:
            section = section.setdefault(name, {})
        section[last] = value
    return out
