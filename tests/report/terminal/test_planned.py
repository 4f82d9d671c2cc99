"""What a sweep says before it starts, with more and more of it there already."""

import io
import re

from rich.console import Console

from tests.graph.builders import make, stage
from tests.graph.test_waves import goals
from unlearn_lab.graph.cache import is_whole
from unlearn_lab.graph.costs import Costs
from unlearn_lab.report.terminal.planned import forecast_sweep, print_forecast


def shown(forecast, width=100):
    stream = io.StringIO()
    print_forecast(Console(file=stream, width=width, highlight=False), forecast)
    return stream.getvalue()


def test_a_first_sweep_builds_everything_and_knows_no_cost(tmp_path):
    asked = goals(["ga", "npo"], ["rtn4", "rtn8"])
    forecast = forecast_sweep(asked, 1, lambda asked: False, Costs(tmp_path))
    assert {f.stage: f.build for f in forecast.forecasts} == {
        "base": 1, "target": 1, "retrain": 1, "unlearn": 2, "evaluate": 12, "record": 4,
    }  # fmt: skip
    assert all(f.reuse == 0 and f.unknown == f.build for f in forecast.forecasts)
    assert list(forecast.waves) == [
        "1 evaluating", "2 training", "2 training", "8 evaluating", "4 leaves",
    ]  # fmt: skip
    text = shown(forecast)
    assert re.search("plan: 5 jobs, 1 equal .*not run", text)
    assert re.search(r"\?: nothing like it .*before", text)


def test_what_is_there_is_reused_and_the_rest_is_estimated(tmp_path):
    asked = goals(["ga", "npo"], ["rtn4", "rtn8"])
    make(tmp_path, lambda stage, inputs, work: {}).get_or_build(asked[0][0])
    forecast = forecast_sweep(asked, 0, lambda stage: is_whole(tmp_path, stage), Costs(tmp_path))
    found = {f.stage: (f.build, f.reuse, f.unknown) for f in forecast.forecasts}
    assert found["target"] == (0, 1, 0)
    assert found["unlearn"] == (1, 1, 0)
    assert found["record"] == (3, 1, 0)
    assert forecast.lacking == 3
    assert "1 with a result already" in shown(forecast)


def test_when_all_is_there_no_wave_is_left(tmp_path):
    asked = {0: (stage("record"),)}
    forecast = forecast_sweep(asked, 0, lambda stage: True, Costs(tmp_path))
    assert (forecast.lacking, list(forecast.waves)) == (0, [])
    assert "waves" not in shown(forecast)


def test_a_narrow_terminal_cuts_nothing(tmp_path):
    asked = goals(["ga"], ["rtn4"])
    text = shown(forecast_sweep(asked, 0, lambda asked: False, Costs(tmp_path)), width=40)
    assert "evaluate" in text
    assert "leaf" in text
