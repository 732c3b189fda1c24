"""Results: numbers worked out by hand, the papers' rows beside them, and two results side by side."""

from __future__ import annotations

import json

import pytest
from support.lines import CONTEXT, SYNTHETIC, three_faces

from jfsr.evals import Context, verification
from jfsr.metrics import Interval
from jfsr.tables import columns, protocols, results, summary
from jfsr.tables.printed import Printed
from jfsr.tables.protocols import Protocol
from jfsr.tables.variants import Claim

LFW = protocols.choose("iafsr/t1-lfw", {"scale": 8, "identity": "lightcnn9", "dir": "x"})


@pytest.fixture
def lines():
    return three_faces()


def test_a_part_is_not_compared_with_the_whole():
    whole, part = ({**a_summary(), "faces": {"count": n, "sha256": str(n)}} for n in (512, 64))
    with pytest.raises(ValueError, match=r"did not score the same faces or pairs \(512 and 64 of them\)"):
        results.compare(whole, part, names=("A", "B"))
    other = {**whole, "faces": {"count": 512, "sha256": "x"}}
    with pytest.raises(ValueError, match="512 each, but others"):
        results.compare(whole, other, names=("A", "B"))
    results.compare(whole, a_summary(), names=("A", "B"))  # a result of an earlier version does not say


def test_yaw_table_counts_kept_faces_by_the_size_of_their_yaw(lines):
    table = results.yaw_table(lines, SYNTHETIC)
    cells = {row[0]: row[1:] for row in table.body}
    assert cells["0–15°"] == ["1", "2.00", "6.00", "3.00", "20.00", "24.00"]
    assert cells["45–60°"] == ["1", "6.00", "18.00", "9.00", "22.00", "26.00"]
    assert sum(int(c[0]) for c in cells.values()) == 2
    assert cells["15–30°"] == ["0", "–", "–", "–", "–", "–"]


def test_result_says_how_many_faces_count_and_which_rule_dropped_the_others(lines):
    result = results.of_lines(lines, SYNTHETIC, CONTEXT, unusable=["a.png: broken"])
    assert "3 faces, 2 kept for pose; dropped: 1 × |angle| > 99°, 1 × cannot be read or cropped" in result.facts[1]
    assert "A part of the set of 512" in result.facts[1]
    (ours,) = [row for row in result.tables["Scores"].body if row[0] == "Ours"]
    assert ours[-1] == "2 / 3"
    assert SYNTHETIC.digest() in result.markdown()


def test_y_protocol_shows_the_y_scores(lines):
    assert summary.summarize(lines, columns.shown("y"))["ours"]["psnr_y"].mean == 26.0
    assert "PSNR Y" in results.main_table(summary.summarize(lines, columns.shown("y"))).head


def printed(label, method, scale, mae, *, variant="", **scores):
    return Printed(label, method, scale, {"yaw_err": mae, "mae": mae} | scores, variant)


def test_paper_table_puts_ours_and_the_difference_below_the_printed_row(lines):
    paper = (
        printed("Bicubic", "bicubic", 8, 11.0, psnr=22.0, ssim=0.5),
        printed("SRGAN", "", 8, 1.0),
        printed("Generator", "ours", 8, 2.0, psnr=26.0, variant="generator"),
        printed("Joint", "ours", 8, 5.0, psnr=26.0, variant="joint"),
        printed("Gate", "ours+gate", 8, 5.0),
        printed("Ours", "ours", 16, 9.0),
    )
    protocol = Protocol("t", "test", "folder", scale=8, paper=paper, networks=(("pose", "hopenet"),))
    means, joint = summary.summarize(lines, columns.shown("rgb")), Claim(frozenset({"joint"}))
    table = results.paper_table(means, protocol, claim=joint)
    assert table.head == ["", "", "yaw °", "MAE °", "PSNR", "SSIM", "n"]
    assert [row[:2] for row in table.body] == [
        ["Bicubic ×8", "paper"], ["", "ours"], ["", "Δ"], ["SRGAN ×8", "paper"], ["Generator ×8", "paper"],
        ["Joint ×8", "paper"], ["", "ours"], ["", "Δ"], ["Gate ×8", "paper"],
    ]  # fmt: skip
    assert table.body[0][2:] == ["11.00", "11.00", "22.00", "0.500", ""]
    assert table.body[1][2:] == ["10.00", "12.00", "21.00", "0.525", "2 / 3"]
    assert table.body[2][2:] == ["-1.00", "+1.00", "-1.00", "+0.025", ""]
    facts = results.of_lines(lines, protocol, CONTEXT, claim=joint).facts
    assert "The paper's pose network is hopenet; here it is none" in facts
    assert "need — Generator ×8: a run of the paper's configuration 'generator'; Gate ×8: --gate; Ours ×16" in facts[-1]


def test_a_run_that_is_not_the_papers_stands_below_the_printed_rows_and_says_why(lines):
    paper = (printed("Bicubic", "bicubic", 8, 11.0), printed("Ours", "ours", 8, 5.0, variant="joint"))
    protocol = Protocol("t", "test", "folder", scale=8, paper=paper, extra=("psnr",))
    why = "Not the paper's configuration (nearest: 'joint'): model.features 32 (paper 64)"
    result = results.of_lines(lines, protocol, CONTEXT, claim=Claim(why=why))
    table = result.tables["Beside the paper"]
    assert table.head == ["", "", "yaw °", "MAE °", "PSNR", "n"]
    assert [row[:2] for row in table.body] == [
        ["Bicubic ×8", "paper"], ["", "ours"], ["", "Δ"], ["Ours ×8", "paper"],
        ["Ours: not the paper's configuration", "ours"],
    ]  # fmt: skip
    assert table.body[-1][2:] == ["4.00", "6.00", "25.00", "2 / 3"]
    assert why in result.facts
    assert "Ours ×8: a run of the paper's configuration 'joint'" in result.facts[-1]


def test_a_system_whose_row_is_not_printed_is_an_extra_row(lines):
    """As the ungated system in MSGAN's Table 1, whose 'Ours' is the gated one."""
    gated = [{**line, "row": "ours+gate"} for line in lines if line["row"] == "ours"]
    paper = (printed("Ours", "ours+gate", 8, 5.0, variant="joint"),)
    protocol = Protocol("t", "test", "folder", scale=8, paper=paper)
    means = summary.summarize(lines + gated, columns.shown("rgb"))
    table = results.paper_table(means, protocol, claim=Claim(frozenset({"joint"})))
    assert [row[:2] for row in table.body] == [
        ["Ours ×8", "paper"], ["", "ours"], ["", "Δ"], ["Ours: beside no printed row", "ours"],
    ]  # fmt: skip


def test_the_bicubic_row_is_checked_against_the_papers(lines):
    paper = (printed("Bicubic", "bicubic", 8, 11.0, psnr=22.0, ssim=0.5),)
    protocol = Protocol("t", "test", "folder", scale=8, paper=paper, residual="The crop is ours")
    facts = results.of_lines(lines, protocol, CONTEXT).facts
    said = "The bicubic row, ours − paper: yaw ° -1.00, MAE ° +1.00, PSNR -1.00, SSIM +0.025. The crop is ours"
    assert said in facts
    assert not any("bicubic row" in fact for fact in results.of_lines(lines, SYNTHETIC, CONTEXT).facts)


def test_relative_tables_show_the_gap_to_the_same_networks_originals(lines):
    second = [{**row, "row": row["row"] + "@fsanet"} for row in lines if row["row"] != "ours"]
    second = [{k: v + 1.0 if k == "mae" and row["row"][0] == "b" else v for k, v in row.items()} for row in second]
    paper = tuple(Printed(m, m, 8, {"mae": 7.0}) for m in ("bicubic", "bicubic@fsanet", "ours", "ours@fsanet"))
    protocol = Protocol("t", "test", "folder", scale=8, paper=paper, relative=True)
    body = results.paper_table(summary.summarize(lines + second, columns.shown("rgb")), protocol).body
    ours = {body[i - 1][0]: row[2] for i, row in enumerate(body) if row[1] == "ours"}
    # MAE: original 4, bicubic 12 (13 by the second network), ours 6.
    assert ours == {"bicubic ×8": "8.00", "bicubic@fsanet ×8": "9.00", "ours ×8": "2.00"}


def test_no_paper_table_where_the_paper_prints_nothing(lines):
    assert results.paper_table({}, SYNTHETIC) is None


# ---- Pairs and ranks


def pair_scores(acc, **changes):
    base = {"acc": acc, "acc_std": 0.02, "acc_error": 0.005, "auc": 0.9, "auc_low": 0.85, "auc_high": 0.95, "eer": 0.1}
    rates = {"tar@0.01": 0.6, "tar@0.001": float("nan")}
    return base | rates | {"n_same": 40, "n_not": 60, "n_dropped": 2, "note": "too few"} | changes


def test_pairs_are_in_percent_with_the_papers_rows_beside_them(monkeypatch):
    rates = {"ours": pair_scores(0.9), "original": pair_scores(0.99), "bicubic": pair_scores(0.8)}
    monkeypatch.setattr(verification, "scores", lambda lines: rates)
    lines = [{"row": row, "dropped": ""} for row in rates]
    result = results.of_lines(lines, LFW, Context(), claim=Claim(frozenset({"proposed"})))
    scores = result.tables["Scores"]
    assert scores.head == ["", "accuracy %", "AUC", "EER %", "100 − EER %", "TAR % at FAR 1 %", "n"]
    cells = ["90.00 [89.02, 90.98]", "0.9000 [0.8500, 0.9500]", "10.00", "90.00", "60.00", "100"]
    assert scores.body[2] == ["Ours", *cells]
    # The paper's ACC is 100 − EER; the ten-fold accuracy stands beside it, without a number of the paper's.
    assert result.tables["Beside the paper"].head[2:6] == [
        "100 − EER %", "TAR % at FAR 1 %", "TAR % at FAR .1 %", "accuracy %",
    ]  # fmt: skip
    beside = result.tables["Beside the paper"].body
    assert beside[0][:6] == ["Bicubic ×8", "paper", "87.56", "32.10", "15.83", "–"]
    assert beside[1][:6] == ["", "ours", "90.00", "60.00", "–", "80.00"]
    assert ["Proposed ×8", "paper", "98.46", "83.73", "70.67", "–", ""] in beside
    assert any("do not fit one set of 3,000 + 3,000 pairs" in fact for fact in result.facts)
    assert "too few" in result.facts
    assert any("40 pairs of one person, 60 of two; 2 dropped" in fact for fact in result.facts)
    assert not any("identity network is" in fact for fact in result.facts)


def test_ranks_are_shares_of_the_probes():
    lines = [
        {"row": m, "identity": i % 2, "correct": int(i < k)} for m, k in (("bicubic", 1), ("ours", 3)) for i in range(4)
    ]
    protocol = protocols.choose("iafsr/t1-celeba", {"scale": 8})
    result = results.of_lines(lines, protocol, Context(), claim=Claim(frozenset({"sr_angle"})))
    assert [row[0] for row in result.tables["Scores"].body] == ["Bicubic", "Ours"]
    assert result.tables["Scores"].body[1][1].startswith("75.00 [")
    assert result.facts[0] == "4 probes of 2 people"
    assert "The paper's identity network is lightcnn9; here it is none" in result.facts
    beside = [row[:3] for row in result.tables["Beside the paper"].body]
    assert beside[:3] == [["Bicubic ×8", "paper", "1.64"], ["", "ours", "25.00"], ["", "Δ", "+23.36"]]


# ---- Two results


def a_summary(**changes):
    protocol = protocols.choose("folder", {"scale": 8, **changes})
    around = lambda mean: Interval(mean, mean - 1.0, mean + 1.0, 9)._asdict()
    scores = {"bicubic": {"psnr": around(24.0)}, "ours": {"psnr": around(25.0 + len(changes)), "mae": around(3.0)}}
    return {"protocol_fields": protocol.fields(), "scores": scores, "pose network sha256": "aa"}


def test_two_results_of_one_protocol_stand_side_by_side():
    a, b = a_summary(), a_summary(dir="elsewhere")  # where the data lies changes nothing
    b["protocol_fields"]["dir"] = a["protocol_fields"]["dir"]
    del b["scores"]["ours"]["mae"]
    table = results.compare(a, b, names=("A", "B"))
    assert table.head == ["", "", "MAE °", "PSNR"]
    assert table.body[3:] == [["Ours", "A", "3.00", "25.00"], ["Ours", "B", "–", "26.00"], ["", "Δ", "–", "+1.00"]]


@pytest.mark.parametrize(
    ("change", "said"),
    [({"margin": 1.5}, "margin: 1.2 | 1.5"), ({"colour": "y"}, "colour: 'rgb' | 'y'"), ({"crop": "center"}, "crop")],
)
def test_results_of_different_protocols_are_refused_with_what_differs(change, said):
    with pytest.raises(ValueError, match="A and B were not scored in the same way") as error:
        results.compare(a_summary(), a_summary(**change), names=("A", "B"))
    assert said in str(error.value)


def test_results_by_other_weights_are_refused():
    other = a_summary() | {"pose network sha256": "bb"}
    with pytest.raises(ValueError, match=r"pose network sha256: 'aa' \| 'bb'"):
        results.compare(a_summary(), other, names=("A", "B"))
    with pytest.raises(ValueError, match=r"no protocol in summary\.json"):
        results.compare({"scores": {}}, {"scores": {}}, names=("A", "B"))


def test_side_by_side_reads_folders_and_says_what_is_no_result(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps(a_summary()))
    assert "+0.00" in results.compare_files([str(tmp_path / "a"), str(tmp_path / "b/summary.json")]).markdown()
    with pytest.raises(ValueError, match="takes two results, joined by a comma; got 1"):
        results.compare_files(["a"])
    (tmp_path / "b/summary.json").write_text("{")
    with pytest.raises(ValueError, match=r"b/summary\.json: not a summary\.json of eval\.py"):
        results.compare_files([str(tmp_path / "a"), str(tmp_path / "b")])
