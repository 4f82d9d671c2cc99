"""All four numbers against a second implementation: one text at a time, no cache, no padding."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unlearn_lab.config.paths import data_dir
from unlearn_lab.data.corpus import Corpus, Question, VerbatimPrompt
from unlearn_lab.data.gazette import Gazette
from unlearn_lab.evaluate.evaluate_stage import score_all
from unlearn_lab.evaluate.knowmem import KnowMem
from unlearn_lab.evaluate.metric import Score
from unlearn_lab.evaluate.min_k import MinK
from unlearn_lab.evaluate.privleak import privleak
from unlearn_lab.evaluate.verbmem import VerbMem

NUM, NUM_STEPS = 8, 100
NUM_NEW = {"verbmem": 24, "knowmem": 12, "utility": 12}
METRICS = {
    "verbmem": VerbMem(num_tokens=24, temperature=None, num_samples=1, seed=0),
    "knowmem": KnowMem(split="forget", num_tokens=12, answer_cue="Answer:"),
    "utility": KnowMem(split="retain", num_tokens=12, answer_cue="Answer: "),
    "min_k": MinK(fraction=0.4, num_tokens=300),
}


def news() -> Corpus:
    """A part of MUSE's NEWS from beside the repository, prompts and continuations shortened."""
    root = Path(__file__).resolve().parents[3] / "shared" / "data" / "muse_news"
    if not root.is_dir():
        pytest.skip("needs shared/data/muse_news beside the repository")

    def read(name: str) -> list:
        return json.loads((root / f"{name}.json").read_text(encoding="utf-8"))[:NUM]

    def questions(name: str) -> tuple[Question, ...]:
        return tuple(Question(**row) for row in read(f"knowmem/{name}"))

    return Corpus(
        forget=tuple(read("raw/forget")),
        retain=tuple(read("raw/retain1")),
        verbatim=tuple(
            VerbatimPrompt(row["prompt"][-150:], row["gt"][:150]) for row in read("verbmem/forget")
        ),
        forget_questions=questions("forget_qa"),
        forget_examples=questions("forget_qa_icl")[:2],
        retain_questions=questions("retain_qa"),
        retain_examples=questions("retain_qa_icl")[:2],
        forget_documents=tuple(read("privleak/forget")),
        holdout_documents=tuple(read("privleak/holdout")),
    )


def generated() -> Corpus:
    """The embedded corpus, as small."""
    node = yaml.safe_load((data_dir("conf") / "dataset" / "gazette.yaml").read_text())
    del node["_target_"]
    return Gazette(**{**node, "num_forget": NUM, "num_questions": NUM, "num_holdout": NUM}).load()


@pytest.fixture(
    scope="module",
    params=[generated, pytest.param(news, marks=pytest.mark.slow)],
    ids=lambda source: source.__name__,
)
def corpus(request: pytest.FixtureRequest) -> Corpus:
    return request.param()


@pytest.fixture(scope="module")
def tokenizer(corpus: Corpus) -> PreTrainedTokenizerFast:
    """Byte-level BPE, trained on the corpus."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*corpus.forget, *corpus.retain], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def models_(corpus: Corpus, tokenizer: PreTrainedTokenizerFast) -> dict[str, LlamaForCausalLM]:
    """A Llama that was trained a little on what is asked, and one that was not; both float64."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=600,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=1024,
    )
    retrain, unlearned = LlamaForCausalLM(config), LlamaForCausalLM(config)
    learnt = [f"{item.prompt}{item.continuation}" for item in corpus.verbatim[:6]]
    for questions, examples in (
        (corpus.forget_questions[:6], corpus.forget_examples),
        (corpus.retain_questions[:6], corpus.retain_examples),
    ):
        pairs = [f"Question: {q.question}\nAnswer: {q.answer}\n\n" for q in (*examples, *questions)]
        shown = "".join(pairs[: len(examples)])
        learnt += [shown + pair for pair in pairs[len(examples) :]]
    learnt += [text[:600] for text in corpus.forget_documents[:5]]
    ids = [torch.tensor(encode(tokenizer, text)) for text in learnt]
    batch = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=-100)
    optimizer = torch.optim.AdamW(unlearned.parameters(), lr=5e-3)
    for _ in range(NUM_STEPS):
        part = batch[torch.randperm(len(batch))[:8]]
        unlearned(input_ids=part.clamp(min=0), labels=part).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"unlearned": unlearned.double().eval(), "retrain": retrain.double().eval()}


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """BOS and the text's tokens."""
    return [0, *tokenizer(text, add_special_tokens=False)["input_ids"]]


@torch.no_grad()
def continuation(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, num_new: int
) -> str:
    tokens = encode(tokenizer, prompt)
    new: list[int] = []
    while len(new) < num_new:
        best = int(model(torch.tensor([tokens + new]), use_cache=False).logits[0, -1].argmax())
        if best == 1:
            break
        new.append(best)
    return tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def rouge(true: str, answer: str) -> float:
    """100 x F1 of the longest common subsequence of words, by the textbook's table."""
    a, b = (re.findall("[a-z0-9]+", text.lower()) for text in (true, answer))
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            longer = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if left == right else longer
    common = table[-1][-1]
    if not common:
        return 0.0
    precision, recall = common / len(b), common / len(a)
    return 100 * 2 * precision * recall / (precision + recall)


def verbmem(write: Callable[[str, int], str], tokenizer: PreTrainedTokenizerFast, corpus: Corpus):
    scores = []
    for item in corpus.verbatim:
        true = tokenizer.decode(encode(tokenizer, item.continuation)[1:25])
        scores.append(rouge(true, write(item.prompt, NUM_NEW["verbmem"])))
    return scores


def knowmem(write: Callable[[str, int], str], questions, examples, cue: str, num_new: int):
    shots = ""
    for shot in examples:
        shots += "Question: " + shot.question + "\nAnswer: " + shot.answer + "\n\n"
    scores = []
    for asked in questions:
        answer = write(shots + "Question: " + asked.question + "\n" + cue, num_new)
        ends = [answer.find(stop) for stop in ("\n\n", "\nQuestion", "Question:")]
        end = min([place for place in ends if place >= 0], default=len(answer))
        scores.append(rouge(asked.answer, answer[:end].strip()))
    return scores


@torch.no_grad()
def min_k(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, text: str) -> float:
    tokens = encode(tokenizer, text)[:301]
    logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
    values = []
    for place, token in enumerate(tokens[1:]):
        row = logits[place]
        values.append(float(row[token] - row.logsumexp(0)))
    lowest = sorted(values)[: int(0.4 * len(values))]
    return -sum(lowest) / len(lowest)


def auc(forget: list[float], holdout: list[float]) -> float:
    wins = 0.0
    for one in forget:
        for other in holdout:
            wins += 1.0 if one > other else 0.5 if one == other else 0.0
    return wins / (len(forget) * len(holdout))


@pytest.fixture(scope="module")
def product(models_, tokenizer, corpus) -> dict[str, dict[str, Score]]:
    """The package's scores of both models, all of a metric in as few batches as it makes."""
    return {
        who: score_all(model, tokenizer, corpus, METRICS, batch_tokens=20_000)
        for who, model in models_.items()
    }


def test_verbmem_and_knowmem_of_both_splits(models_, tokenizer, corpus, product) -> None:
    def write(prompt: str, num_new: int) -> str:
        return continuation(models_["unlearned"], tokenizer, prompt, num_new)

    expected = {
        "verbmem": verbmem(write, tokenizer, corpus),
        "knowmem": knowmem(
            write, corpus.forget_questions, corpus.forget_examples, "Answer:", NUM_NEW["knowmem"]
        ),
        "utility": knowmem(
            write, corpus.retain_questions, corpus.retain_examples, "Answer: ", NUM_NEW["utility"]
        ),
    }
    for name, scores in expected.items():
        found = product["unlearned"][name]
        assert found.per_item == pytest.approx(scores, abs=1e-6)
        assert found.value == pytest.approx(sum(scores) / len(scores), abs=1e-6)
    assert all(0 < product["unlearned"][name].value < 100 for name in ("verbmem", "knowmem"))


def test_min_k_its_area_and_privleak(models_, tokenizer, corpus, product) -> None:
    areas = {}
    for who, model in models_.items():
        forget = [min_k(model, tokenizer, text) for text in corpus.forget_documents]
        holdout = [min_k(model, tokenizer, text) for text in corpus.holdout_documents]
        assert product[who]["min_k"].per_item == pytest.approx([*forget, *holdout], abs=1e-6)
        areas[who] = auc(forget, holdout)
        assert product[who]["min_k"].value == pytest.approx(100 * areas[who], abs=1e-6)
    assert 0 < areas["unlearned"] < areas["retrain"]
    leak = privleak(product["unlearned"]["min_k"], product["retrain"]["min_k"])
    expected = 100 * (areas["unlearned"] - areas["retrain"]) / areas["retrain"]
    assert leak is not None
    assert leak.value == pytest.approx(expected, abs=1e-6)
    published = privleak(product["unlearned"]["min_k"], 0.4772)
    assert published is not None
    assert published.value == pytest.approx(100 * (areas["unlearned"] / 0.4772 - 1), abs=1e-6)
