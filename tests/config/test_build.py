import sys
import types
from dataclasses import dataclass
from typing import Literal

import pytest
import torch

from unlearn_lab.config.build import Refused, _spell, assemble_partial, build, check, locate


@dataclass(frozen=True, kw_only=True)
class Inner:
    beta: float

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise ValueError(f"beta={self.beta}: must be above 0")


@dataclass(frozen=True, kw_only=True)
class Outer:
    bits: int
    weight: float
    kind: Literal["row", "tensor"]
    place: str | None
    pair: tuple[float, float]
    flag: bool
    inner: Inner | None


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    """The classes above, as if they were defined in the package."""
    module = types.ModuleType("unlearn_lab.made_up")
    for made in (Inner, Outer):
        monkeypatch.setattr(made, "__module__", "unlearn_lab.made_up")
        setattr(module, made.__name__, made)
    module.torch = torch
    module.number = 3
    monkeypatch.setitem(sys.modules, "unlearn_lab.made_up", module)


def node(**changed):
    inner = {"_target_": "unlearn_lab.made_up.Inner", "beta": 1}
    whole = {
        "bits": 4,
        "weight": 1,
        "kind": "row",
        "place": None,
        "pair": [0.9, 0.999],
        "flag": True,
        "inner": inner,
    }
    return {"_target_": "unlearn_lab.made_up.Outer", **whole, **changed}


def test_nested_nodes_are_built_and_whole_numbers_become_floats():
    made = build(node(), Outer, "quant")
    assert made.inner == Inner(beta=1.0)
    assert isinstance(made.weight, float)
    assert isinstance(made.inner.beta, float)
    assert build(node(inner=None), Outer, "quant").inner is None


@pytest.mark.parametrize(("given", "place"), [(2024, "2024"), (10**400, str(10**400)), ("x", "x")])
def test_a_whole_number_is_a_text_where_one_is_wanted(given, place):
    assert build(node(place=given), Outer, "quant").place == place


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"place": True}, r"^quant\.place=True: must be str, or null$"),
        ({"place": 1.5}, r"^quant\.place=1\.5: must be str, or null$"),
        ({"kind": 4}, r"^quant\.kind=4: .*one of row, tensor$"),
        ({"bits": "four"}, r"^quant\.bits='four': must be int$"),
        ({"bits": 4.5}, r"^quant\.bits=4\.5: must be int$"),
        ({"bits": True}, r"^quant\.bits=True: must be int$"),
        ({"weight": "heavy"}, r"^quant\.weight='heavy': must be float$"),
        ({"flag": 1}, r"^quant\.flag=1: must be bool$"),
        ({"kind": "column"}, r"^quant\.kind='column': .*one of row, tensor$"),
        ({"pair": [0.9]}, r"^quant\.pair=\[0\.9\]: must be tuple\[float, float\]$"),
        ({"bits": {"a": 1}}, r"^quant\.bits=\{'a': 1\}: must be int$"),
        ({"bitz": 4}, r"^quant\.bitz: unknown option.*Outer.*mean bits\?"),
        ({"zzz": 4}, r"^quant\.zzz: unknown option.*Outer.* bits, weight"),
        (
            {"inner": {"_target_": "unlearn_lab.made_up.Inner", "beta": -1}},
            r"^quant\.inner\.beta=-1\.0: must be above 0$",
        ),
        (
            {"inner": {"_target_": "unlearn_lab.made_up.Inner"}},
            r"^quant\.inner\.beta: missing; Inner needs beta$",
        ),
        (
            {"inner": {"_target_": "unlearn_lab.made_up.Nothing"}},
            r"^quant\.inner\._target_=.*has no attribute 'Nothing'",
        ),
    ],
)
def test_a_bad_value_is_refused_with_its_place(changed, message):
    with pytest.raises(Refused, match=message):
        build(node(**changed), Outer, "quant")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.load",
        "unlearn_lab.made_up.torch.load",
        "unlearn_lab.made_up.torch",
        "unlearn_lab.made_up.number",
        "torch.optim.sgd.torch.load",
        "unlearn_labx.parts.Inner",
        "builtins.eval",
    ],
)
def test_only_our_own_classes_and_torch_optimizers_may_be_instantiated(target):
    with pytest.raises(Refused, match=r"may be instantiated|No module named"):
        build({"_target_": target}, object, "method")


@pytest.mark.parametrize("bad", [None, 3, {}, {"bits": 4}])
def test_a_node_without_a_target_is_refused(bad):
    with pytest.raises(Refused, match=r"^quant=.*: .*mapping.*_target_$"):
        check(bad, "quant")


def test_the_wrong_kind_of_part_is_refused():
    with pytest.raises(Refused, match=r"^quant: unlearn_lab\.made_up\.Inner .*type Outer$"):
        build({"_target_": "unlearn_lab.made_up.Inner", "beta": 1.0}, Outer, "quant")


def test_an_optimizer_waits_for_its_parameters():
    node = {"_target_": "torch.optim.SGD", "lr": 0.5}
    make = assemble_partial(node, "optimizer", given=("params",)).value
    made = make([torch.nn.Parameter(torch.zeros(1))])
    assert made.defaults["lr"] == 0.5
    with pytest.raises(Refused, match=r"^optimizer\.learning_rate: unknown option of SGD"):
        assemble_partial(
            {"_target_": "torch.optim.SGD", "learning_rate": 1}, "optimizer", given=("params",)
        )


def test_builders_are_found_by_colon_path():
    assert locate("unlearn_lab.data.corpus_stage:build", "corpus").__name__ == "build"
    with pytest.raises(Refused, match="may be instantiated"):
        locate("os:system", "stage")


def test_nodes_inside_plain_mappings_are_checked():
    @dataclass(frozen=True, kw_only=True)
    class Holder:
        parts: dict[str, object]

    Holder.__module__ = "unlearn_lab.made_up"
    sys.modules["unlearn_lab.made_up"].Holder = Holder
    bad = {"_target_": "unlearn_lab.made_up.Holder", "parts": {"one": {"_target_": "os.system"}}}
    with pytest.raises(Refused, match=r"^quant\.parts\.one\._target_"):
        check(bad, "quant")


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        (Literal["a", "b"], "one of a, b"),
        (Literal["a", "b"] | None, "one of a, b, or null"),
        (float | None, "float, or null"),
        (int, "int"),
        (tuple[str, ...], "tuple[str, ...]"),
    ],
)
def test_what_is_allowed_is_told_in_words(hint, told):
    assert _spell(hint) == told
