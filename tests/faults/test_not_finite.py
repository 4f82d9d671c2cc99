"""NaN that comes from elsewhere than a learning rate: from the model that is to unlearn.

One whose weights are NaN themselves is refused before (tests/models/test_complete.py).
"""

import re
import shutil

import pytest
from safetensors.torch import load_file, save_file

COMMON = (
    "-m",
    "model=hf",
    "model.finetune=false",
    "trainer.max_length=64",
    "eval.metrics.min_k.num_tokens=40",
    "quant=none",
)


@pytest.fixture
def poisoned(checkpoint, tmp_path):
    """The checkpoint with one weight so large that the logits are no numbers."""
    folder = tmp_path / "poisoned"
    shutil.copytree(checkpoint, folder)
    shard = sorted(folder.glob("*.safetensors"))[1]
    tensors = load_file(shard)
    next(iter(tensors.values())).view(-1)[3] = 3e38
    save_file(tensors, shard, metadata={"format": "pt"})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ga", "npo_klr"])
def test_a_target_with_nan_logits_fails_its_leaf_and_no_other(
    start, checkpoint, poisoned, tmp_path, method
):
    """For npo_klr the reference's likelihoods and hidden states are NaN before any step."""
    home = tmp_path / "home"
    running = start(
        *COMMON,
        f"model.path={poisoned},{checkpoint}",
        f"model.retrain={checkpoint}",
        f"method={method}",
        name="run",
        home=home,
    )
    assert running.wait() == 1, running.err
    assert "leaves: 1 done, 1 failed" in running.out
    said = r"unlearn \w+: the logits of the model to train are NaN or infinite before any step"
    assert re.search(said, running.err), running.err
    assert "Traceback" not in running.err
