"""What `auto` becomes, and which arithmetic a device refuses."""

import pytest

from unlearn_lab.config.build import Refused
from unlearn_lab.execute.arithmetic import with_arithmetic
from unlearn_lab.models.device import computes_in_bfloat16, device_of, require_bfloat16

NODES = ("trainer", "finetune", "eval")


@pytest.fixture(params=[True, False], ids=["native", "emulated"])
def native(request, monkeypatch):
    """A device that has bfloat16 products, and one that has none."""
    for module in ("unlearn_lab.execute.arithmetic", "unlearn_lab.models.device"):
        monkeypatch.setattr(f"{module}.computes_in_bfloat16", lambda device: request.param)
    return request.param


def chosen(plain, *overrides):
    config = with_arithmetic(plain(*overrides))
    return tuple(config[name]["arithmetic"] for name in NODES)


def test_the_embedded_default_computes_in_float32(plain, native):
    assert chosen(plain) == ("fp32",) * 3


def test_auto_is_what_the_device_has(plain, native):
    found = chosen(plain, "model=hf", "model.path=x")
    assert found == (("bf16" if native else "fp32"),) * 3


def test_each_node_is_chosen_apart(plain, native):
    found = chosen(plain, "trainer.arithmetic=auto", "finetune.arithmetic=fp32")
    assert found[1] == "fp32"
    assert found[2] == found[0]


@pytest.mark.parametrize("named", ["fp32", "bf16"])
def test_what_runs_elsewhere_is_named_and_not_compared_with_this_device(plain, native, named):
    found = chosen(plain, "trainer.arithmetic=auto", f"runtime.auto_arithmetic={named}")
    assert found == (named,) * 3


def test_presets_that_launch_elsewhere_name_it(plain, native):
    assert chosen(plain, "+cluster=slurm", "model=hf", "model.path=x") == ("bf16",) * 3
    assert chosen(plain, "+cluster=slurm") == ("fp32",) * 3


def test_emulated_bfloat16_is_refused(plain, native):
    if native:
        assert chosen(plain, "trainer.arithmetic=bf16") == ("bf16",) * 3
        return
    with pytest.raises(Refused, match=r"trainer\.arithmetic=bf16: .*emulates"):
        chosen(plain, "trainer.arithmetic=bf16")
    with pytest.raises(ValueError, match=r"arithmetic=bf16: cpu .*emulates"):
        require_bfloat16("bf16", device_of("cpu"))
    require_bfloat16("fp32", device_of("cpu"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("eval.arithmetic=fp16", r"eval\.arithmetic=fp16: .*fp32, bf16, auto"),
        ("runtime.auto_arithmetic=auto", r"runtime\.auto_arithmetic=auto: .*fp32, bf16, null"),
    ],
)
def test_unknown_values_are_refused(plain, override, message):
    with pytest.raises(Refused, match=message):
        chosen(plain, override)


@pytest.mark.parametrize(
    ("known", "native"),
    [({"avx2": True}, False), ({"avx512_bf16": True}, True), ({"bf16": True}, True), ({}, False)],
)
def test_a_processor_is_asked_for_what_it_has(monkeypatch, known, native):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: known, raising=False)
    assert computes_in_bfloat16(device_of("cpu")) == native
