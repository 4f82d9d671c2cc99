"""Imports everything that a command may need: what processes that run one are forked from."""

import gc
import importlib
import pkgutil

from tests.checked import check_types

check_types()

import unlearn_lab
from unlearn_lab.graph.code import read_module
from unlearn_lab.quantize.compressor import quietly

for module in pkgutil.walk_packages(unlearn_lab.__path__, "unlearn_lab."):
    read_module(module.name)
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
with quietly():
    for module in ("entrypoints.oneshot", "modifiers.gptq", "modifiers.transform.awq"):
        importlib.import_module(f"llmcompressor.{module}")
gc.freeze()  # a child's collections leave alone what it shares with this process
