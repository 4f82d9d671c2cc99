"""The smallest sensible run, and what its home holds afterwards."""

import json
from pathlib import Path

SMALL = (
    "trainer=smoke",
    "trainer.batch_size=4",
    "finetune.batch_size=4",
    "dataset.num_forget=5",
    "dataset.num_retain=5",
    "dataset.num_holdout=3",
    "dataset.num_questions=3",
    "dataset.num_examples=1",
    "dataset.num_editions=1",
    "eval.metrics.verbmem.num_tokens=8",
    "eval.metrics.knowmem.num_tokens=4",
    "eval.metrics.utility.num_tokens=4",
    "report.html=false",  # drawing takes a quarter of the time
    "report.wandb.mode=disabled",
    "runtime.claim_look=0.05",
    "runtime.threads=1",
)
SMALL_MODEL = ("model.vocab_size=400", "model.hidden_size=16", "model.intermediate_size=24")


def built(home: Path) -> dict[str, int]:
    """How many artifacts of each stage the cache holds."""
    folders = [path for path in (home / "cache").iterdir() if path.is_dir()]
    folders = [folder for folder in folders if folder.name != "leases"]
    return {folder.name: len(list(folder.glob("*/manifest.json"))) for folder in folders}


def stamps(home: Path) -> dict[str, int]:
    """When each artifact was finished: a rebuilt one would be newer."""
    return {
        str(path): path.stat().st_mtime_ns for path in (home / "cache").glob("*/*/manifest.json")
    }


def unlearned(home: Path) -> Path:
    """Where the unlearned models lie, finished or not."""
    return home / "cache" / "unlearn"


def first_steps(folder: Path) -> int:
    """How often the first step was taken: twice by a training that began anew."""
    rows = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    first = min(row["step"] for row in rows)
    return sum(row["step"] == first and "loss" in row for row in rows)
