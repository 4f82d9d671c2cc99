"""Run by torchrun on each of two processes: a short SURE training under DDP, and what moved."""

import hashlib
import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from tests.unlearn.conftest import random_llama
from tests.unlearn.test_sure import OBJECTIVE, moved_rows, prepare, sure, weights
from unlearn_lab.data.batch import Collate, PairedTexts
from unlearn_lab.unlearn.mask import read_mask
from unlearn_lab.unlearn.module import UnlearnModule


def main(folder):
    generator = torch.Generator().manual_seed(1)
    texts = [torch.randint(3, 23, (9,), generator=generator) for _ in range(8)]
    model = random_llama()
    before = weights(model)
    trainer = Trainer(
        accelerator="cpu",
        strategy="ddp",
        devices=2,
        max_epochs=3,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    work = folder / f"work{trainer.global_rank}"
    prepared = prepare(sure(), model, texts, work)
    loader = DataLoader(
        PairedTexts(dict.fromkeys(OBJECTIVE.roles, texts)),
        batch_size=2,
        collate_fn=Collate(0, OBJECTIVE.roles),
        sampler=[(i, i) for i in range(trainer.global_rank * 4, trainer.global_rank * 4 + 4)],
    )
    module = UnlearnModule(model, OBJECTIVE, None, prepared.make, None, prepared.callbacks)
    trainer.fit(module, loader)
    mask, rows = read_mask(work), moved_rows(before, weights(model))
    chosen = torch.cat([rows[name][kept] for name, kept in mask.items()])
    bits = b"".join(value.double().numpy().tobytes() for value in weights(model).values())
    found = {
        "world": trainer.world_size,
        "digest": hashlib.sha256(bits).hexdigest(),
        "masked_moved": sum(int((rows[name] & ~kept).sum()) for name, kept in mask.items()),
        "chosen_moved": chosen.float().mean().item(),
    }
    (folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
