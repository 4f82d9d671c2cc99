"""Two GPUs train as one process on the CPU does."""

import pytest
import torch

from tests.unlearn.training.test_two_processes import compare, torchrun

NAMES = ("ddp/ga_gdr", "ddp/npo_klr", "ddp/sure_renewed", "fsdp/npo_klr", "fsdp/resumed")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"),
]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    return torchrun(tmp_path_factory.mktemp("gpus"), NAMES, "gpu")


@pytest.mark.parametrize("name", NAMES)
def test_two_gpus_end_where_one_process_does(together, tmp_path, name):
    """In float64, so that only the order of sums differs."""
    compare(together, tmp_path, name)
