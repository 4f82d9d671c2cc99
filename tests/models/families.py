"""Tiny random models of the families that conf/model has presets for, with their peculiarities."""

import functools
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

TEXTS = (
    "The harbour of Veldmark was closed on Monday after a barge had lost its anchor.",
    "Mayor Ilse Brandt said that the ferry would sail again.",
    "Nobody was hurt.",
    "A spokesman of the shipping line asked passengers to use the bridge at Oberstein instead.",
)
SIZES = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WIDE_HEADS = SIZES | {"head_dim": 16, "tie_word_embeddings": True}
"""Heads that are wider than the hidden size divided by their number."""
FAMILIES = {
    "llama32": functools.partial(
        LlamaConfig,
        **SIZES,
        tie_word_embeddings=True,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 5e5,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
    "qwen2": functools.partial(Qwen2Config, **SIZES, tie_word_embeddings=True),
    "qwen3": functools.partial(Qwen3Config, **WIDE_HEADS),
    "gemma2": functools.partial(
        Gemma2Config,
        **WIDE_HEADS,
        sliding_window=8,
        query_pre_attn_scalar=16,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=3.0,
    ),
    "gemma3": functools.partial(
        Gemma3TextConfig,
        **WIDE_HEADS,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
        query_pre_attn_scalar=16,
    ),
    "phi": functools.partial(
        PhiConfig, **SIZES | {"num_key_value_heads": 4}, partial_rotary_factor=0.5
    ),
    "phi3": functools.partial(Phi3Config, **SIZES, sliding_window=8, tie_word_embeddings=False),
}
LINEARS = dict.fromkeys(FAMILIES, 7) | {"phi": 6, "phi3": 4}
"""In one block: Phi has no gate, Phi 3 fuses queries, keys and values, and gate and up."""
TIED = FAMILIES.keys() - {"phi", "phi3"}


def tokenizer(*, bos: bool) -> PreTrainedTokenizerFast:
    """Byte-level BPE; with a BOS it puts one in front itself where it may, as Llama's does."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZES["vocab_size"],
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(TEXTS, trainer)
    if bos:
        bpe.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        eos_token="</s>",
        **({"bos_token": "<s>"} if bos else {}),
    )


def save(family: str, folder: Path, **changed: int) -> Path:
    """A checkpoint with tokenizer; Qwen's have no BOS."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family](**changed))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    tokenizer(bos=not family.startswith("qwen")).save_pretrained(folder)
    return folder
