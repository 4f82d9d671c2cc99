import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn_lab.data.batch import Collate, PairedOrder, PairedTexts, pad


def ids(*lengths):
    return [torch.arange(1, length + 1) for length in lengths]


def test_padding_is_on_the_right_and_marked():
    tokens = pad(ids(2, 3), [5, 7], 0)
    assert tokens.ids.tolist() == [[1, 2, 0], [1, 2, 3]]
    assert tokens.real.tolist() == [[True, True, False], [True, True, True]]
    assert tokens.index.tolist() == [5, 7]


def epochs(order, count):
    for epoch in range(count):
        order.set_epoch(epoch)
        yield list(order)


def test_the_order_is_a_function_of_seed_and_epoch():
    one, other = PairedOrder([9, 5], 1, "reshuffled"), PairedOrder([9, 5], 1, "reshuffled")
    other.set_epoch(3)
    assert list(epochs(one, 4))[3] == list(other)
    assert list(epochs(PairedOrder([9, 5], 2, "reshuffled"), 4))[3] != list(other)


def test_skipping_leaves_out_the_beginning_of_one_pass():
    order = PairedOrder([9, 5], 1, "reshuffled")
    whole = list(epochs(order, 3))
    order.set_epoch(1)
    order.skip(4)
    assert list(order) == whole[1][4:]
    assert list(epochs(order, 3)) == whole


@settings(max_examples=25)
@given(st.integers(1, 7), st.integers(1, 20), st.integers(0, 5))
def test_forget_is_passed_over_once_an_epoch_and_all_of_retain_is_used_evenly(forget, retain, seed):
    num_epochs = retain
    seen = [
        pair
        for epoch in epochs(PairedOrder([forget, retain], seed, "reshuffled"), num_epochs)
        for pair in epoch
    ]
    for epoch in range(num_epochs):
        assert sorted(f for f, _ in seen[epoch * forget : (epoch + 1) * forget]) == list(
            range(forget)
        )
    uses = [sum(1 for _, r in seen if r == index) for index in range(retain)]
    assert uses == [forget] * retain


def test_the_deck_is_reshuffled():
    pairs = [pair for epoch in epochs(PairedOrder([20, 20], 0, "reshuffled"), 2) for pair in epoch]
    assert [r for _, r in pairs[:20]] != [r for _, r in pairs[20:]]


def test_items_are_collated_by_role():
    texts = PairedTexts({"forget": ids(2, 3), "retain": ids(4)})
    batch = Collate(0, texts.roles)([texts[0, 0], texts[1, 0]])
    assert batch["forget"].index.tolist() == [0, 1]
    assert batch["retain"].ids.tolist() == [[1, 2, 3, 4]] * 2
    assert len(texts) == 2


def test_an_empty_split_is_refused():
    with pytest.raises(ValueError, match="retain split is empty"):
        PairedTexts({"forget": ids(2), "retain": []})


def test_pairing_by_modulo_always_makes_the_same_pairs_and_leaves_some_of_retain_unseen():
    pairs = {pair for epoch in epochs(PairedOrder([4, 3], 0, "modulo"), 5) for pair in epoch}
    assert pairs == {(0, 0), (1, 1), (2, 2), (3, 0)}
    seen = {pair[1] for epoch in epochs(PairedOrder([3, 8], 0, "modulo"), 9) for pair in epoch}
    assert seen == {0, 1, 2}
