"""Stop rules refuse what cannot be aimed at; that they stop is tested with the jobs."""

import pytest

from unlearn_lab.evaluate.stop import Forgotten, UtilityFloor


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"margin": -1.0}, r"^margin=-1\.0"),
        ({"utility_share": -0.1}, r"^utility_share=-0\.1"),
        ({"every_epochs": 0}, r"^every_epochs=0"),
        ({"memories": ()}, r"^memories=\[\]: name"),
    ],
)
def test_an_impossible_aim_is_refused(changed, message):
    settings = {
        "memories": ("knowmem",),
        "margin": 5.0,
        "utility": "utility",
        "utility_share": 0.6,
        "every_epochs": 1,
    }
    with pytest.raises(ValueError, match=message):
        Forgotten(**settings | changed)


@pytest.mark.parametrize(("share", "every", "message"), [(0.0, 1, "share"), (1.0, 0, "every_ep")])
def test_an_impossible_stop_rule_is_refused(share, every, message):
    with pytest.raises(ValueError, match=message):
        UtilityFloor(share=share, utility="utility", every_epochs=every)
