import pytest
import torch
from transformers import PreTrainedTokenizerFast

from unlearn_lab.data.batch import Answered, Tokens, ids_of, pad, prompt_length
from unlearn_lab.data.tokenise import chunk
from unlearn_lab.models import causal_lm
from unlearn_lab.unlearn.objectives.forward import ModelForward, remember_reference
from unlearn_lab.unlearn.objectives.ga import GradientAscent
from unlearn_lab.unlearn.objectives.likelihood import token_kl
from unlearn_lab.unlearn.objectives.npo import NPO, NPOLogits
from unlearn_lab.unlearn.objectives.objective import Learning, Unlearning
from unlearn_lab.unlearn.objectives.retain import RetainKL, RetainNLL

OBJECTIVES = {
    "ga": Unlearning(forget=GradientAscent(), retain=None),
    "ga_gdr": Unlearning(forget=GradientAscent(), retain=RetainNLL(weight=2.0)),
    "ga_klr": Unlearning(
        forget=GradientAscent(), retain=RetainKL(weight=2.0, variant="divergence")
    ),
    "npo": Unlearning(forget=NPO(beta=0.1), retain=None),
    "npo_gdr": Unlearning(forget=NPO(beta=0.1), retain=RetainNLL(weight=2.0)),
    "npo_klr": Unlearning(forget=NPO(beta=0.1), retain=RetainKL(weight=2.0, variant="divergence")),
    "npo_muse": Unlearning(forget=NPOLogits(beta=0.1), retain=None),
    "npo_muse_klr": Unlearning(
        forget=NPOLogits(beta=0.1), retain=RetainKL(weight=2.0, variant="raw_logits")
    ),
    "ga_klr_sum": Unlearning(
        forget=GradientAscent(), retain=RetainKL(weight=2.0, variant="token_sum")
    ),
}


def nll_by_hand(model, sequences):
    """Per-token NLL, one sequence at a time, straight from the logits."""
    return [
        -logits_of(model, one).log_softmax(-1).gather(1, ids_of(one)[prompt_length(one) :, None])
        for one in sequences
    ]


def logits_of(model, sequence):
    """At the positions that predict a token of the answer, or of a text."""
    return model(input_ids=ids_of(sequence)[None]).logits[0, prompt_length(sequence) - 1 : -1]


def evaluate(objective, target, policy, sequences):
    splits = {role: sequences for role in objective.roles}
    reference = remember_reference(
        target,
        splits,
        0,
        likelihood_of=objective.likelihood_of,
        distribution_of=objective.distribution_of,
        batch_size=3,
    )
    forward = ModelForward(policy, reference)
    return objective(forward, {role: pad(sequences, range(len(sequences)), 0) for role in splits})


def as_published(target, policy, sequences):
    """MUSE's two losses by its formulas, over the positions that predict something."""
    elements, sums = [], []
    for sequence in sequences:
        before, now = logits_of(target, sequence), logits_of(policy, sequence)
        elements.append(-torch.sigmoid(0.1 * (before - now)).log() * 2 / 0.1)
        sums.append(torch.nn.functional.kl_div(now, before, reduction="sum", log_target=True))
    return torch.cat(elements).mean(), torch.stack(sums).mean()


@pytest.fixture
def policy(make_llama):
    return make_llama(5)


@pytest.mark.parametrize("prompts", [(), (1, 2, 1, 3)], ids=["texts", "answers"])
def test_the_terms_of_all_methods_equal_one_item_at_a_time(model, policy, sequences, prompts):
    """Token means run over all tokens of the batch that are learnt, NPO over sequence sums."""
    if prompts:
        sequences = [Answered(*pair) for pair in zip(sequences, prompts, strict=True)]
    now, before = nll_by_hand(policy, sequences), nll_by_hand(model, sequences)
    nll = torch.cat(now).mean()
    ratios = torch.stack([b.sum() - n.sum() for n, b in zip(now, before, strict=True)])
    npo = (2 / 0.1) * torch.log1p(torch.exp(0.1 * ratios)).mean()
    kls = []
    for sequence in sequences:
        p, q = (logits_of(one, sequence).log_softmax(-1) for one in (model, policy))
        kls.append((p.exp() * (p - q)).sum(-1))
    kl = torch.cat(kls).mean()
    npo_muse, raw_kl = as_published(model, policy, sequences)
    wanted = {
        "npo_muse": npo_muse,
        "npo_muse_klr": npo_muse + 2 * raw_kl,
        "ga_klr_sum": -nll + 2 * torch.cat(kls).sum() / len(sequences),
        "ga": -nll,
        "npo": npo,
        "ga_gdr": -nll + 2 * nll,
        "npo_gdr": npo + 2 * nll,
        "ga_klr": -nll + 2 * kl,
        "npo_klr": npo + 2 * kl,
    }
    for name, objective in OBJECTIVES.items():
        terms = evaluate(objective, model, policy, sequences)
        assert terms.total.item() == pytest.approx(wanted[name].item(), rel=1e-9), name


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_do_not_depend_on_padding_or_order(name, model, policy, sequences):
    one = evaluate(OBJECTIVES[name], model, policy, sequences).total
    order = [2, 0, 3, 1]
    shuffled = [sequences[i] for i in order]
    assert evaluate(OBJECTIVES[name], model, policy, shuffled).total.item() == pytest.approx(
        one.item(), rel=1e-9
    )


@pytest.mark.parametrize("stored", [2**26, 3 * 23], ids=["stored", "recomputed"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_do_not_depend_on_chunks(name, stored, model, policy, sequences, monkeypatch):
    """Chunks of three tokens, stored or recomputed, against all tokens at once."""

    def gradients():
        policy.zero_grad()
        evaluate(OBJECTIVES[name], model, policy, sequences).total.backward()
        return [p.grad.clone() for p in policy.parameters()]

    whole = gradients()
    monkeypatch.setattr(causal_lm, "CHUNK_ELEMENTS", 3 * 23)
    monkeypatch.setattr(causal_lm, "STORED_ELEMENTS", stored)
    for one, other in zip(whole, gradients(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_the_target_itself_has_no_kl_and_npo_log_2(model, sequences):
    klr = evaluate(OBJECTIVES["ga_klr"], model, model, sequences)
    assert klr.parts["retain"].item() == pytest.approx(0, abs=1e-12)
    npo = evaluate(OBJECTIVES["npo"], model, model, sequences)
    assert npo.total.item() == pytest.approx(20 * torch.tensor(2.0).log().item(), rel=1e-6)


def test_the_reference_stays_what_the_target_was_when_the_model_is_trained(
    model, sequences, make_llama
):
    """The reference was made from the model itself: training it must not move the reference."""
    objective = OBJECTIVES["npo_klr"]
    splits = {"forget": sequences, "retain": sequences}
    reference = remember_reference(
        model,
        splits,
        0,
        likelihood_of=objective.likelihood_of,
        distribution_of=objective.distribution_of,
        batch_size=2,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    batch = {role: pad(sequences, range(4), 0) for role in splits}
    moved = objective(ModelForward(model, reference), batch)
    wanted = evaluate(objective, make_llama(0), model, sequences)
    assert moved.total.item() == pytest.approx(wanted.total.item(), rel=1e-9)
    assert moved.parts["retain"].item() > 0.01


def test_references_follow_the_index_of_a_text(model, policy, sequences):
    objective = OBJECTIVES["npo_klr"]
    reference = remember_reference(
        model,
        {"forget": sequences, "retain": sequences},
        0,
        likelihood_of=("forget",),
        distribution_of=("retain",),
        batch_size=4,
    )
    pick = [3, 1]
    tokens = pad([sequences[i] for i in pick], pick, 0)
    some = objective(ModelForward(policy, reference), {"forget": tokens, "retain": tokens})
    alone = evaluate(objective, model, policy, [sequences[i] for i in pick])
    assert some.total.item() == pytest.approx(alone.total.item(), rel=1e-9)


def length_normalised(prediction, beta, gamma):
    """SimNPO (arXiv 2410.07163) of each sequence, from what a prediction tells."""
    mean = prediction.sequence_log_likelihood() / prediction.num_tokens
    return -(2 / beta) * torch.nn.functional.logsigmoid(-beta * mean - gamma)


def test_predicted_tokens_are_counted_without_padding(model, sequences, tokens):
    """SimNPO by hand, one sequence at a time: -log pi / |y| is the mean of its tokens' NLL."""
    padded = pad([*sequences, torch.arange(3, 15)], range(5), 0)
    longer = Tokens(padded.ids[:4], padded.real[:4], padded.index[:4])
    means = torch.stack([nll.mean() for nll in nll_by_hand(model, sequences)])
    wanted = (2 / 0.5) * torch.log1p(torch.exp(-(0.5 * means - 0.1)))
    for batch in (tokens, longer):
        prediction = ModelForward(model, None).policy(batch)
        assert prediction.num_tokens.tolist() == [6, 3, 8, 4]
        assert prediction.num_tokens.sum() == len(prediction.token_log_likelihood())
        found = length_normalised(prediction, beta=0.5, gamma=0.1)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)


def test_predicted_tokens_of_shares_are_those_of_the_batch(model, sequences):
    """Several processes deal a batch out; the last may get none of it."""
    shares = [range(4)[rank::3] for rank in range(3)] + [range(0)]
    found = [
        ModelForward(model, None).policy(pad([sequences[i] for i in share], share, 0)).num_tokens
        for share in shares
    ]
    assert [share.tolist() for share in found] == [[6, 4], [3], [8], []]


@pytest.mark.parametrize("chunking", ["texts", "stream"])
def test_predicted_tokens_of_chunks_are_all_but_the_first(model, checkpoint, chunking):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoint)
    texts = ["w1 w2 w3 w4 w5 w6 w7", "w1 w2"]
    sequences = chunk(texts, tokenizer, 4, chunking)
    prediction = ModelForward(model, None).policy(pad(sequences, range(len(sequences)), 0))
    assert prediction.num_tokens.tolist() == [len(sequence) - 1 for sequence in sequences]
    assert prediction.num_tokens.min() > 0


def test_weight_zero_leaves_the_forget_term(model, policy, sequences):
    weightless = Unlearning(forget=GradientAscent(), retain=RetainNLL(weight=0.0))
    alone = evaluate(OBJECTIVES["ga"], model, policy, sequences).total
    assert evaluate(weightless, model, policy, sequences).total.item() == pytest.approx(
        alone.item()
    )


def test_fine_tuning_is_the_token_mean(model, sequences):
    learned = evaluate(Learning(), model, model, sequences)
    assert learned.total.item() == pytest.approx(
        torch.cat(nll_by_hand(model, sequences)).mean().item(), rel=1e-9
    )
    assert list(learned.parts) == ["learn"]


def test_accuracies_count_right_tokens(model, sequences):
    tokens = pad(sequences, range(4), 0)
    right = total = 0
    for sequence in sequences:
        guess = model(input_ids=sequence[None]).logits[0, :-1].argmax(-1)
        right += int((guess == sequence[1:]).sum())
        total += len(sequence) - 1
    forward = ModelForward(model, None)
    batch = {"learn": tokens}
    Learning()(forward, batch)
    assert forward.accuracies(batch) == {"learn_accuracy": pytest.approx(right / total)}


def test_a_missing_reference_is_an_error(model, tokens):
    forward = ModelForward(model, None)
    with pytest.raises(ValueError, match="likelihood_of"):
        forward.reference_log_likelihood(tokens)
    with pytest.raises(ValueError, match="distribution_of"):
        forward.policy(tokens).against_reference(token_kl, "retain")
    with pytest.raises(ValueError, match=r"no loss .*computed"):
        _ = forward.policy(tokens).accuracy


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NPO(beta=0.0), r"beta=0\.0: must be above 0"),
        (lambda: NPOLogits(beta=-1.0), r"beta=-1\.0: must be above 0"),
        (lambda: RetainNLL(weight=-1.0), r"weight=-1\.0: must be 0 or more"),
        (lambda: RetainKL(weight=-0.5, variant="divergence"), r"weight=-0\.5: must be 0 or more"),
    ],
)
def test_impossible_values_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_soft_capped_head_is_supported_and_a_scaled_one_refused(tokens):
    from transformers import Gemma2Config, Gemma2ForCausalLM, GraniteConfig, GraniteForCausalLM

    sizes = {
        "vocab_size": 23,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
    }
    torch.manual_seed(0)
    gemma = Gemma2ForCausalLM(
        Gemma2Config(**sizes, head_dim=8, final_logit_softcapping=0.5, initializer_range=0.5)
    )
    causal_lm.require_plain_head(gemma, tokens)
    with pytest.raises(ValueError, match=r"GraniteForCausalLM scales .*logits"):
        causal_lm.require_plain_head(
            GraniteForCausalLM(GraniteConfig(**sizes, logits_scaling=9.0, initializer_range=0.5)),
            tokens,
        )
