"""The benchmark for a GPU: on a processor in small, and what it says of failures."""

import json

import pytest
import torch

from benchmarks import gpu, gpu_checks


@pytest.mark.slow
def test_everything_runs_on_a_processor_in_small(tmp_path, monkeypatch, capsys):
    file = tmp_path / "gpu.json"
    given = ["--device", "cpu", "--smoke", "--out", str(file), "--minutes", "20"]
    monkeypatch.setattr("sys.argv", ["gpu", *given])
    with pytest.raises(SystemExit) as leaving:
        gpu.main()
    assert leaving.value.code == 0, capsys.readouterr().out
    rows = json.loads(file.read_text())["rows"]
    assert {row["status"] for row in rows} == {"ok"}
    kinds = {row["name"].partition(":")[0] for row in rows}
    assert kinds == {"check", "peak", "step", "memory", "evaluation", "quantizer"}
    found = {row["name"]: row["found"] for row in rows}
    assert found["check: rtn4"] == "100.00% of the weights equal"
    assert "tokens/s" in found["step: tiny, npo_klr"]
    assert len([name for name in found if name.startswith("quantizer: ")]) == 8


def test_what_fails_is_named_and_the_rest_goes_on(capsys):
    table = gpu.Table(minutes=1)

    def too_large():
        raise gpu.Left("needs 99 GiB, the device has 24")

    table.run("broken", lambda: str(1 // 0))
    table.run("large", too_large)
    table.run("fine", lambda: "3 tokens/s")
    assert [row["status"] for row in table.rows] == ["failed", "left out", "ok"]
    assert table.rows[0]["found"].startswith("ZeroDivisionError: ")
    assert "3 tokens/s" in capsys.readouterr().out.splitlines()[-1]
    late = gpu.Table(minutes=-1)
    late.run("never", too_large)
    assert late.rows == [{"name": "never", "status": "left out", "found": "no time left"}]


def test_a_device_that_rounds_otherwise_is_found(monkeypatch):
    """In the second copy, which would be the device's, half of one layer's rows are too large."""
    corpus = gpu.newspaper()
    tokenizer = gpu.byte_pairs(corpus)
    model = gpu_checks.small_model(len(tokenizer))
    texts = [text[:100] for text in corpus.forget[:4]]
    bench = gpu_checks.Bench(torch.device("cpu"), model, tokenizer, texts, {})
    assert gpu_checks.rounding(bench, gpu_checks.ROUNDING["rtn4"]).startswith("100.00%")
    assert gpu_checks.evaluation(bench).startswith("4 of 4 continuations equal")
    pair = gpu_checks.Bench.pair

    def wrong(self, dtype=torch.float32):
        here, there = pair(self, dtype)
        with torch.no_grad():
            there.model.layers[0].mlp.up_proj.weight[::2] *= 1.5
        return here, there

    monkeypatch.setattr(gpu_checks.Bench, "pair", wrong)
    for check in (
        lambda: gpu_checks.rounding(bench, gpu_checks.ROUNDING["rtn4"]),
        lambda: gpu_checks.evaluation(bench),
        lambda: gpu_checks.products(bench),
        lambda: gpu_checks.gradients(bench, "fp32", 1e-3),
    ):
        with pytest.raises(AssertionError, match=r"differ|are equal"):
            check()
