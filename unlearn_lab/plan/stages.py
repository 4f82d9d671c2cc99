"""Lists the builders of the stages and the versions of their engines."""

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]

VERSIONS = {
    "corpus": 2,
    "base": 2,
    "target": 2,
    "retrain": 2,
    "saliency": 2,
    "unlearn": 3,
    "calibration": 2,
    "quantize": 3,
    "export": 1,
    "evaluate": 4,
    "codes": 4,
    "widths": 3,
    "record": 6,
}
"""Bump when a builder's output changes; older artifacts are not reused."""


BUILDERS = {
    "corpus": "unlearn_lab.data.corpus_stage",
    "base": "unlearn_lab.models.import_stage",
    "target": "unlearn_lab.unlearn.training.train_stage",
    "retrain": "unlearn_lab.unlearn.training.train_stage",
    "saliency": "unlearn_lab.unlearn.optimizers.saliency_stage",
    "unlearn": "unlearn_lab.unlearn.training.train_stage",
    "calibration": "unlearn_lab.quantize.calibration_stage",
    "quantize": "unlearn_lab.quantize.quantize_stage",
    "export": "unlearn_lab.quantize.export_stage",
    "evaluate": "unlearn_lab.evaluate.evaluate_stage",
    "codes": "unlearn_lab.evaluate.codes_stage",
    "widths": "unlearn_lab.evaluate.codes_stage",
    "record": "unlearn_lab.record.record_stage",
}
"""The module of each stage's builder; an imported target or control has `models.import_stage`."""
