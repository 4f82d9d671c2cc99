"""Data sets laid out as on the hub, and a model and a tokenizer that can read their prompts."""

import random

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SUBJECT = "abstract_algebra"
LETTERS = "ABCD"


def ascii_tokenizer():
    """One token a character."""
    characters = ["<s>", "</s>", "\n", *(chr(code) for code in range(32, 127))]
    vocabulary = {character: index for index, character in enumerate(characters)}
    letters = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    letters.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=letters, bos_token="<s>", eos_token="</s>")


def wide_llama(positions=4096):
    """Wide initial weights, so that answers differ from item to item."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=98,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=positions,
        initializer_range=0.5,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config)


def write(folder, config, **splits):
    """A folder a configuration, parquet files, and a card that names them."""
    (folder / config).mkdir(parents=True)
    for split, rows in splits.items():
        Dataset.from_list(rows).to_parquet(folder / config / f"{split}-00000-of-00001.parquet")
    files = "".join(f"  - split: {split}\n    path: {config}/{split}-*\n" for split in splits)
    card = folder / "README.md"
    head = card.read_text().removesuffix("---\n") if card.exists() else "---\nconfigs:\n"
    card.write_text(f"{head}- config_name: {config}\n  data_files:\n{files}---\n")


def rows_of(folder, config, split):
    return Dataset.from_parquet(str(folder / config / f"{split}-00000-of-00001.parquet")).to_list()


def words(rng, number):
    return " ".join(rng.choices(("sum", "ring", "field", "root", "cat", "seven"), k=number))


def write_mmlu(folder, subjects=(SUBJECT,), num_test=7, seed=0):
    """As cais/mmlu: five development questions a subject."""
    rng = random.Random(seed)

    def questions(number):
        return [
            {
                "question": f"{words(rng, 4)}?",
                "subject": "any",
                "choices": [words(rng, 2) for _ in LETTERS],
                "answer": rng.randrange(4),
            }
            for _ in range(number)
        ]

    for subject in subjects:
        write(folder, subject, test=questions(num_test), dev=questions(5))
    return folder


def write_truthfulqa(folder, num_rows=6):
    """As truthfulqa/truthful_qa: the true answer comes first."""
    rng, rows = random.Random(1), []
    for _ in range(num_rows):
        answers = [words(rng, 1 + rng.randrange(3)) for _ in range(3)]
        targets = {"choices": answers, "labels": [1, 0, 0]}
        rows.append(
            {"question": f"{words(rng, 3)}?", "mc1_targets": targets, "mc2_targets": targets}
        )
    write(folder, "multiple_choice", validation=rows)
    return folder


def write_triviaqa(folder, answers):
    """As mandarjoshi/trivia_qa: one question an answer, which is the second of its aliases."""
    rows = [
        {"question": question, "answer": {"value": answer, "aliases": ["another", answer]}}
        for question, answer in answers.items()
    ]
    write(folder, "rc.nocontext", train=rows, validation=rows)
    return folder
