"""A model taken as it is, without a retrain control: what is still said, and what is refused."""

import re

import pytest

from tests.e2e.artifacts import built
from tests.models.families import save


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """A Qwen 3 whose tokenizer, without BOS, lies in another folder."""
    weights, words = tmp_path_factory.mktemp("weights"), tmp_path_factory.mktemp("words")
    save("qwen3", weights, max_position_embeddings=1024)
    for file in weights.glob("tokenizer*"):
        file.rename(words / file.name)
    settings = ["model=hf", f"model.path={weights}", f"model.tokenizer={words}"]
    return [*settings, "model.finetune=false", "model.retrain=null", "eval.auc_retrain=scored"]


@pytest.mark.slow
def test_it_is_scored_and_not_judged(lab, arguments):
    run = lab(
        *arguments, "method=npo_klr", "quant=rtn4", "trainer.trainable=all", "report.html=true"
    )
    assert run.status == 0, run.err
    record = run.records[-1]
    assert not any(name.startswith("scores.retrain") for name in record)
    assert record["scores.unlearned.quantized.verbmem"] is not None
    assert record["scores.unlearned.full.privleak"] is None
    assert "retrain" not in built(run.home)
    page = (run.home / "results" / "report.html").read_text()
    for shown in (run.out, page):
        assert re.search("Not judged: .*no retrain control", shown)
        assert re.search("PrivLeak: undefined .*retrain control", shown)
    assert re.search("Under rtn4 nothing .*came back", page)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("trainer/stop=utility", "trainer.stop: .*the retrain control, .*none"),
        ("trainer/stop=forgotten", "trainer.stop: .*the retrain control, .*none"),
        ("eval.auc_retrain=muse_news", "eval.auc_retrain=muse_news: is MUSE's figure for muse-b"),
    ],
)
def test_what_needs_the_control_is_refused(lab, arguments, asked, message):
    run = lab(*arguments, asked)
    assert run.status == 2
    assert re.match(message, run.err.strip().splitlines()[-1])
    assert not (run.home / "cache" / "unlearn").exists()
