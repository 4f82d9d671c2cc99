"""TOFU's metrics against a second implementation: one answer at a time, from the model's logits."""

import math

import numpy as np
import pytest
import torch

from tests.data.corpora import ROLES
from tests.evaluate.conftest import ScriptedAnswers
from unlearn_lab.data.corpus import PLAIN, Corpus, Probe, Template
from unlearn_lab.evaluate.answer import answer
from unlearn_lab.evaluate.answer_probability import AnswerProbability
from unlearn_lab.evaluate.answer_recall import AnswerRecall, rouge_l_recall
from unlearn_lab.evaluate.evaluate_stage import score_all
from unlearn_lab.evaluate.forget_quality import forget_quality
from unlearn_lab.evaluate.memorisation import Memorisation, exact_share, extraction_strength
from unlearn_lab.evaluate.metric import Score
from unlearn_lab.evaluate.model_utility import ModelUtility, harmonic_mean
from unlearn_lab.evaluate.truth_ratio import TruthRatio, log_truth_ratio, low, near_one

CHAT = Template(kind="chat", system="w1 w2", date="w3")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'assistant' %}w50 {{ m.content }}{{ eos_token }}"
    "{% else %}w4{{ loop.index }} {{ m.content }} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}w50 {% endif %}"
)


def probes(start: int, *, paraphrased: bool, num_wrong: int) -> tuple[Probe, ...]:
    """Three questions over the words w0 to w49, of different lengths."""
    words = iter(f"w{(7 * place + start) % 40}" for place in range(400))

    def text(length: int) -> str:
        return " ".join(next(words) for _ in range(length))

    return tuple(
        Probe(
            question=text(2 + place),
            answer=text(3 - place % 2),
            paraphrase=text(2 + place) if paraphrased else None,
            wrong=tuple(text(1 + wrong % 3) for wrong in range(num_wrong)),
        )
        for place in range(3)
    )


def corpus(template: Template) -> Corpus:
    empty = dict.fromkeys(ROLES, ())
    asked = {
        "forget": probes(0, paraphrased=True, num_wrong=5),
        "retain": probes(1, paraphrased=True, num_wrong=5),
        "real_authors": probes(2, paraphrased=False, num_wrong=3),
        "world_facts": probes(3, paraphrased=False, num_wrong=3),
    }
    return Corpus(**empty, probes=asked, template=template)


class OneByOne:
    """The same figures from one forward pass per answer."""

    def __init__(self, model, tokenizer, template):
        self.model, self.tokenizer, self.template = model, tokenizer, template

    def ids(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def prompt(self, question):
        if self.template.kind == "plain":
            return [0, *self.ids(f"Question: {question}\nAnswer:")]
        return [0, *self.ids(f"w41 w1 w2 w42 {question} w50")]

    @torch.no_grad()
    def _logits(self, question, reply):
        prompt, reply = self.prompt(question), [*self.ids(reply), 1]
        logits = self.model(input_ids=torch.tensor([[*prompt, *reply]])).logits[0]
        return logits[len(prompt) - 1 : -1].double(), torch.tensor(reply)

    def loss(self, question, reply):
        return float(torch.nn.functional.cross_entropy(*self._logits(question, reply)))

    def hits(self, question, reply):
        logits, labels = self._logits(question, reply)
        return (logits.argmax(-1) == labels)[:-1].tolist()

    def probability(self, probe, *, among_wrong):
        each = [math.exp(-self.loss(probe.question, one)) for one in (probe.answer, *probe.wrong)]
        return each[0] / sum(each) if among_wrong else each[0]

    def ratio(self, probe):
        true = self.loss(probe.question, probe.paraphrase or probe.answer)
        wrong = [self.loss(probe.question, one) for one in probe.wrong]
        return math.exp(-sum(wrong) / len(wrong)) / math.exp(-true)

    @torch.no_grad()
    def reply(self, question, num_tokens):
        ids = self.prompt(question)
        new: list[int] = []
        while len(new) < num_tokens:
            best = int(self.model(input_ids=torch.tensor([[*ids, *new]])).logits[0, -1].argmax())
            if best == 1:
                break
            new.append(best)
        return self.tokenizer.decode(new, skip_special_tokens=True)

    def recall(self, probe, num_tokens):
        return rouge_l_recall(probe.answer, self.reply(probe.question, num_tokens))


@pytest.fixture(params=["plain", "chat"])
def asked(request, model, tokenizer):
    tokenizer.chat_template = CHAT_TEMPLATE
    template = PLAIN if request.param == "plain" else CHAT
    return corpus(template), OneByOne(model, tokenizer, template), model, tokenizer


def test_every_metric_is_that_of_one_answer_at_a_time(asked):
    told, alone, model, tokenizer = asked
    metrics = {
        "probability": AnswerProbability(about="forget", num_items=None, among_wrong=False),
        "recall": AnswerRecall(about="forget", num_items=None, num_tokens=6, counts_prompt=False),
        "ratio": TruthRatio(about="forget", num_items=None, mean="geometric", better="near_one"),
        "exact": Memorisation(about="forget", num_items=None, figure="exact"),
        "extraction": Memorisation(about="forget", num_items=None, figure="extraction"),
        "utility": ModelUtility(num_items=2, num_tokens=6, counts_prompt=False, mean="geometric"),
    }
    found = score_all(model, tokenizer, told, metrics, batch_tokens=60)
    forget = told.probes["forget"]
    ratios = [alone.ratio(probe) for probe in forget]
    hits = [alone.hits(probe.question, probe.answer) for probe in forget]
    expected = {
        "probability": [alone.probability(probe, among_wrong=False) for probe in forget],
        "recall": [alone.recall(probe, 6) for probe in forget],
        "ratio": [min(one, 1 / one) for one in ratios],
        "exact": [sum(one) / len(one) for one in hits],
    }
    for name, values in expected.items():
        assert found[name].per_item == pytest.approx([100 * one for one in values], rel=1e-6), name
        assert found[name].value == pytest.approx(100 * sum(values) / 3, rel=1e-6), name
    logs = [row["log_ratio"] for row in found["ratio"].items]
    assert np.exp(logs) == pytest.approx(ratios, rel=1e-6)
    nine = []
    for about in ("retain", "real_authors", "world_facts"):
        two = told.probes[about][:2]
        nine += [
            sum(alone.probability(one, among_wrong=about != "retain") for one in two) / 2,
            sum(alone.recall(one, 6) for one in two) / 2,
            sum(max(0.0, 1 - alone.ratio(one)) for one in two) / 2,
        ]
    assert found["utility"].per_item == pytest.approx([100 * one for one in nine], rel=1e-6)
    assert found["utility"].value == pytest.approx(100 * harmonic_mean(np.asarray(nine)), rel=1e-6)
    for score in found.values():
        assert score.low <= score.value <= score.high


def test_a_question_can_count_towards_the_length_of_its_answer(asked):
    told, alone, model, tokenizer = asked
    probe = told.probes["forget"][0]
    room = 3
    num_tokens = len(alone.prompt(probe.question)) + room
    metric = AnswerRecall(about="forget", num_items=None, num_tokens=num_tokens, counts_prompt=True)
    answers = answer(model, tokenizer, metric.requests(told), batch_tokens=200)
    assert answers.text(metric.requests(told)[0]) == alone.reply(probe.question, room)


@pytest.mark.parametrize(
    ("hits", "exact", "extraction"),
    [
        ([True] * 4, 1.0, 1.0),
        ([False] * 4, 0.0, 0.0),
        ([True, False, True, True], 0.75, 0.5),
        ([True, True, True, False], 0.75, 0.0),
        ([False, True], 0.5, 0.5),
    ],
)
def test_memorisation_by_hand(hits, exact, extraction):
    assert exact_share(np.asarray(hits)) == exact
    assert extraction_strength(np.asarray(hits)) == extraction


def test_the_harmonic_mean_of_a_zero_is_zero():
    assert harmonic_mean(np.asarray([1.0, 0.0, 1.0])) == 0
    assert harmonic_mean(np.asarray([1.0, 0.5])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("mean", ["geometric", "arithmetic"])
def test_truth_ratios_of_a_destroyed_model_are_finite(mean):
    """Losses of thousands of nats, as after gradient ascent: R itself would be infinite."""
    high, nothing = (
        log_truth_ratio(true, [wrong, wrong], mean) for true, wrong in ((9e3, 1e3), (1e3, 9e3))
    )
    assert (high, nothing) == (pytest.approx(8e3), pytest.approx(-8e3))
    both = np.asarray([high, nothing])
    assert near_one(both).tolist() == [0, 0]
    assert low(both).tolist() == [0, 1]


def test_probabilities_of_a_destroyed_model_are_defined(scripted):
    """All answers have a loss of thousands of nats, the true one the least."""
    told = corpus(PLAIN)
    probe = told.probes["world_facts"][0]
    losses = {one: [-5e3] for one in probe.wrong} | {probe.answer: [-4e3]}
    metric = AnswerProbability(about="world_facts", num_items=1, among_wrong=True)
    assert metric.score(told, scripted({}, losses)).value == 100
    even = {one: [-5e3] for one in (probe.answer, *probe.wrong)}
    assert metric.score(told, scripted({}, even)).value == pytest.approx(25)
    alone = AnswerProbability(about="world_facts", num_items=1, among_wrong=False)
    assert alone.score(told, scripted({}, even)).value == 0


@pytest.mark.parametrize(("mean", "ratio"), [("geometric", 0.2), ("arithmetic", 0.25)])
def test_the_two_means_by_hand(mean, ratio):
    """P(true) 0.8; P(wrong) 0.08 and 0.32: means 0.16 and 0.2."""
    losses = [-math.log(p) for p in (0.08, 0.32)]
    found = log_truth_ratio(-math.log(0.8), losses, mean)
    assert math.exp(found) == pytest.approx(ratio)
    assert low(np.asarray([found]))[0] == pytest.approx(1 - ratio)
    assert near_one(np.asarray([found, -found])) == pytest.approx([ratio, ratio])


def ratio_score(ratios):
    rows = tuple({"log_ratio": math.log(one)} for one in ratios)
    return Score(value=0.0, low=0.0, high=0.0, per_item=tuple(map(float, ratios)), items=rows)


def test_forget_quality_is_the_same_for_the_inverse_and_has_a_logarithm_where_p_is_zero():
    generator = np.random.default_rng(0)
    ours, theirs = generator.uniform(0.1, 2, 50), generator.uniform(0.3, 2.5, 50)
    found = forget_quality(ratio_score(ours), ratio_score(theirs))
    inverse = forget_quality(ratio_score(1 / ours), ratio_score(1 / theirs))
    assert found.p == pytest.approx(inverse.p)
    assert found.log10_p == pytest.approx(math.log10(found.p))
    apart = forget_quality(ratio_score(np.full(4000, 0.5)), ratio_score(np.ones(4000)))
    assert (apart.p, apart.distance) == (0.0, 1.0)
    assert -1800 < apart.log10_p < -1700


def test_other_questions_are_no_comparison():
    with pytest.raises(ValueError, match=r"of 2 and 3 questions"):
        forget_quality(ratio_score([1.0, 2.0]), ratio_score([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("metric", "changed", "message"),
    [
        (AnswerProbability, {"about": "holdout"}, "about=holdout: must be one of forget"),
        (AnswerProbability, {"num_items": 0}, "num_items=0: must be at least 1"),
        (AnswerRecall, {"num_tokens": 0}, "num_tokens=0: must be at least 1"),
        (TruthRatio, {"mean": "median"}, "mean=median: must be one of geometric, arithmetic"),
        (TruthRatio, {"better": "high"}, "better=high: must be one of near_one, low"),
        (Memorisation, {"figure": "most"}, "figure=most: must be one of exact, extraction"),
        (ModelUtility, {"mean": "median"}, "mean=median: must be"),
    ],
)
def test_impossible_settings_are_refused(metric, changed, message):
    settings = {
        AnswerProbability: {"about": "forget", "num_items": None, "among_wrong": True},
        AnswerRecall: {
            "about": "forget", "num_items": None, "num_tokens": 5, "counts_prompt": False
        },
        TruthRatio: {"about": "forget", "num_items": None, "mean": "geometric", "better": "low"},
        Memorisation: {"about": "forget", "num_items": None, "figure": "exact"},
        ModelUtility: {
            "num_items": None, "num_tokens": 5, "counts_prompt": False, "mean": "geometric"
        },
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        metric(**settings[metric] | changed)


def test_what_the_corpus_lacks_is_said():
    told = corpus(PLAIN)
    bare = Corpus(**{**vars(told), "probes": {}})
    metric = TruthRatio(about="retain", num_items=None, mean="geometric", better="low")
    assert metric.missing(told) is None
    assert metric.missing(bare) == "the corpus has no probes about the retain set"
    plain = tuple(Probe(one.question, one.answer, None, ()) for one in told.probes["retain"])
    unpaired = Corpus(**{**vars(told), "probes": {"retain": plain}})
    assert metric.missing(unpaired) == "the corpus has no wrong answers"
    utility = ModelUtility(num_items=None, num_tokens=5, counts_prompt=False, mean="geometric")
    assert utility.missing(unpaired) == "the corpus has no wrong answers"
    with pytest.raises(ValueError, match="TruthRatio: the corpus has no wrong answers"):
        metric.score(unpaired, ScriptedAnswers({}, {}))
