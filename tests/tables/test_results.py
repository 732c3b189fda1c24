"""Results of pairs and ranks, and two results side by side: numbers worked out by hand."""

import json

import pytest

from jfsr.metrics import Interval
from jfsr.tables import protocols, results, scoring

LFW = protocols.choose("iafsr/t1-lfw", {"scale": 8, "identity": "lightcnn9", "dir": "x"})


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
    assert "+0.00" in scoring.side_by_side([str(tmp_path / "a"), str(tmp_path / "b/summary.json")]).markdown()
    with pytest.raises(ValueError, match="takes two results, joined by a comma; got 1"):
        scoring.side_by_side(["a"])
    (tmp_path / "b/summary.json").write_text("{")
    with pytest.raises(ValueError, match=r"b/summary\.json: not a summary\.json of eval\.py"):
        scoring.side_by_side([str(tmp_path / "a"), str(tmp_path / "b")])


def pair_scores(acc, **changes):
    base = {"acc": acc, "acc_std": 0.02, "acc_error": 0.005, "auc": 0.9, "auc_low": 0.85, "auc_high": 0.95, "eer": 0.1}
    rates = {"tar@0.01": 0.6, "tar@0.001": float("nan")}
    return base | rates | {"n_same": 40, "n_not": 60, "n_dropped": 2, "note": "too few"} | changes


def test_pairs_are_in_percent_with_the_papers_rows_beside_them():
    result = results.judge_pairs(
        {"original": pair_scores(0.99), "bicubic": pair_scores(0.8), "ours": pair_scores(0.9)},
        LFW,
        scale=8,
        variants=frozenset({"proposed"}),
    )
    scores = result.tables["Scores"]
    assert scores.head == ["", "accuracy %", "AUC", "EER %", "TAR % at FAR 1 %", "n"]
    assert scores.body[2] == ["Ours", "90.00 [89.02, 90.98]", "0.9000 [0.8500, 0.9500]", "10.00", "60.00", "100"]
    beside = result.tables["Beside the paper"].body
    assert beside[0][:3] == ["Bicubic ×8", "paper", "87.56"]
    assert beside[1][:3] == ["", "ours", "80.00"]
    assert ["Proposed ×8", "paper", "98.46", "83.73", "70.67", ""] in beside
    assert "too few" in result.facts
    assert any("40 pairs of one person, 60 of two; 2 dropped" in fact for fact in result.facts)
    assert not any("identity network is" in fact for fact in result.facts)


def test_ranks_are_shares_of_the_probes():
    rows = [
        {"method": m, "identity": i % 2, "correct": int(i < k)}
        for m, k in (("bicubic", 1), ("ours", 3))
        for i in range(4)
    ]
    protocol = protocols.choose("iafsr/t1-celeba", {"scale": 8})
    result = results.judge_ranks(rows, protocol, scale=8, variants=frozenset({"sr_angle"}))
    assert [row[0] for row in result.tables["Scores"].body] == ["Bicubic", "Ours"]
    assert result.tables["Scores"].body[1][1].startswith("75.00 [")
    assert result.facts[0] == "4 probes of 2 people"
    assert "The paper's identity network is lightcnn9; here it is none" in result.facts
    beside = [row[:3] for row in result.tables["Beside the paper"].body]
    assert beside[:3] == [["Bicubic ×8", "paper", "1.64"], ["", "ours", "25.00"], ["", "Δ", "+23.36"]]
