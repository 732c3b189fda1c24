"""Which printed rows a run claims: the paper's own configuration, and no other."""

from __future__ import annotations

import json
import os
import pprint
import subprocess
import sys

import pytest
from support import ROOT

from jfsr import config as configs
from jfsr.tables import variants
from jfsr.tables.paper_configs import PAPER
from jfsr.tables.protocols import TABLES

FILE = ROOT / "jfsr" / "tables" / "paper_configs.py"

# The variants of configs/NAME.py that are the papers' rows; the first is the paper's full system on its faces.
MSGAN = ("generator", "msgan", "msgan_pa", "joint")
IAFSR = ("proposed", "sr_net", "srgan", "sr_ou", "sr_angle")
MTUN_LOSSES = ("p", "pf", "pfu", "ph", "pfh", "pfuh")
MTUN_PLACES = {"r16_s4": "r16", "r32_s4": "r32", **{f"r64_s{n}": f"s{n}" for n in (1, 2, 3, 4)}}
MTUN_PARTS = ("no_skip", "no_autoencoder")  # † and ‡ of Table 1
JASRNET_ROWS = {
    "full": [""],
    "full_64": ["scale=4,data.hr_size=256"],  # the second block of Table 2
    "bl": ["bl,sr_only", "bl,align_only"],
    "bl_f": ["bl_f,sr_only", "bl_f,align_only"],
    **{name: [name] for name in ("jt", "jt_f", "concat", "one_stage", "two_stages", "res16")},
}
ROWS: dict[str, dict[str, list[str]]] = {
    "msgan": {row: [f"paper,{row}", f"paper,{row},x16"] for row in reversed(MSGAN)},
    "iafsr": {row: [row] for row in IAFSR},
    "mtun": {
        **{row: [f"paper,{row}"] for row in reversed(MTUN_LOSSES)},
        **{row: [f"paper,{arg}"] for row, arg in MTUN_PLACES.items()},
        **{row: [f"paper,{row}"] for row in MTUN_PARTS},
    },
    "jasrnet": JASRNET_ROWS,
}


def from_configs(load_config):
    """The table of paper_configs.py as configs/ have it."""
    out = {}
    for method, rows in ROWS.items():
        base = variants.comparable(load_config(method, next(iter(rows.values()))[0]))
        made = {"keys": base, "rows": {}}
        for row, args in rows.items():
            flats = [variants.comparable(load_config(method, arg)) for arg in args]
            assert all(flat.keys() == base.keys() for flat in flats)
            made["rows"][row] = [{k: v for k, v in flat.items() if v != base[k]} for flat in flats]
        out[method] = made
    return out


def test_the_stored_configurations_are_those_of_the_config_files(load_config):
    """configs/NAME.py with the row's variant is the paper's run; JFSR_UPDATE=1 writes the file anew."""
    wanted = from_configs(load_config)
    if os.environ.get("JFSR_UPDATE"):
        head = FILE.read_text(encoding="utf-8").split("PAPER: ")[0]
        text = pprint.pformat(wanted, sort_dicts=False, width=100)
        FILE.write_text(f"{head}PAPER: dict[str, Any] = {text}\n", encoding="utf-8")
        subprocess.run([sys.executable, "-m", "ruff", "format", "-q", str(FILE)], check=True)
        return
    assert wanted == PAPER, "JFSR_UPDATE=1 python -m pytest tests/tables/test_variants.py, if the config is the paper's"


def test_the_stored_configurations_are_what_the_papers_print():
    keys = {method: paper["keys"] for method, paper in PAPER.items()}
    msgan = {f"weights.{k}": v for k, v in {"pixel": 1, "adv": 0.01, "perceptual": 0.001, "identity": 0.1}.items()}
    msgan |= {"weights.pose_est": 1, "weights.pose_angle": 0.2, "weights.pose_adv": 0.1, "weights.pose_norm": 0.01}
    assert {k: keys["msgan"][k] for k in msgan} == msgan
    assert keys["msgan"]["model.blocks"] == [23, 23]
    assert (keys["iafsr"]["model.blocks"], keys["iafsr"]["weights.cosine"]) == (6, 10.0)
    assert (keys["mtun"]["weights.adv"], keys["mtun"]["model.stacks"], keys["mtun"]["model.heb_at"]) == (0.01, 4, 64)
    assert (keys["jasrnet"]["model.features"], keys["jasrnet"]["model.blocks"]) == (128, 32)
    assert all(value in (8, 16) for paper in PAPER.values() for value in (paper["keys"]["scale"],))


PAPERS = [(method, arg, row) for method, rows in ROWS.items() for row, args in rows.items() for arg in args]


@pytest.mark.parametrize(("method", "arg", "row"), PAPERS)
def test_every_paper_variant_claims_exactly_its_row(load_config, method, arg, row):
    claim = variants.find(load_config(method, arg))
    same = {"pfuh", "r64_s4"}  # S4 of Table 2 is pfu + h of Table 3
    assert claim.rows == (same if row in same else {row})
    assert not claim.why
    assert not claim.training
    assert claim.rows <= {printed.variant for table in TABLES.values() for printed in table.paper}


REDUCED = [
    *((method, f"{size},{row}") for method, rows in ROWS.items() for row in rows
      for size in ("quick", "faces", "debug") if row not in (*MTUN_PLACES, "full_64")),
    *(("mtun", f"{size},{arg}") for size in ("quick", "faces", "debug") for arg in MTUN_PLACES.values()),
]  # fmt: skip


@pytest.mark.parametrize(("method", "arg"), REDUCED)
def test_no_quick_faces_or_debug_run_claims_a_row(load_config, method, arg):
    claim = variants.find(load_config(method, arg))
    assert claim.rows == frozenset()
    assert claim.why.startswith("Not the paper's configuration (nearest: ")
    assert "(paper " in claim.why


@pytest.mark.parametrize(
    ("method", "arg", "said"),
    [
        ("msgan", "paper,weights.pose_est=0.0", "weights.pose_est 0 (paper 1)"),
        ("msgan", "paper,model.features=32", "model.features 32 (paper 64)"),
        ("msgan", "paper,loss.adversarial=hinge", "loss.adversarial hinge (paper bce)"),
        ("msgan", "paper,scale=4", "scale 4 (paper "),
        ("msgan", "paper,frozen.pose=small_pose", "frozen.pose small_pose (paper hopenet)"),
        ("msgan", "paper,train.joint_steps=1000", "train.joint_steps 1000 (paper 200000)"),
        ("iafsr", "proposed,weights.cosine=2000.0", "weights.cosine 2000 (paper 10)"),
        ("iafsr", "sr_net,weights.pixel=1.0", "weights.pixel 1 (paper 49152)"),
        ("mtun", "paper,r16,p", "(paper "),  # a row of neither table
        ("mtun", "paper,model.skip=aligned", "model.skip aligned (paper none)"),
        ("jasrnet", "weights.pixel=1000.0", "weights.pixel 1000 (paper 1)"),
        ("jasrnet", "model.features=16", "model.features 16 (paper 128)"),
        ("jasrnet", "one_stage,res16", "(paper "),
        ("pose", "", "a run of 'pose', which no paper's table has"),
    ],
)
def test_one_other_key_and_the_row_is_not_claimed(load_config, method, arg, said):
    claim = variants.find(load_config(method, arg))
    assert not claim.rows
    assert claim.why.startswith("Not the paper's configuration")
    assert said in claim.why


def test_other_faces_rates_or_a_longer_run_are_said_and_the_row_is_kept(load_config):
    claim = variants.find(load_config("msgan", "optim.lr_joint=2e-4,train.joint_steps=300_000,model.dtype=bfloat16"))
    assert claim.rows == {"joint"}
    assert claim.training.startswith("Trained otherwise than the paper's configuration: ")
    for text in (
        "optim.lr_joint 0.0002 (paper 0.0001)",
        "model.dtype bfloat16 (paper float32)",
        "data.sources synthetic_heads (paper 300w_lp+celeba)",
    ):
        assert text in claim.training
    assert "joint_steps" not in claim.training


def test_a_fine_tuned_network_of_the_papers_kind_is_the_papers(load_config, tmp_path):
    """MSGAN fine-tunes FaceNet before it trains (IV-D): then config.frozen.identity is the folder of a bundle."""
    (tmp_path / "config.json").write_text(json.dumps({"method": "identity", "model": {"name": "facenet"}}))
    assert variants.find(load_config("msgan", f"paper,frozen.identity={tmp_path}")).rows == {"joint"}
    (tmp_path / "config.json").write_text(json.dumps({"method": "identity", "model": {"name": "mobilefacenet"}}))
    assert "frozen.identity mobilefacenet (paper facenet)" in (
        variants.find(load_config("msgan", f"paper,frozen.identity={tmp_path}")).why
    )


def test_what_is_no_run_of_ours_claims_nothing():
    assert variants.find(None).rows == frozenset()
    assert "no run of ours" in variants.find(None).why


@pytest.mark.parametrize("method", ROWS)
def test_an_old_config_is_held_to_the_same_rule(method):
    """Written by the code of commit c8dccb3; keys that came later are read as what such a run did."""
    read = lambda arg: configs.from_json((ROOT / f"tests/support/old_configs/{method}{arg}.json").read_text("utf-8"))
    assert not variants.find(read("_debug")).rows
    claim = variants.find(read(""))
    assert claim.rows or "(paper " in claim.why
