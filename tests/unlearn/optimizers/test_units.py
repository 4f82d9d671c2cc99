import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlearn_lab.unlearn.optimizers.units import layout

QUERY, OUTPUT = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.o_proj.weight"


def members(found, unit):
    """Which entries of the parameter belong to a unit, as a tensor of its shape."""
    marked = torch.zeros(found.shape)
    marked.select(found.axis, unit).fill_(1)
    return marked


@pytest.mark.parametrize(
    ("granularity", "num_units", "unit_size"),
    [("matrix", 1, 24), ("row", 4, 6), ("weight", 24, 1), ("head", 2, 12)],
)
def test_units_of_a_query_projection_with_heads_of_two(granularity, num_units, unit_size):
    found = layout(QUERY, (4, 6), granularity, 2)
    assert (found.num_units, found.unit_size) == (num_units, unit_size)


def test_a_head_is_rows_of_the_queries_and_columns_of_the_output():
    query, output = layout(QUERY, (4, 6), "head", 2), layout(OUTPUT, (6, 4), "head", 2)
    rows, columns = torch.zeros(4, 6), torch.zeros(6, 4)
    rows[2:] = 1
    columns[:, 2:] = 1
    assert torch.equal(members(query, 1).reshape(4, 6), rows)
    assert torch.equal(members(output, 1).reshape(6, 4), columns)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.layers.0.mlp.down_proj.weight", (6, 8)),
        ("model.layers.0.mlp.dense.weight", (6, 8)),
        ("model.layers.0.self_attn.o_proj.bias", (6,)),
        ("model.norm.weight", (6,)),
        ("model.embed_tokens.weight", (6, 3)),
    ],
)
def test_what_has_no_heads_falls_into_rows(name, shape):
    assert layout(name, shape, "head", 2) == layout(name, shape, "row", None)
    assert layout(name, shape, "head", 2).num_units == 6


def test_a_projection_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"granularity=head: .*q_proj.* has 5 features .* size 2"):
        layout(QUERY, (5, 6), "head", 2)


@given(st.sampled_from(["matrix", "row", "head", "weight"]), st.sampled_from([QUERY, OUTPUT]))
def test_taking_putting_and_measuring_agree(granularity, name):
    """Putting back what was taken changes nothing; norms are those of the taken units."""
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(4, 4, generator=generator)
    found = layout(name, (4, 4), granularity, 2)
    units = torch.arange(found.num_units)[::2]
    taken = found.take(values, units)
    changed = values.clone()
    found.put(changed, units, taken)
    assert torch.equal(changed, values)
    found.put(changed, units, torch.zeros_like(taken))
    kept = torch.stack([members(found, int(unit)) for unit in units]).sum(0).reshape(4, 4)
    assert torch.equal(changed, values * (1 - kept))
    by_hand = [
        (values.reshape(found.shape) * members(found, u)).norm() for u in range(found.num_units)
    ]
    torch.testing.assert_close(found.norms(values), torch.stack(by_hand))
