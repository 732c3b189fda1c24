"""Which rows of its paper a run claims: the variants of each method's ablations, told from its config."""

from __future__ import annotations

from typing import Any


def find(config: Any) -> frozenset[str]:
    """Which printed rows of the papers' ablations a run is; empty for a system that no table names."""
    known = {"msgan": _msgan, "iafsr": _iafsr, "mtun": _mtun, "jasrnet": _jasrnet}
    method = config.method if config is not None else ""
    return frozenset(known[method](config)) if method in known else frozenset()


def _msgan(config: Any) -> set[str]:
    w = config.weights
    if config.train.joint_steps == 0:
        return {"generator"}
    if w.pose == 0:
        return {"msgan"}
    return {"joint" if w.pose_est or w.pose_angle or w.pose_norm else "msgan_pa"}


def _iafsr(config: Any) -> set[str]:
    w = config.weights
    if w.adv:
        return {"srgan"}
    if w.euclid:
        return {"sr_ou"}
    if not w.cosine:
        return {"sr_net"}
    return {"proposed" if w.magnitude else "sr_angle"}


def _mtun(config: Any) -> set[str]:
    m, w = config.model, config.weights
    letters = {"f": w.perceptual, "u": w.adv, "h": w.heatmap}
    return {f"r{m.heb_at}_s{m.stacks}", "p" + "".join(letter for letter, weight in letters.items() if weight)}


def _jasrnet(config: Any) -> set[str]:
    m = config.model
    if not m.long_skip:
        row = "bl" if m.heads != "both" else "jt"
        return {row if m.fusion == "none" else f"{row}_f"}
    if m.heads != "both":
        return set()
    changed = {
        "concat": m.fusion == "concat",
        "one_stage": m.stages == 1,
        "two_stages": m.stages == 2,
        "res16": m.blocks == 16,
    }
    found = {name for name, is_so in changed.items() if is_so}
    return found if len(found) < 2 and found else ({"full"} if not found else set())
