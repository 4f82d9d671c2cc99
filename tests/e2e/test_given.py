"""Models that were unlearned elsewhere, from their folder to a verdict and an audit."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.e2e.artifacts import SMALL
from unlearn_lab.audit import __main__ as audit_command
from unlearn_lab.record.results import read_records

SAME = ("scores.", "recovery.", "codes.", "quantizer.", "items.", "skipped.", "verdict")
UNKNOWN = ("codes.cannot_move", "quantizer.seconds", "quantizer.peak_gb")
SETTINGS = [
    setting for setting in SMALL if not setting.startswith(("trainer", "finetune", "report.html"))
]


@pytest.fixture
def ours(lab, tmp_path):
    """Unlearns a model; returns its records, and copies of the three models as others have them."""

    def run(*arguments):
        done = lab("-m", *arguments)
        assert done.status == 0, done.err
        records = done.records
        for name, stage in (("T", "target"), ("R", "retrain"), ("U", "unlearn")):
            made = done.home / "cache" / stage / records[0][f"stages.{stage}"]
            shutil.copytree(
                made, tmp_path / name, ignore=shutil.ignore_patterns("*.jsonl", "manifest.json")
            )
        return records

    return run


@pytest.mark.prepared
def test_our_own_model_as_given_has_our_own_figures(ours, lab, tmp_path):
    quantizers = "quant=none,rtn4"
    own = ours("method=npo_gdr", quantizers)
    other = lab(
        "-m", *SETTINGS, "model=hf", "model.path=T", "model.retrain=R", "model.finetune=false",
        "method=given", "method.path=U", quantizers, "trainer.arithmetic=fp32",
        f"runtime.home={tmp_path}/other", small=False, home=tmp_path / "other",
    )  # fmt: skip
    assert other.status == 0, other.err
    assert "scoring: 3 evaluations of" in other.err
    assert len(other.records) == len(own) == 2
    given = {record["quant"]: record for record in other.records}
    for record in own:
        again = given[record["quant"]]
        for key, value in record.items():
            if key.startswith(SAME) and key not in UNKNOWN:
                assert again[key] == value, key
        assert again["codes.cannot_move"] is None
        assert again["effective.moved"] == record["effective.moved"] > 0
        assert again["effective.step"] == record["effective.step"] > 0
        assert again["effective.weights"] == "unknown (stored in bf16)"
        assert (again["config.trainer.weights"], again["optimizer"]) == ("bf16", "given")
        assert not [key for key in again if key.startswith(("config.finetune", "config.trainer.e"))]


def by_a_plain_loop(target, folder):
    """Gradient ascent with nothing but transformers and torch."""
    model = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(target)
    ids = tokenizer("The baker of the town", return_tensors="pt").input_ids
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        (-model(ids, labels=ids).loss).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def by_an_adapter(target, folder):
    """The same with PEFT: only the adapter is stored."""
    from peft import LoraConfig, get_peft_model

    model = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    ids = torch.arange(3, 12)[None]
    optimizer = torch.optim.Adam([p for p in wrapped.parameters() if p.requires_grad], lr=0.05)
    for _ in range(3):
        (-wrapped(input_ids=ids, labels=ids).loss).backward()
        optimizer.step()
        optimizer.zero_grad()
    wrapped.save_pretrained(folder)


@pytest.mark.slow
@pytest.mark.prepared
def test_models_that_others_unlearned_are_audited(ours, lab, tmp_path, monkeypatch, capsys):
    ours("method=ga", "quant=none")
    by_a_plain_loop(tmp_path / "T", tmp_path / "plain")
    by_an_adapter(tmp_path / "T", tmp_path / "adapter")
    home = tmp_path / "other"
    monkeypatch.setattr(
        audit_command, "_run", lambda sweep: lab(*sweep, small=False, home=home).status
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        audit_command.main([
            "--target", "T", "--retrain", "R", "--unlearned", "plain", "--unlearned", "adapter",
            "--dataset", "gazette", "--quant", "rtn4", "--home", str(home), "--out", "audit",
            *SETTINGS,
        ])  # fmt: skip
    assert ended.value.code == 4  # the target of a smoke test knows nothing
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert [one["model"] for one in found["findings"]] == ["plain", "adapter"]
    assert {one["verdict"] for one in found["findings"]} == {"not judged"}
    stored = {model["place"]: model["stored"] for model in found["models"]}
    assert stored == {"T": "fp32", "R": "fp32", "plain": "fp32", "adapter": "fp32"}
    plain, adapter = read_records(home)
    assert plain["effective.moved"] > adapter["effective.moved"] > 0
    assert (adapter["adapter.type"], adapter["adapter.merged_in"]) == ("LORA", "fp32")
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert "unknown (stored in fp32)" in page
    assert "plain rtn4: not judged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model.finetune=true",), "method=given: needs the model that it was unlearned from"),
        (("optimizer=adamw",), "optimizer: method=given is not trained here"),
        (("trainer=hf",), "trainer: method=given is not trained here"),
        (("method.path=nowhere/at@all",), "method.path=nowhere/at"),
        (("method.tokenizer=theirs",), "method.tokenizer='theirs'"),
        (("optimizer.lr=-1",), "optimizer.lr=-1.0: must be above 0, or null"),
    ],
)
def test_what_cannot_be_given_is_refused(refusing_lab, checkpoint, arguments, message):
    given = (
        "model=hf", f"model.path={checkpoint}", "model.finetune=false", "method=given",
        f"method.path={checkpoint}", *SETTINGS, *arguments,
    )  # fmt: skip
    run = refusing_lab(*given, small=False)
    assert run.status == 2
    assert message in run.err
    assert len(run.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("optimizer", "optimizer=given: only for a model that is given, method=given"),
        ("trainer", "trainer.weights=auto: needs a model that is stored, method=given"),
    ],
)
def test_the_parts_of_a_given_model_are_for_no_training(refusing_lab, part, message):
    run = refusing_lab(f"{part}=given", "method=ga", small=False)
    assert run.status == 2
    assert run.err == f"{message}\n"
