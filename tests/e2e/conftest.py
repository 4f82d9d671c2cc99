"""Runs the command line in this process, as small as it gets."""

import json
import logging
import os
import sys

import pytest
from hydra.core.global_hydra import GlobalHydra

from unlearn_lab.cli import main

SMALL = (
    "trainer=smoke",
    "trainer.batch_size=4",
    "trainer.finetune.batch_size=4",
    "dataset.num_forget=5",
    "dataset.num_retain=5",
    "dataset.num_holdout=3",
    "dataset.num_questions=3",
    "dataset.num_examples=1",
    "dataset.num_editions=1",
    "eval.metrics.verbmem.num_tokens=8",
    "eval.metrics.knowmem.num_tokens=4",
    "eval.metrics.utility.num_tokens=4",
    "report.wandb.mode=disabled",
    "runtime.claim_look=0.05",
)
SMALL_MODEL = ("model.vocab_size=400", "model.hidden_size=16", "model.intermediate_size=24")


class Run:
    """What a command printed and how it ended."""

    def __init__(self, status, out, err, home):
        self.status, self.out, self.err, self.home = status, out, err, home

    @property
    def records(self):
        lines = (self.home / "results" / "records.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def lab(tmp_path, monkeypatch, capfd):
    """Runs `python -m unlearn_lab ARGUMENTS` with a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments, small=True, home=tmp_path / "lab"):
        settings = [*SMALL, f"runtime.home={home}"] if small else []
        if small and "model=hf" not in arguments:
            settings += SMALL_MODEL
        flags = [argument for argument in arguments if argument.startswith("-")]
        overrides = [argument for argument in arguments if not argument.startswith("-")]
        monkeypatch.setattr(sys, "argv", ["unlearn_lab", *flags, *settings, *overrides])
        monkeypatch.setattr(sys, "path", list(sys.path))
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code or 0
        finally:
            GlobalHydra.instance().clear()
            for handler in logging.getLogger().handlers[:]:
                if not type(handler).__module__.startswith("_pytest"):
                    logging.getLogger().removeHandler(handler)
                    handler.close()
        out, err = capfd.readouterr()
        return Run(status, out, err, home)

    yield run
    os.environ.pop("HYDRA_FULL_ERROR", None)
