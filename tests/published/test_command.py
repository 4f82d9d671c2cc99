"""Ours beside theirs: records with known intervals, and what the command says about them."""

import io
import json
import re
import subprocess
import sys

import pytest
from rich.console import Console

from unlearn_lab.published.__main__ import chosen_records, compared, main
from unlearn_lab.published.comparison_table import print_comparison
from unlearn_lab.record.results import append

ZERO = (0.0, 0.0, 0.0, 0.0)
GDR = {"full": (2.0, 27.0, 95.0, 34.2), "quantized": (29.0, 50.1, -99.1, 47.7)}
"""GA_GDR beside 0/28.9/87.1/34.2 and, under fp4, 25.0/50.1/-99.1/47.7; intervals are +- 3."""


@pytest.fixture
def news(make_record):
    """A record of the published data set, model and settings; scores in the order of MUSE."""

    def make(*, unlearned=GDR, target=GDR, retrain=GDR, **further):
        swap = {
            who: {precision: (v, k, u, p) for precision, (v, k, p, u) in scores.items()}
            for who, scores in (("unlearned", unlearned), ("target", target), ("retrain", retrain))
        }
        settings = {
            "method": "ga_gdr", "quant": "fp4", "dataset": "muse_news", "model": "muse_news",
            "config__optimizer__lr": 1e-5, "config__trainer__epochs": 10, "effective__batch": 2,
        }  # fmt: skip
        return make_record(**swap, **{**settings, **further})

    return make


def line(comparison, row, quant):
    found = next(each for each in comparison.lines if (each.row, each.quant) == (row, quant))
    return {cell.metric: cell for cell in found.cells}


def news_table(records, name="paper_news", **asked):
    return compared(name, records, any_model=asked.get("any_model", False))


def noted(comparison, pattern):
    """Whether a note begins like that."""
    return any(re.match(pattern, note) for note in comparison.notes)


def shown(comparison, width):
    stream = io.StringIO()
    print_comparison(Console(file=stream, width=width, highlight=False), comparison)
    return stream.getvalue()


def test_a_value_beside_the_published_one_with_difference_and_mark(news):
    comparison = news_table([news()])
    full = line(comparison, "GA_GDR", "none")
    assert {metric: cell.ours.value for metric, cell in full.items()} == {
        "verbmem": 2.0, "knowmem": 27.0, "privleak": 95.0, "utility": 34.2,
    }  # fmt: skip
    assert full["knowmem"].theirs == 28.9
    assert full["knowmem"].difference == pytest.approx(-1.9)
    marks = [cell.inside for cell in full.values()]
    assert marks == [True, True, False, True]  # [-1, 5] has 0; [92, 98] lacks 87.1
    four = line(comparison, "GA_GDR", "fp4")
    assert [cell.inside for cell in four.values()] == [False, True, True, True]  # [26, 32]: no 25.0
    assert line(comparison, "GA_GDR", "llmint8")["verbmem"].ours is None
    assert line(comparison, "GA", "none")["verbmem"].ours is None


def test_the_closing_line_counts_what_could_be_compared(news):
    """Of 88 values: 8 of GA_GDR (6 inside), 16 of the controls, whose scores are given here."""
    control = {"full": (58.4, 63.9, -99.8, 55.2), "quantized": (99.0, 99.0, 0.0, 99.0)}
    comparison = news_table([news(target=control, retrain=control)])
    target = [cell.inside for quant in ("none", "fp4")
              for cell in line(comparison, "target", quant).values()]  # fmt: skip
    assert target == [True] * 4 + [False] * 4
    retrain = [cell.inside for cell in line(comparison, "retrain", "none").values()]
    assert retrain == [False, False, False, True]  # 55.0 in 55.2 +- 3
    retrain_quantized = [cell.inside for cell in line(comparison, "retrain", "fp4").values()]
    assert retrain_quantized == [False, False, True, False]  # -2.2 in 0 +- 3
    assert re.match("12 of 24 .*in our intervals; 64 more .*no interval", comparison.closing)


def test_ends_are_rounded_as_finely_as_theirs(news):
    key = "scores__unlearned__full__knowmem"
    for high, inside in ((28.86, True), (28.84, False)):
        record = news(**{f"{key}__low": 20.0, f"{key}__high": high})
        assert line(news_table([record]), "GA_GDR", "none")["knowmem"].inside is inside


def test_a_value_without_interval_has_a_difference_and_no_mark(news):
    record = news(**{"scores__unlearned__full__knowmem__low": None})
    cell = line(news_table([record]), "GA_GDR", "none")["knowmem"]
    assert cell.difference == pytest.approx(-1.9)
    assert cell.inside is None


def test_an_unpublished_row_stays_empty_on_their_side(news):
    comparison = news_table([news(method="npo_muse_klr", quant="llmint8")])
    cell = line(comparison, "NPO_KLR", "llmint8")["knowmem"]
    assert (cell.ours.value, cell.theirs, cell.difference, cell.inside) == (50.1, None, None, None)


def test_another_eight_bits_does_not_stand_in(news):
    comparison = news_table([news(quant="int8")])
    assert line(comparison, "GA_GDR", "llmint8")["verbmem"].ours is None
    assert line(comparison, "GA_GDR", "none")["verbmem"].ours.value == 2.0
    assert noted(comparison, "No record .*quant=llmint8,fp4; int8 cannot")


def test_forms_choose_methods_and_variants(news):
    records = [
        news(method="npo", unlearned={"full": ZERO, "quantized": ZERO}),
        news(method="npo_muse"),
        news(method="ga_klr", config__method__retain__variant="divergence"),
        news(method="ga_muse_klr", unlearned={"full": ZERO, "quantized": ZERO}),
    ]
    published, corrected = (news_table(records, f"paper_news{end}") for end in ("", "_corrected"))
    assert line(published, "NPO", "none")["knowmem"].ours.value == 27.0
    assert line(corrected, "NPO", "none")["knowmem"].ours.value == 0.0
    assert line(published, "GA_KLR", "none")["knowmem"].ours.value == 0.0
    assert line(corrected, "GA_KLR", "none")["knowmem"].ours.value == 27.0
    assert "GA_KLR: method=ga_muse_klr" in published.runs


def test_several_seeds_are_averaged_and_told(news):
    """Lows 20 and 24, highs 26 and 30: [22, 28], widened to the seeds' 23 and 29: [22, 29]."""
    key = "scores__unlearned__full__knowmem"
    records = [
        news(seed=seed, **{key: value, f"{key}__low": low, f"{key}__high": high})
        for seed, value, low, high in ((0, 23.0, 20.0, 26.0), (1, 29.0, 24.0, 30.0))
    ]
    comparison = news_table(records)
    cell = line(comparison, "GA_GDR", "none")["knowmem"]
    assert vars(cell.ours) == {"value": 26.0, "low": 22.0, "high": 29.0, "num_seeds": 2}
    assert cell.inside is True
    assert "(ours: means of 2 seeds)" in shown(comparison, 160)
    assert "seeds" not in shown(news_table(records[:1]), 160).splitlines()[0]
    uneven = shown(news_table([*records, news(quant="llmint8")]), 160).splitlines()
    assert "means of" not in uneven[0]
    assert uneven[2].split()[:3] == ["row", "quant", "seeds"]


def test_quantizers_of_one_model_are_no_further_seeds(news):
    comparison = news_table([news(quant=quant) for quant in ("none", "fp4", "rtn4")])
    assert line(comparison, "GA_GDR", "none")["knowmem"].ours.num_seeds == 1
    assert not noted(comparison, "Several settings")


def test_the_setting_nearest_to_the_published_is_taken_and_the_others_told(news):
    far = {"full": ZERO, "quantized": ZERO}
    records = [news(), news(unlearned=far, config__optimizer__lr=5e-5, seed=1)]
    comparison = news_table(records)
    cell = line(comparison, "GA_GDR", "none")["knowmem"]
    assert (cell.ours.value, cell.ours.num_seeds) == (27.0, 1)
    assert noted(comparison, "Several settings")
    assert not noted(comparison, "Another setting")
    told = "Another setting: config.optimizer.lr=5e-05 .published: 1e-05. in GA_GDR"
    assert noted(news_table(records[1:]), told)


def test_controls_scored_in_another_dtype_are_another_setting(news):
    """The dtype of the weights reaches target and retrain too: bf16 is the published one."""
    rounded = {"full": (58.4, 63.9, -99.8, 55.2), "quantized": (34.2, 54.4, -99.8, 48.2)}
    records = [
        news(target=rounded, config__trainer__weights="bf16"),
        news(config__trainer__weights="fp32"),
    ]
    comparison = news_table(records)
    for quant, value in (("none", 63.9), ("fp4", 54.4)):
        assert line(comparison, "target", quant)["knowmem"].ours.value == value
    told = " ".join(news_table(records[1:]).notes)
    assert "config.trainer.weights=fp32 (published: bf16) in target, retrain, GA_GDR." in told


def test_another_model_is_left_out_unless_asked_for(news):
    records = [news(model="tiny")]
    left_out, shown_anyway = news_table(records), news_table(records, any_model=True)
    assert line(left_out, "GA_GDR", "none")["knowmem"].ours is None
    assert line(shown_anyway, "GA_GDR", "none")["knowmem"].ours.value == 27.0
    assert "--any-model shows them" in left_out.notes[0]
    assert re.match("Not the published model: .* 1 records", shown_anyway.notes[0])


def test_another_data_set_never_counts_and_is_told(make_record):
    comparison = news_table([make_record(), make_record(quant="rtn8")], any_model=True)
    assert {cell.ours for cell in comparison.cells} == {None}
    assert noted(comparison, "No record .*dataset=muse_news: .*2 of dataset=gazette")
    assert comparison.closing.startswith("0 of 0 published values")


def test_shares_by_quantizer_are_in_per_cent(news):
    key = "recovery__verbmem__recovered_share"
    record = news(
        dataset="muse_books", model="muse_books", method="npo_muse_klr", quant="gptq4",
        **{key: 0.05, f"{key}__low": 0.01, f"{key}__high": 0.084},
    )  # fmt: skip
    cell = line(news_table([record], "paper_quantizers"), "NPO_KLR", "gptq4")["recovered_share"]
    assert (cell.ours.value, cell.theirs, cell.inside) == (5.0, 8.0, True)


def test_sure_needs_its_percentile(news):
    asked = {"dataset": "muse_books", "model": "muse_books", "optimizer": "sure"}
    right, wrong = (news(**asked, config__optimizer__percentile=p) for p in (99, 95))
    for record, value in ((right, 27.0), (wrong, None)):
        cell = line(news_table([record], "paper_sure"), "GA_GDR+SURE", "none")["knowmem"]
        assert (cell.ours.value if cell.ours else None) == value
    assert line(news_table([right], "paper_sure"), "GA_GDR+SURE", "fp4")["flu"].ours is None


def test_the_headline_needs_all_of_its_runs(news):
    """All sixteen shares are 0.25 +- 0.1 in full precision and 0.8 +- 0.1 under fp4."""
    shares = {
        f"recovery__{metric}__retained_{precision}{end}": value + step
        for metric in ("verbmem", "knowmem")
        for precision, value in (("full", 0.25), ("quantized", 0.8))
        for end, step in (("", 0), ("__low", -0.1), ("__high", 0.1))
    }
    records = [
        news(dataset=data, model=data, method=method, **shares,
             config__method__retain__variant="raw_logits")
        for data in ("muse_news", "muse_books")
        for method in ("ga_gdr", "ga_muse_klr", "npo_muse_gdr", "npo_muse_klr")
    ]  # fmt: skip
    comparison = news_table(records, "paper_headline")
    assert re.fullmatch(r"2 of 2 [^;]*in our intervals\.", comparison.closing)
    assert comparison.cells[0].ours.value == pytest.approx(25.0)
    assert comparison.cells[1].ours.low == pytest.approx(70.0)
    fewer = news_table(records[1:], "paper_headline")
    assert [cell.ours for cell in fewer.cells] == [None, None]
    assert noted(fewer, "quant=fp4: 14 .*16 shares")


@pytest.mark.parametrize("width", [40, 100, 160])
def test_no_number_is_cut_at_any_width(news, width):
    control = {"full": (100.0, 100.0, -100.0, 100.0), "quantized": (100.0, 99.4, -99.8, 55.3)}
    told = shown(news_table([news(target=control, seed=seed) for seed in (0, 1)]), width)
    assert "…" not in told
    for number in ("100.0 [97.0, 103.0]", "-100.0 [-103.0, -97.0]", "107.2", "+41.6", "+7.9"):
        assert number in told
    tables = told.split("No record with")[0]
    widest = max(len(row.rstrip()) for row in tables.splitlines())
    assert widest <= max(width, 70)


def test_the_command_lists_refuses_and_prints_json(news, tmp_path, capsys):
    main([])
    assert "muse_news_leaderboard_corrected" in capsys.readouterr().out
    append(tmp_path, news(sweep="first"))
    append(tmp_path, news(sweep="second", seed=3))
    for arguments, message in (
        (["paper_nws"], "TABLE=paper_nws: did you mean paper_news?\n"),
        (["paper_news", "--home", f"{tmp_path}/no"], f"--home={tmp_path}/no: no such folder"),
        (["paper_news", "--home", f"{tmp_path}", "--sweep", "frist"], "did you mean first?"),
        (["paper_news", "--home", f"{tmp_path}", "--seed", "7"], "--seed=7: there are 0, 3"),
    ):
        with pytest.raises(SystemExit) as refused:
            main(arguments)
        assert refused.value.code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    main(["paper_news", "--home", str(tmp_path), "--sweep", "second", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["closing"].startswith("9 of 24")
    cell = next(
        value
        for value in found["values"]
        if (value["row"], value["quant"], value["metric"]) == ("GA_GDR", "none", "knowmem")
    )
    assert cell["ours"] == {"value": 27.0, "low": 24.0, "high": 30.0, "num_seeds": 1}
    assert (cell["theirs"], cell["inside"]) == (28.9, True)
    assert len(found["values"]) == 96


def test_without_records_the_published_side_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UNLEARN_LAB_HOME", str(tmp_path / "none yet"))
    assert chosen_records(None, None, None) == []
    main(["paper_news"])
    told = capsys.readouterr().out
    assert "no records at all" in told
    assert "107.2" in told


def test_the_latest_line_of_an_id_counts(news, tmp_path):
    record = news()
    append(tmp_path, record | {"scores.unlearned.full.knowmem": 99.0})
    append(tmp_path, record)
    comparison = news_table(chosen_records(tmp_path, None, None))
    assert line(comparison, "GA_GDR", "none")["knowmem"].ours.value == 27.0


def test_it_starts_without_torch():
    code = "import sys, unlearn_lab.published.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
