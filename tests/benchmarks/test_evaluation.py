"""The benchmark of evaluations on a model of a few weights, beside a stand-in for MUSE's code."""

import json

import pytest

from benchmarks import evaluation
from tests.data.corpora import muse_folder

TINY = {"vocab_size": 400, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
GENERATE = """
def generated(model, tokenizer, prompt, most):
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    new = model.generate(
        ids, attention_mask=ids * 0 + 1, max_new_tokens=most, do_sample=False, pad_token_id=2
    )
    return tokenizer.decode(new[0, ids.shape[1]:], skip_special_tokens=True)
"""
MODULES = {
    "knowmem": GENERATE
    + """
def eval(model, tokenizer, questions, answers, shown_questions, shown_answers):
    shown = "".join(
        f"Question: {q}\\nAnswer: {a}\\n\\n" for q, a in zip(shown_questions, shown_answers)
    )
    texts = [generated(model, tokenizer, f"{shown}Question: {q}\\nAnswer: ", 32) for q in questions]
    for stop in ("\\n\\n", "\\nQuestion", "Question:"):
        texts = [text.split(stop)[0] for text in texts]
    return {}, [{"response": text} for text in texts]
""",
    "verbmem": GENERATE
    + """
def eval(model, tokenizer, prompts, true):
    return {}, [{"response": generated(model, tokenizer, prompt, 128)} for prompt in prompts]
""",
    "privleak": """
def compute_ppl(text, model, tokenizer, device):
    ids = tokenizer(text, return_tensors="pt").input_ids
    model(ids, labels=ids)

def eval_data(texts, model, tokenizer):
    return [compute_ppl(text, model, tokenizer, "cpu") for text in texts]
""",
}


@pytest.mark.slow
def test_both_codes_give_the_same_answers(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "SHAPES", {"17m": TINY})
    data, code = muse_folder(tmp_path / "news"), tmp_path / "code"
    (code / "metrics").mkdir(parents=True)
    for name, text in MODULES.items():
        (code / "metrics" / f"{name}.py").write_text(text)
    given = ["--data", str(data), "--against", str(code), "--items", "1", "--rounds", "1"]
    monkeypatch.setattr("sys.argv", ["evaluation", *given])
    monkeypatch.syspath_prepend(str(code))
    evaluation.main()
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2:] == [
        "knowmem: 2 of 2 answers are equal",
        "verbmem: 1 of 1 answers are equal",
    ]
    seconds = json.loads(printed[-3])
    assert set(seconds) == {
        f"{metric}/{whose}"
        for metric in ("knowmem", "verbmem", "privleak, same texts", "suite")
        for whose in ("ours", "MUSE")
    }
    assert all(wall > 0 for _, wall in seconds.values())
