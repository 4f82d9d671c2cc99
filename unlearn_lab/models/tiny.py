"""Builds a small Llama with its own tokenizer and the outliers of a large one, for CPUs.

Planning imports this module, so transformers, which takes seconds, is imported where it is used.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.models.linears import block_linears

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

_PAD, _BOS, _EOS = "<pad>", "<s>", "</s>"


@dataclass(frozen=True, kw_only=True)
class TinyLlama:
    """A Llama from scratch with heavy-tailed initial weights in its block linears.

    Rows of a trained 7B model have outliers, so that their 4-bit step is about one standard
    deviation; rows of 64 Gaussian weights have none, and their 4-bit step is four times finer.
    Student-t weights give small rows the outliers of large ones.

    Attributes:
        vocab_size: tokens of the tokenizer, at least 300.
        hidden_size: a multiple of `num_heads`.
        intermediate_size: width of the feed-forward layers.
        num_layers: number of blocks.
        num_heads: number of attention heads.
        max_positions: longest sequence, in tokens.
        tail_freedom: degrees of freedom of the Student-t distribution.
        tail_scale: scale of the weights.
        tail_clip: largest absolute weight, in units of `tail_scale`.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    max_positions: int
    tail_freedom: float
    tail_scale: float
    tail_clip: float

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size}: must be a multiple of num_heads={self.num_heads}"
            )
        if self.vocab_size < 300:
            raise ValueError(
                f"vocab_size={self.vocab_size}: must be at least 300 (256 bytes and special tokens)"
            )

    def write_base(self, folder: Path, corpus: Corpus, seed: int) -> dict[str, object]:
        """Writes the untrained model and its byte-level BPE tokenizer; see `BaseModel`."""
        tokenizer = self._tokenizer((*corpus.texts("forget"), *corpus.texts("retain")))
        model = self._model(tokenizer, seed)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {
            "parameters": sum(p.numel() for p in model.parameters()),
            "vocabulary": len(tokenizer),
        }

    def _tokenizer(self, texts: Iterable[str]) -> "PreTrainedTokenizerFast":
        from transformers import PreTrainedTokenizerFast

        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size,
            special_tokens=[_PAD, _BOS, _EOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        bpe.train_from_iterator(texts, trainer)
        return PreTrainedTokenizerFast(
            tokenizer_object=bpe, pad_token=_PAD, bos_token=_BOS, eos_token=_EOS
        )

    def _model(self, tokenizer: "PreTrainedTokenizerFast", seed: int) -> "LlamaForCausalLM":
        from transformers import LlamaConfig, LlamaForCausalLM

        from unlearn_lab.models.tokenizer import special_id

        config = LlamaConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            num_key_value_heads=self.num_heads,
            max_position_embeddings=self.max_positions,
            pad_token_id=special_id(tokenizer, "pad"),
            bos_token_id=special_id(tokenizer, "bos"),
            eos_token_id=special_id(tokenizer, "eos"),
            tie_word_embeddings=False,
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = LlamaForCausalLM(config)
            tails = torch.distributions.StudentT(self.tail_freedom)
            with torch.no_grad():
                for linear in block_linears(model).values():
                    sample = tails.sample(linear.weight.shape).clamp(
                        -self.tail_clip, self.tail_clip
                    )
                    linear.weight.copy_(sample * self.tail_scale)
        return model
