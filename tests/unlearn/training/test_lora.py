"""LoRA: what is trained, what is merged, and what is left behind."""

from importlib.metadata import PackageNotFoundError

import pytest
import torch
from safetensors import safe_open

from unlearn_lab.config.settings import Runtime
from unlearn_lab.models.arithmetic import training_arithmetic
from unlearn_lab.models.linears import block_linears, trained_parameters
from unlearn_lab.unlearn.objectives.forward import Reference
from unlearn_lab.unlearn.training.fit import CHECKPOINT, Batches
from unlearn_lab.unlearn.training.lora import LoRA
from unlearn_lab.unlearn.training.settings import UnlearningTraining
from unlearn_lab.unlearn.training.stop import FixedEpochs

from .test_fit import RUNTIME, Interrupt, adamw, train

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def lora(**changed):
    return LoRA(**{"rank": 3, "alpha": 6.0, "dropout": 0.0, "modules": None} | changed)


def fit(model, sequences, work, **changed):
    """Trains what the adapters left trainable, as the stage does on a CPU."""
    changed.setdefault("make", lambda: adamw(trained_parameters(model).values()))
    with training_arithmetic(model, "fp32"):
        return train(model.train(), sequences, work, **changed)


def weights(model):
    """The model's own, by their names in the checkpoint; adapters left out."""
    return {
        name.replace(".base_layer.", "."): parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if ".lora_" not in name
    }


def adapters(model):
    found = {n: p.detach().clone() for n, p in model.named_parameters() if ".lora_" in n}
    return {name.replace(".default.weight", ""): value for name, value in found.items()}


def logits(model, tokens):
    model.eval()
    with torch.no_grad(), training_arithmetic(model, "fp32"):
        return model(input_ids=tokens.ids, attention_mask=tokens.real.long()).logits


@DTYPES
def test_training_starts_from_the_target_itself(make_llama, tokens, dtype):
    model = make_llama().to(dtype)
    before = logits(model, tokens)
    lora().inject(model, seed=0)
    assert torch.equal(logits(model, tokens), before)


@DTYPES
def test_only_adapters_are_trained_and_held_in_float32(make_llama, sequences, tmp_path, dtype):
    model = make_llama().to(dtype)
    before, shapes = weights(model), [w.weight.shape for w in block_linears(model).values()]
    lora().inject(model, seed=0)
    start = adapters(model)
    trained = trained_parameters(model)
    assert {p.dtype for p in trained.values()} == {torch.float32}
    facts = fit(model, sequences, tmp_path / "w")
    assert facts["trained_parameters"] == sum(3 * (rows + columns) for rows, columns in shapes)
    assert facts["optimizer_state"] == "float32"
    assert {n.replace(".default.weight", "") for n in trained} == start.keys()
    assert all(torch.equal(before[name], value) for name, value in weights(model).items())
    assert all(not torch.equal(start[name], value) for name, value in adapters(model).items())


@DTYPES
def test_the_change_is_added_in_float32_and_rounded_once(make_llama, sequences, tmp_path, dtype):
    model = make_llama().to(dtype)
    before = weights(model)
    made = lora().inject(model, seed=0)
    fit(model, sequences, tmp_path / "w")
    low_rank = adapters(model)
    facts = made.merge()
    changed = total = 0
    for name, weight in weights(model).items():
        layer = name.removesuffix(".weight")
        wanted = before[name]
        if f"{layer}.lora_A" in low_rank:
            change = low_rank[f"{layer}.lora_B"] @ low_rank[f"{layer}.lora_A"] * (6.0 / 3)
            wanted = (before[name].float() + change).to(dtype)
            changed += int((weight != before[name]).sum())
            total += weight.numel()
        assert weight.dtype == dtype
        assert torch.equal(weight, wanted), name
    assert facts["adapter"]["changed"] == changed / total > 0.5
    assert facts["adapter_weights"] == "float32"
    assert facts["adapter"]["library"].startswith("peft ")
    assert (facts["adapter"]["rank"], facts["adapter"]["layers"]) == (3, 14)


def test_merging_keeps_the_logits(make_llama, sequences, tokens, tmp_path):
    model = make_llama().float()
    before = logits(model, tokens)
    made = lora().inject(model, seed=0)
    fit(model, sequences, tmp_path / "w")
    trained = logits(model, tokens)
    made.merge()
    torch.testing.assert_close(logits(model, tokens), trained, rtol=1e-5, atol=1e-5)
    assert (trained - before).abs().max() > 1e-2


def test_what_is_saved_is_an_ordinary_checkpoint(make_llama, tmp_path):
    plain, model = make_llama().float(), make_llama().float()
    attributes = vars(model).keys()
    lora().inject(model, seed=0).merge()
    for name, saved in (("plain", plain), ("merged", model)):
        saved.save_pretrained(tmp_path / name)
    files = [sorted(p.name for p in (tmp_path / n).iterdir()) for n in ("plain", "merged")]
    assert files[0] == files[1]
    with (
        safe_open(tmp_path / "plain" / "model.safetensors", "pt") as one,
        safe_open(tmp_path / "merged" / "model.safetensors", "pt") as other,
    ):
        assert one.keys() == other.keys()
    assert vars(model).keys() == attributes
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]


def test_modules_choose_the_layers(make_llama):
    model = make_llama()
    lora(modules=r"0\..*(up|down)").inject(model, seed=0)
    assert {name.split(".lora_")[0] for name in adapters(model)} == {
        "model.layers.0.mlp.up_proj",
        "model.layers.0.mlp.down_proj",
    }


def test_the_seed_decides_where_adapters_start_and_nothing_else(make_llama):
    one, same, other = make_llama(), make_llama(), make_llama()
    state = torch.get_rng_state()
    for model, seed in ((one, 0), (same, 0), (other, 1)):
        lora().inject(model, seed)
    assert torch.equal(torch.get_rng_state(), state)
    first, again, third = adapters(one), adapters(same), adapters(other)
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert torch.equal(value, third[name]) == name.endswith("lora_B")


def test_dropout_is_drawn_from_the_seed(make_llama, sequences, tmp_path):
    ends = []
    for place, (dropout, seed) in enumerate([(0.5, 0), (0.5, 0), (0.5, 1), (0.0, 0)]):
        model = make_llama().float()
        lora(dropout=dropout).inject(model, seed=0)
        fit(
            model,
            sequences,
            tmp_path / str(place),
            batches=Batches(size=2, pairing="reshuffled", seed=seed),
        )
        ends.append(torch.cat([value.flatten() for value in adapters(model).values()]))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
    assert not torch.equal(ends[0], ends[3])


@DTYPES
def test_a_resumed_training_ends_with_the_same_bits(make_llama, sequences, tmp_path, dtype):
    whole, cut, fresh = (make_llama().to(dtype) for _ in range(3))
    made = [lora(dropout=0.2).inject(model, seed=0) for model in (whole, cut, fresh)]
    fit(whole, sequences, tmp_path / "whole", epochs=6)
    saving = Runtime(**{**vars(RUNTIME), "checkpoint_seconds": 0.0})

    def interrupt(epoch):
        if epoch == 5:
            raise Interrupt

    with pytest.raises(Interrupt):
        fit(cut, sequences, tmp_path / "cut", epochs=6, runtime=saving, should_stop=interrupt)
    assert (tmp_path / "cut" / CHECKPOINT).exists()
    fit(fresh, sequences, tmp_path / "cut", epochs=6)
    for part in (made[0], made[2]):
        part.merge()
    wanted = weights(whole)
    assert all(torch.equal(wanted[name], value) for name, value in weights(fresh).items())


def test_the_reference_needs_no_copy_of_a_head_that_is_not_trained(model):
    copied = Reference(model, None).head.linear
    lora().inject(model, seed=0)
    assert copied is not model.lm_head
    assert Reference(model, None).head.linear is model.lm_head


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rank": 0}, r"^rank=0: must be at least 1"),
        ({"alpha": 0.0}, r"^alpha=0\.0: must be above 0"),
        ({"dropout": 1.0}, r"^dropout=1\.0: must be at least 0 and below 1"),
        ({"dropout": -0.1}, r"^dropout=-0\.1"),
        ({"modules": "("}, r"^modules=\(: .*valid regular expression"),
    ],
)
def test_impossible_settings_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        lora(**changed)


def test_modules_that_are_not_there_are_refused(model):
    with pytest.raises(ValueError, match=r"^modules=lm_head: matches no name .*block linear"):
        lora(modules="lm_head").require_fit(model)


def test_stochastic_rounding_is_refused():
    with pytest.raises(ValueError, match=r"^rounding=stochastic: .*adapter .*nearest"):
        UnlearningTraining(
            weights="bf16",
            arithmetic="fp32",
            rounding="stochastic",
            epochs=1,
            batch_size=1,
            max_length=8,
            chunking="texts",
            pairing="reshuffled",
            clip_norm=None,
            trainable="all",
            adapter=lora(),
            stop=FixedEpochs(),
        )


def test_the_missing_library_is_named_with_its_extra(model, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("unlearn_lab.config.libraries.version", missing)
    with pytest.raises(ValueError, match=r"needs the library peft, .*\.\[lora\]"):
        lora().require_fit(model)
