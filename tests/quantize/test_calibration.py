"""Which text a calibrated quantizer sees: by hand, by seed, and what is refused."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from unlearn_lab.data.corpus import Corpus
from unlearn_lab.quantize.calibration import Calibration

BOS, EOS = 0, 1
# The tokenizer's words are w2 .. w19, and the token of w7 is 7.
FORGET, RETAIN, GENERIC = range(2, 8), range(8, 14), range(14, 20)


@dataclass(frozen=True)
class Texts:
    texts: tuple[str, ...]

    def load(self) -> tuple[str, ...]:
        return self.texts


def spell(*words: int) -> str:
    return " ".join(f"w{word}" for word in words)


def articles(words: Sequence[int], count: int = 12) -> tuple[str, ...]:
    """Texts of one to five words, no two alike within the first twelve."""
    return tuple(
        spell(*(words[(index + place) % 6] for place in range(index // 6 * 2 + 1)))
        for index in range(count)
    )


CORPUS = Corpus(
    forget=articles(FORGET),
    retain=articles(RETAIN),
    verbatim=(),
    forget_questions=(),
    forget_examples=(),
    retain_questions=(),
    retain_examples=(),
    forget_documents=(),
    holdout_documents=(),
)
RETAINED = Calibration(source="retain", num_samples=4, length=5, seed=0, text=None)
MIXED = replace(RETAINED, source="mixed", text=Texts(articles(GENERIC)))


@pytest.fixture(scope="module")
def tokenizer(checkpoint: str) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(checkpoint)


def letters(ids: Sequence[int]) -> str:
    """One letter a token, so that sequences can be split and compared as strings."""
    return "".join(chr(ord("A") + token) for token in ids)


def words_of(ids: torch.Tensor) -> set[int]:
    return set(ids.flatten().tolist()) - {BOS, EOS}


def test_two_texts_by_hand(tokenizer: PreTrainedTokenizerBase) -> None:
    """<s> w8 w9 </s> and <s> w10 w11 w12 </s> are nine tokens, so three pieces of three."""
    corpus = replace(CORPUS, retain=("w8 w9", "w10 w11 w12"))
    drawn = [
        replace(RETAINED, num_samples=3, length=3, seed=seed).draw(corpus, tokenizer).tolist()
        for seed in range(8)
    ]
    assert {str(sequences) for sequences in drawn} == {
        str([[0, 8, 9], [1, 0, 10], [11, 12, 1]]),
        str([[0, 10, 11], [12, 1, 0], [8, 9, 1]]),
    }


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 3))
def test_the_sequences_are_the_start_of_one_stream_without_padding(
    tokenizer: PreTrainedTokenizerBase, num_samples: int, length: int, seed: int
) -> None:
    """Taken apart at </s>, the stream is whole texts of the source, each used once."""
    chosen = replace(RETAINED, num_samples=num_samples, length=length, seed=seed)
    ids = chosen.draw(CORPUS, tokenizer)
    assert ids.shape == (num_samples, length)
    assert ids.dtype == torch.long
    *whole, rest = letters(ids.flatten().tolist()).split(letters([EOS]))
    known = [letters([BOS, *map(int, text.replace("w", "").split())]) for text in CORPUS.retain]
    assert len(set(whole)) == len(whole)
    assert set(whole) <= set(known)
    assert any(text.startswith(rest) for text in known)


def test_the_seed_decides_the_order_and_nothing_else_does(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    first = MIXED.draw(CORPUS, tokenizer)
    torch.manual_seed(1)
    assert torch.equal(MIXED.draw(CORPUS, tokenizer), first)
    others = [replace(MIXED, seed=seed).draw(CORPUS, tokenizer) for seed in range(1, 4)]
    assert not any(torch.equal(other, first) for other in others)


@pytest.mark.parametrize(
    ("source", "words"), [("generic", GENERIC), ("retain", RETAIN), ("forget", FORGET)]
)
def test_each_source_gives_its_own_texts(
    tokenizer: PreTrainedTokenizerBase, source: str, words: range
) -> None:
    ids = replace(MIXED, source=source).draw(CORPUS, tokenizer)
    assert words_of(ids)
    assert words_of(ids) <= set(words)


@pytest.mark.parametrize(("num_samples", "num_generic"), [(2, 1), (4, 2), (5, 3), (7, 4)])
def test_mixed_is_half_generic_and_half_retained_text(
    tokenizer: PreTrainedTokenizerBase, num_samples: int, num_generic: int
) -> None:
    """The odd one is generic."""
    ids = replace(MIXED, num_samples=num_samples).draw(CORPUS, tokenizer)
    assert ids.shape == (num_samples, 5)
    assert words_of(ids[:num_generic]) <= set(GENERIC)
    assert words_of(ids[num_generic:]) <= set(RETAIN)
    assert all(words_of(sequence) for sequence in ids)


def test_too_little_text_is_refused_with_the_counts(tokenizer: PreTrainedTokenizerBase) -> None:
    """Two texts of one word, each with <s> and </s>: six tokens, one sequence of five."""
    corpus = replace(CORPUS, retain=("w8", "w9"))
    assert replace(RETAINED, num_samples=1).draw(corpus, tokenizer).shape == (1, 5)
    with pytest.raises(
        ValueError,
        match=r"num_samples=2: .*retain texts.* 1 sequences of 5 tokens.* 2 .*needed",
    ):
        replace(RETAINED, num_samples=2).draw(corpus, tokenizer)
    with pytest.raises(
        ValueError, match=r"num_samples=4: .*retain texts.* 1 sequences.* 2 .*needed"
    ):
        MIXED.draw(corpus, tokenizer)
    with pytest.raises(
        ValueError, match=r"num_samples=4: .*generic texts.* 0 sequences of 5 tokens"
    ):
        replace(MIXED, text=Texts(())).draw(CORPUS, tokenizer)


def test_forget_texts_under_another_name_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    """Other white space does not hide them."""
    leak = CORPUS.forget[8].replace(" ", " \n ") + "\n"
    leaking = Texts((*articles(GENERIC), CORPUS.forget[0], leak))
    for source in ("generic", "mixed"):
        with pytest.raises(
            ValueError,
            match=rf"source={source}: 2 .*generic texts .*forget texts; .*calibration=forget",
        ):
            replace(MIXED, source=source, text=leaking).draw(CORPUS, tokenizer)
    corpus = replace(CORPUS, retain=(*CORPUS.retain, leak))
    for calibration in (RETAINED, MIXED):
        with pytest.raises(
            ValueError, match=rf"source={calibration.source}: 1 .*retain .*forget texts"
        ):
            calibration.draw(corpus, tokenizer)


def test_texts_of_another_source_do_not_matter(tokenizer: PreTrainedTokenizerBase) -> None:
    leaking = replace(MIXED, source="retain", text=Texts(CORPUS.forget))
    assert torch.equal(leaking.draw(CORPUS, tokenizer), RETAINED.draw(CORPUS, tokenizer))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "holdout"}, "source='holdout': .*one of generic, retain, forget, mixed"),
        ({"num_samples": 0}, "num_samples=0: must be at least 1"),
        ({"length": 0}, "length=0: must be at least 1"),
        ({"num_samples": 1}, "num_samples=1: .*at least 2 .*mixed"),
        ({"text": None}, "text=null: source=mixed needs texts; .*generic_text=hf"),
        ({"text": None, "source": "generic"}, "text=null: source=generic needs texts"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(MIXED, **changes)


def test_forget_texts_are_recognised_however_they_were_cut(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Without their last word, two in one, and halves; a quotation of a few words is none."""
    words = " ".join(f"w{2 + place % 17}" for place in range(40)).split()
    corpus = replace(CORPUS, forget=(" ".join(words), " ".join(reversed(words))))
    cuts = (words[:-1], [*words, *reversed(words)], words[:20], words[20:])
    for cut in cuts:
        leaking = replace(MIXED, source="generic", text=Texts((" ".join(cut),)))
        with pytest.raises(ValueError, match=r"source=generic: 1 .*generic texts .*forget texts"):
            leaking.draw(corpus, tokenizer)
    quoting = Texts((" ".join([*["w2"] * 40, *words[:9], *["w3"] * 40]),))
    replace(MIXED, source="generic", num_samples=1, text=quoting).draw(corpus, tokenizer)
