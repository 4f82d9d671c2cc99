"""Table 1 of the paper on real NEWS texts, at real lengths, with a small model, without network."""

import json
import math
import re
import shutil
import subprocess
import sys

import pytest

from tests.e2e.artifacts import built
from tests.e2e.conftest import execute
from unlearn_lab.config.paths import data_dir

NEWS = data_dir("conf").parents[1] / "shared" / "data" / "muse_news"
NUM_ARTICLES, NUM_ITEMS = 12, 4
SMALL_LLAMA = (
    "model=tiny",
    "model.vocab_size=2000",
    "model.hidden_size=32",
    "model.intermediate_size=64",
    "model.max_positions=4096",
    "finetune.steps=4",
    "finetune.batch_size=2",
    "trainer.epochs=1",
    "trainer.arithmetic=fp32",  # the preset's is what the processor has
    "eval.metrics.verbmem.num_tokens=16",
    "report.wandb.mode=disabled",
    "runtime.threads=1",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not NEWS.is_dir(), reason="needs ../shared/data/muse_news"),
]


TABLE_1 = ("ga", "ga_gdr", "ga_muse_klr", "npo_muse", "npo_muse_gdr", "npo_muse_klr")


@pytest.fixture(scope="module")
def swept(tmp_path_factory, forkserver):
    """The sweep over the first articles and items of NEWS, and every example question."""
    folder = tmp_path_factory.mktemp("sweep")
    news = shutil.copytree(NEWS, folder / "news")
    for file in news.rglob("*.json"):
        if not file.stem.endswith("_icl"):
            count = NUM_ARTICLES if file.parent.name == "raw" else NUM_ITEMS
            rows = json.loads(file.read_text(encoding="utf-8"))[:count]
            file.write_text(json.dumps(rows), encoding="utf-8")
    home = folder / "lab"
    data = [f"method={','.join(TABLE_1)}", f"dataset.path={news}", f"runtime.home={home}"]
    return execute(forkserver, ["+grid=paper_news", *data, *SMALL_LLAMA], folder, home)


def test_every_result_is_there(swept):
    assert swept.status == 0, swept.err
    found = {(record["method"], record["quant"]) for record in swept.records}
    assert found == {(method, quant) for method in TABLE_1 for quant in ("none", "llmint8", "fp4")}
    stages = built(swept.home)
    assert [stages[name] for name in ("target", "retrain", "unlearn")] == [1, 1, len(TABLE_1)]
    assert stages["evaluate"] == (len(TABLE_1) + 2) * 3


def test_every_score_is_there(swept):
    for record in swept.records:
        for who in ("unlearned", "target", "retrain"):
            for precision in ("full",) if record["quant"] == "none" else ("full", "quantized"):
                for metric in ("verbmem", "knowmem", "utility", "privleak"):
                    value = record[f"scores.{who}.{precision}.{metric}"]
                    assert value is not None or metric == "privleak"
        assert {record[f"items.{metric}"] for metric in ("verbmem", "knowmem", "utility")} == {4}


def test_the_lengths_are_real(swept):
    """Streams are cut to 2048 tokens and prompts hold ten examples."""
    record = swept.records[0]
    assert record["config.trainer.max_length"] == 2048
    [manifest] = (swept.home / "cache" / "unlearn" / record["stages.unlearn"]).glob("manifest.json")
    facts = json.loads(manifest.read_text())["facts"]
    characters = sum(map(len, json.loads((NEWS / "raw/forget.json").read_text())[:NUM_ARTICLES]))
    most = math.ceil(characters / 2 / 2047 / 2)  # two characters a token, two sequences a step
    assert characters / 6 / 2047 / 2 < facts["steps"] <= most
    [corpus] = (swept.home / "cache" / "corpus").glob("*/corpus.json")
    held = json.loads(corpus.read_text())
    assert [len(held[f"{split}_examples"]) for split in ("forget", "retain")] == [10, 10]
    assert min(map(len, held["forget_documents"])) > 7000


def test_the_published_numbers_stand_beside_ours(swept):
    command = [sys.executable, "-m", "unlearn_lab.published", "paper_news", "--any-model"]
    told = subprocess.run(
        [*command, "--home", str(swept.home)], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"\d+ of \d+ published values", told)
    assert "NPO_KLR" in told
    assert "58.4" in told
