"""Imports everything that a command may need: what processes that run one are forked from.

Types are not checked here: a training would take a third longer, and every function has tests that
call it in a process that checks them.
"""

import gc
import importlib
import os
import pkgutil
import sys

from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl

import unlearn_lab
from tests.shared_repository import SharedRepository
from unlearn_lab.config.hydra_setup import prepare
from unlearn_lab.config.paths import data_dir
from unlearn_lab.execute.cores import num_jobs
from unlearn_lab.graph.code import read_module
from unlearn_lab.quantize.compressor import quietly

for module in pkgutil.walk_packages(unlearn_lab.__path__, "unlearn_lab."):
    read_module(module.name)
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
with quietly():
    for module in ("entrypoints.oneshot", "modifiers.gptq", "modifiers.transform.awq"):
        importlib.import_module(f"llmcompressor.{module}")
for module in ("wandb.sdk.launch", "tests.e2e.command"):  # what each child would import
    importlib.import_module(module)
# each child finds the configuration's files read, and no variable or path changed
config_loader_impl.ConfigRepository = SharedRepository
place, variables = sys.path[:], dict(os.environ)
prepare(num_jobs)
with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
    for method in ("ga", "npo", "npo_gdr"):
        compose("config", overrides=[f"method={method}"], return_hydra_config=True)
sys.path[:] = place
os.environ.clear()
os.environ.update(variables)
gc.freeze()  # a child's collections leave alone what it shares with this process
