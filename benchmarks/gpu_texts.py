"""Texts and a tokenizer for measurements without a network."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.gazette import Gazette


def newspaper() -> Corpus:
    """Returns the embedded corpus in small."""
    return Gazette(
        seed=0, num_forget=8, num_retain=8, num_holdout=4, num_questions=20, num_examples=3,
        num_column_pairs=6, num_editions=1, num_fillers=1, prompt_words=12,
    ).load()  # fmt: skip


def byte_pairs(corpus: Corpus) -> PreTrainedTokenizerFast:
    """Trains a byte-level tokenizer on the corpus."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel()
    trained.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        corpus.forget,
        trainers.BpeTrainer(
            vocab_size=512, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
