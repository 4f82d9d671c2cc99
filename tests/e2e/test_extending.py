"""docs/extending.md does what it says: its blocks, copied out, run; an edit rebuilds its stages."""

import json
import re

import pytest

from tests.e2e.artifacts import SMALL, SMALL_MODEL, built, stamps

GENERAL = [one for one in (*SMALL, *SMALL_MODEL) if not one.startswith("dataset.")]
OWN = ["trust=[my_parts]", "conf_dir=my_conf", "dataset=letters"]
PLACES = ["town", "harbour", "mill", "school", "bridge", "garden", "church", "market"]
TEXTS = {
    split: [
        f"Letter {number} from the {place} says that {split} number {number * 7} was seen there."
        for number, place in enumerate(PLACES)
    ]
    for split in ("forget", "retain", "holdout")
}


@pytest.fixture
def written(repository, tmp_path):
    """The page's files and the text that it speaks of, in an empty folder."""
    page = (repository / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", page, flags=re.DOTALL)
    for name, text in blocks:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "letters.json").write_text(json.dumps(TEXTS))
    return [name for name, _ in blocks]


@pytest.fixture
def own(lab, tmp_path):
    def run(*further):
        home = tmp_path / "lab"
        where = f"runtime.home={home}"
        return lab(*GENERAL, where, *OWN, *further, small=False, home=home)

    return run


def rebuilt(run, before):
    """The stages that were built since `before`, by name, each once."""
    return sorted({path.split("/")[-3] for path in stamps(run.home).keys() - before.keys()})


AFTER_UNLEARNING = ["codes", "evaluate", "record", "unlearn", "widths"]


def test_the_page_names_a_file_and_an_option_for_each_kind_of_part(written):
    assert {name.split("/")[1] for name in written if name.endswith(".yaml")} == {
        *("method", "optimizer", "quant", "eval", "dataset")
    }
    assert len(written) == 10


@pytest.mark.slow
def test_every_part_of_the_page_runs_and_an_edit_rebuilds_what_stands_on_it(written, own, tmp_path):
    page = ["method=simnpo", "optimizer=signed", "quant=sign", "eval=muse_and_first_word"]
    first = own(*page)
    assert first.status == 0, first.err
    record = first.records[-1]
    assert record["quant"] == "sign"
    assert record["effective.quantizer"].startswith("sign in float32: 1 bits")
    assert 0 <= record["scores.target.full.first_word"] <= 100
    assert built(first.home)["unlearn"] == 1

    before = stamps(first.home)
    again = own(*page)
    assert rebuilt(again, before) == []

    method = tmp_path / "my_parts" / "simnpo.py"
    method.write_text(method.read_text().replace("return -(2", "# why\n        return -(2"))
    assert rebuilt(own(*page), before) == [], "a comment changes nothing"
    method.write_text(method.read_text().replace("return -(2", "return 1 - (2"))
    planned = own(*page, "dry=true")
    assert "built again: code of simnpo.py changed" in planned.out
    assert re.search(r"target +0 +1", planned.out), planned.out
    edited = own(*page)
    assert rebuilt(edited, before) == AFTER_UNLEARNING
    assert "built again: code of simnpo.py changed" in edited.out

    before = stamps(first.home)
    metric = tmp_path / "my_parts" / "first_word.py"
    metric.write_text(metric.read_text().replace("100.0 * right", "50.0 * right"))
    assert rebuilt(own(*page), before) == ["evaluate", "record"]

    before = stamps(first.home)
    changed = {**TEXTS, "forget": [f"{text} Truly." for text in TEXTS["forget"]]}
    (tmp_path / "letters.json").write_text(json.dumps(changed))
    run = own(*page)
    assert "dataset.path changed" in run.out
    assert rebuilt(run, before) == sorted(
        ["base", "corpus", "retrain", "target", *AFTER_UNLEARNING]
    )


@pytest.mark.slow
def test_a_module_that_a_part_imports_counts(written, own, tmp_path):
    method = tmp_path / "my_parts" / "simnpo.py"
    helper = tmp_path / "my_parts" / "scale.py"
    helper.write_text("SCALE = 2\n")
    method.write_text(
        method.read_text()
        .replace("from unlearn_lab.data", "from .scale import SCALE\nfrom unlearn_lab.data", 1)
        .replace("-(2 /", "-(SCALE /")
    )
    first = own("method=simnpo", "quant=none")
    assert first.status == 0, first.err
    before = stamps(first.home)
    helper.write_text("SCALE = 3\n")
    run = own("method=simnpo", "quant=none")
    assert rebuilt(run, before) == AFTER_UNLEARNING
    assert "built again: code of scale.py changed" in run.out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import lm_eval", r'imports the library lm-eval, .*: libraries = \("lm-eval",\)'),
        ("import importlib; importlib.import_module(__name__)", "by a computed name"),
    ],
)
def test_what_the_key_could_not_hold_is_refused(written, own, tmp_path, line, message):
    method = tmp_path / "my_parts" / "simnpo.py"
    method.write_text(method.read_text() + f"\n\ndef unused():\n    {line}\n")
    run = own("method=simnpo")
    assert run.status == 2
    assert re.search(message, run.err), run.err
    assert "simnpo.py" in run.err
    assert not (run.home / "cache" / "target").exists()
