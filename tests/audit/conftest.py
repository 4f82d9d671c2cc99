"""The homes that audits read."""

import json

import pytest

from tests.records import FORGOT, make_record

__all__ = ["home", "make_record"]

PLACES = {"target": "model.path", "retrain": "model.retrain", "unlearn": "method.path"}


@pytest.fixture
def home(tmp_path, make_record):
    """Writes a home with the stages of one record; returns it and the record."""

    def write(answers=("first", "second", "third", "fourth"), *, control=True, **given):
        root = tmp_path / "lab"
        record = make_record(**{"method": "given", "unlearned": FORGOT, **given})
        places = {stage: f"maker/{stage}" for stage in PLACES}
        record |= {f"config.{PLACES[stage]}": place for stage, place in places.items()} | {
            f"stages.{stage}": f"{stage}key" for stage in places
        }
        record["config.dataset._target_"] = "unlearn_lab.data.gazette.Gazette"
        record["config.dataset.num_forget"] = 20
        limits = {"destroyed_share": 0.6, "forgotten_margin": 5.0, "return_margin": 20.0}
        record |= {f"config.report.thresholds.{name}": limit for name, limit in limits.items()}
        if not control:
            record = {
                key: value
                for key, value in record.items()
                if not key.startswith(("scores.retrain", "stages.retrain", "config.model.retrain"))
            }
        for stage in places:
            folder = root / "cache" / stage / f"{stage}key"
            folder.mkdir(parents=True, exist_ok=True)
            described = {"depends": {"files": {PLACES[stage]: f"{stage} digest"}}}
            facts = {"stored": ["bf16"]} if stage == "unlearn" else {}
            (folder / "manifest.json").write_text(json.dumps({"stage": described, "facts": facts}))
        for role in ("unlearned.full", "target.full", "unlearned.quantized"):
            record[f"stages.{role}"] = role
            folder = root / "cache" / "evaluate" / role
            folder.mkdir(parents=True, exist_ok=True)
            scores = {
                "knowmem": {
                    "items": [
                        {
                            "question": f"question {number}",
                            "answer": f"{answer} of {role}",
                            "true": answer,
                            "score": (10.0 * number if role == "unlearned.full" else 50.0),
                        }
                        for number, answer in enumerate(answers)
                    ]
                }
            }
            (folder / "scores.json").write_text(json.dumps(scores))
        return root, record

    return write
