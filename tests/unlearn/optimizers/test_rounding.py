import torch
from hypothesis import given
from hypothesis import strategies as st

from unlearn_lab.unlearn.optimizers.rounding import step_generator, stochastic_round

CPU = torch.device("cpu")


def neighbours(value):
    """The bfloat16 numbers around a float32, from its bits."""
    below = (value.view(torch.int32) & ~0xFFFF).view(torch.float32)
    return below, torch.where(
        value == below, below, below.view(torch.int32).add(0x10000).view(torch.float32)
    )


@given(
    st.floats(-1e4, 1e4, width=32).filter(lambda x: x == 0 or abs(x) > 1e-30), st.integers(0, 99)
)
def test_a_value_goes_to_a_neighbour_and_bfloat16_values_stay(value, step):
    values = torch.full((64,), value)
    rounded = stochastic_round(values, step_generator(0, step, CPU))
    assert rounded.dtype == torch.bfloat16
    nearer, farther = neighbours(values)
    assert ((rounded.float() == nearer) | (rounded.float() == farther)).all()
    exact = values.bfloat16()
    assert torch.equal(stochastic_round(exact.float(), step_generator(0, step, CPU)), exact)


def test_the_mean_is_the_value_where_rounding_to_nearest_loses_it():
    """1 + 1/1024 lies an eighth of the way to the next bfloat16, 1 + 1/128."""
    values = torch.full((200_000,), 1 + 1 / 1024)
    rounded = stochastic_round(values, step_generator(0, 0, CPU)).float()
    assert values.bfloat16().float().mean() == 1
    up = (rounded > 1).float().mean().item()
    assert abs(up - 1 / 8) < 5 * (1 / 8 * 7 / 8 / 200_000) ** 0.5


def test_noise_is_a_function_of_seed_and_step():
    values = torch.linspace(-1, 1, 999)
    one = stochastic_round(values, step_generator(1, 5, CPU))
    assert torch.equal(one, stochastic_round(values, step_generator(1, 5, CPU)))
    assert not torch.equal(one, stochastic_round(values, step_generator(1, 6, CPU)))
    assert not torch.equal(one, stochastic_round(values, step_generator(2, 5, CPU)))


def test_what_is_not_finite_stays_so():
    """0x7fffffff is the NaN of a GPU's arithmetic; with noise added its bits are those of -0."""
    bits = torch.tensor(
        [0x7FFFFFFF, 0x7FC00000, -0x400000, 0x7F800000, -0x800000], dtype=torch.int32
    )
    values = bits.view(torch.float32).repeat(50)
    rounded = stochastic_round(values, step_generator(0, 0, CPU)).float()
    assert torch.equal(rounded.isnan(), values.isnan())
    assert torch.equal(rounded[values.isinf()], values[values.isinf()])
