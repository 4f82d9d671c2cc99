"""A tiny random Llama, a tokenizer of sixty words, and scripted answers for metrics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unlearn_lab.data.corpus import Corpus, Question, VerbatimPrompt
from unlearn_lab.evaluate.metric import Continue, LogLikelihood

SPECIAL = ("<s>", "</s>", "<unk>")
WORDS = tuple(f"w{index}" for index in range(60))


@pytest.fixture
def model() -> LlamaForCausalLM:
    """Wide initial weights, so that greedy texts wander; float64 against float noise."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).double()


@pytest.fixture
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """Builds the word tokenizer with the special tokens that a test wants."""

    def make(**special: str) -> PreTrainedTokenizerFast:
        vocabulary = {token: index for index, token in enumerate((*SPECIAL, *WORDS))}
        words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", **special)

    return make


@pytest.fixture
def tokenizer(make_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> PreTrainedTokenizerFast:
    """With BOS and EOS, without a padding token, as Llama's."""
    return make_tokenizer(bos_token="<s>", eos_token="</s>")


@dataclass(frozen=True)
class ScriptedAnswers:
    """Answers looked up by prompt or text; truncation counts white-space words."""

    texts: Mapping[str, str]
    scores: Mapping[str, list[float]]

    def text(self, request: Continue) -> str:
        """The scripted continuation."""
        return self.texts[request.prompt]

    def log_probabilities(self, request: LogLikelihood) -> Tensor:
        """The scripted log-probabilities."""
        return torch.tensor(self.scores[request.text])

    def likeliest(self, request: LogLikelihood) -> Tensor:
        """Tokens are likeliest where they are likelier than not."""
        return self.log_probabilities(request).exp() > 1 / 2

    def truncate(self, text: str, num_tokens: int) -> str:
        """The first words."""
        return " ".join(text.split()[:num_tokens])


@pytest.fixture
def scripted() -> type[ScriptedAnswers]:
    """The class of scripted answers."""
    return ScriptedAnswers


@pytest.fixture
def corpus() -> Corpus:
    """Two prompts, two forget and one retain question, two forget and three holdout documents."""
    return Corpus(
        forget=("f",),
        retain=("r",),
        verbatim=(VerbatimPrompt("once", "a b c d e"), VerbatimPrompt("twice", "a b")),
        forget_questions=(Question("Who?", "Ann Lee"), Question("Where?", "in Rome")),
        forget_examples=(Question("Why?", "because"), Question("When?", "now")),
        retain_questions=(Question("What?", "a cat"),),
        retain_examples=(),
        forget_documents=("f1", "f2"),
        holdout_documents=("h1", "h2", "h3"),
    )
