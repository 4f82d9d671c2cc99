"""Every family of conf/model, from loading to answers, against transformers' own logits."""

import copy
import dataclasses

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.unlearn.training.test_fit import RUNTIME
from unlearn_lab.data.batch import pad
from unlearn_lab.data.tokenise import encode
from unlearn_lab.evaluate.answer import answer
from unlearn_lab.evaluate.metric import Continue, LogLikelihood
from unlearn_lab.models.arithmetic import training_arithmetic
from unlearn_lab.models.causal_lm import require_plain_head
from unlearn_lab.models.linears import block_linears, choose_trainable, trained_parameters
from unlearn_lab.models.load import load_model, load_tokenizer
from unlearn_lab.models.recompute import recomputed_blocks
from unlearn_lab.quantize.rtn import RTN
from unlearn_lab.unlearn.objectives.forward import ModelForward, remember_reference
from unlearn_lab.unlearn.objectives.ga import GradientAscent
from unlearn_lab.unlearn.objectives.npo import NPO
from unlearn_lab.unlearn.objectives.objective import Unlearning
from unlearn_lab.unlearn.objectives.retain import RetainKL, RetainNLL
from unlearn_lab.unlearn.optimizers.saliency import mean_gradient, unit_scores
from unlearn_lab.unlearn.optimizers.saliency_stage import forget_losses
from unlearn_lab.unlearn.optimizers.units import layouts_of
from unlearn_lab.unlearn.training.lora import LoRA

from .families import FAMILIES, LINEARS, SIZES, TEXTS, TIED, save

GA_GDR = Unlearning(forget=GradientAscent(), retain=RetainNLL(weight=1.0))
NPO_KLR = Unlearning(forget=NPO(beta=0.1), retain=RetainKL(weight=1.0, variant="divergence"))
NUM_NEW = 6


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folder(family, tmp_path_factory):
    return save(family, tmp_path_factory.mktemp(family))


@pytest.fixture
def model(folder):
    return load_model(folder, "fp32").eval()


@pytest.fixture
def tokens_of(folder):
    return load_tokenizer(folder)


@pytest.fixture
def sequences(tokens_of):
    return encode(TEXTS, tokens_of, 64)


@pytest.fixture
def splits(sequences):
    return {"forget": sequences[:2], "retain": sequences[2:]}


def log_probabilities(model, ids):
    """Of each token but the first, from the model's own logits of one sequence, unpadded."""
    logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
    return logits.float().log_softmax(-1)


def of_labels(values, ids):
    return values.gather(1, ids[1:, None]).squeeze(1)


def test_logits_are_those_of_the_eager_attention(folder, model, sequences):
    """Gemma 2 caps its attention scores, which SDPA would leave out in silence."""
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").double()
    precise = copy.deepcopy(model).double()  # norms stay in float32, where processors differ
    for ids in sequences:
        torch.testing.assert_close(
            precise(input_ids=ids[None]).logits,
            plain(input_ids=ids[None]).logits,
            rtol=0,
            atol=1e-5,
        )


def test_block_linears_and_head(family, model, sequences):
    assert len(block_linears(model)) == LINEARS[family] * SIZES["num_hidden_layers"]
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == (family in TIED)
    require_plain_head(model, pad(sequences, range(4), 0))


def ga_gdr(target, model, splits):
    forget, retain = (
        torch.cat([of_labels(log_probabilities(model, ids), ids) for ids in splits[role]])
        for role in ("forget", "retain")
    )
    return forget.mean() - retain.mean()


def npo_klr(target, model, splits):
    ratios = [
        (
            of_labels(log_probabilities(model, ids), ids)
            - of_labels(log_probabilities(target, ids), ids)
        ).sum()
        for ids in splits["forget"]
    ]
    preference = 20 * torch.stack([(1 + (0.1 * ratio).exp()).log() for ratio in ratios]).mean()
    divergences = [
        (before.exp() * (before - log_probabilities(model, ids))).sum(-1)
        for ids in splits["retain"]
        for before in [log_probabilities(target, ids)]
    ]
    return preference + torch.cat(divergences).mean()


@pytest.mark.parametrize(("objective", "straight"), [(GA_GDR, ga_gdr), (NPO_KLR, npo_klr)])
def test_losses_and_gradients_with_all_weights_trained(model, splits, objective, straight):
    """The reference must keep the target's head, also where that is the embedding in training."""
    target = copy.deepcopy(model)
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
            parameter.add_(0.02 * torch.randn(parameter.shape).sign())
    batch = {role: pad(ids, range(2), 0) for role, ids in splits.items()}
    found = objective(ModelForward(model, reference), batch).total
    wanted = straight(target, model, splits)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    names, parameters = zip(*model.named_parameters(), strict=True)
    ours, theirs = (torch.autograd.grad(loss, parameters) for loss in (found, wanted))
    for name, one, other in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, msg=name)


def greedy(model, tokenizer, prompt):
    """Token by token, without padding and cache."""
    ids = start = encode([prompt], tokenizer, 100)[0][:-1]
    while len(ids) < len(start) + NUM_NEW:
        best = model(input_ids=ids[None], use_cache=False).logits[0, -1].argmax()
        if best == tokenizer.eos_token_id:
            break
        ids = torch.cat([ids, best[None]])
    return tokenizer.decode(ids[len(start) :], skip_special_tokens=True)


@torch.no_grad()
def test_answers_in_batches_are_those_one_by_one(model, tokens_of):
    """Prompts shorter and longer than the sliding windows, side by side, padded on the left."""
    prompts = [Continue(prompt=text, num_tokens=NUM_NEW) for text in TEXTS]
    texts = [LogLikelihood(text=text, num_tokens=None) for text in TEXTS]
    found = answer(model, tokens_of, [*prompts, *texts], batch_tokens=10_000)
    for text, prompt, asked in zip(TEXTS, prompts, texts, strict=True):
        assert found.text(prompt) == greedy(model, tokens_of, text)
        ids = encode([text], tokens_of, 100)[0][:-1]
        wanted = of_labels(log_probabilities(model, ids), ids)
        torch.testing.assert_close(found.log_probabilities(asked), wanted, rtol=1e-4, atol=1e-4)


def test_rounding_changes_every_block_linear_and_nothing_else(model):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    linears = block_linears(model)
    quantizer = RTN(bits=4, symmetric=True, granularity="row", group_size=None, convention="absmax")
    assert quantizer.quantize(model).weight_error.keys() == linears.keys()
    for name, parameter in model.named_parameters():
        rounded = name.removesuffix(".weight") in linears
        assert torch.equal(parameter, before[name]) != rounded
        assert not rounded or all(len(row.unique()) <= 15 for row in parameter)


@pytest.mark.parametrize("granularity", ["row", "head"])
def test_saliencies_are_norms_of_units(family, model, splits, granularity):
    if (family, granularity) == ("phi3", "head"):
        with pytest.raises(ValueError, match="granularity=head: no attention projection q_proj"):
            layouts_of(model, trained_parameters(model), granularity, None)
        return
    layouts = layouts_of(model, trained_parameters(model), granularity, None)
    parameters = {name: model.get_parameter(name) for name in layouts}
    losses = forget_losses(model, GradientAscent(), splits["forget"], None, 0, [(0, 1)])
    scores = unit_scores(mean_gradient(parameters, losses), layouts)
    lines = [of_labels(log_probabilities(model, ids), ids) for ids in splits["forget"]]
    loss = torch.cat(lines).mean()
    name = "model.layers.1.self_attn." + ("qkv_proj" if family == "phi3" else "q_proj") + ".weight"
    wanted = torch.autograd.grad(loss, model.get_parameter(name))[0]
    if granularity == "head":
        wanted = wanted.view(SIZES["num_attention_heads"], -1)
    torch.testing.assert_close(scores[name], wanted.norm(dim=1), rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_adapters_are_merged_into_what_the_model_with_them_was(family, model, splits):
    count, ids = len(list(model.named_parameters())), splits["forget"][0][None]
    adapters = LoRA(rank=2, alpha=4.0, dropout=0.0, modules=None).inject(model, seed=0)
    for name, parameter in model.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    before = model(input_ids=ids).logits
    assert adapters.merge()["adapter"]["layers"] == 2 * LINEARS[family]
    assert len(list(model.named_parameters())) == count
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == (family in TIED)
    torch.testing.assert_close(model(input_ids=ids).logits, before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("trainable", ["all", "block_linears"])
def test_recomputed_blocks_give_the_same_gradients_in_bfloat16(folder, splits, trainable):
    model = load_model(folder, "bf16").train()
    choose_trainable(model, trainable)
    batch = {role: pad(ids, range(2), 0) for role, ids in splits.items()}
    found = []
    for wanted in (True, False):
        runtime = dataclasses.replace(RUNTIME, gradient_checkpointing=wanted)
        with training_arithmetic(model, "fp32"), recomputed_blocks(model, runtime):
            GA_GDR(ModelForward(model, None), batch).total.backward()
            found.append({n: p.grad.clone() for n, p in trained_parameters(model).items()})
        model.zero_grad()
    assert found[0].keys() == found[1].keys() == trained_parameters(model).keys()
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    assert any(value.abs().max() > 1e-3 for value in found[0].values())
