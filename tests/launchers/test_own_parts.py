"""Jobs that launchers start find the user's own classes and options, as said in either way."""

import pytest

from tests.e2e.test_own_parts import NAMED, OPTIONS, TRUST
from tests.e2e.test_own_parts import own as own
from tests.launchers.conftest import WHERE


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["local", "submitit", "slurm"])
@pytest.mark.parametrize("said", ["command", "environment"])
def test_jobs_build_a_method_of_theirs(sweep, monkeypatch, cluster, said):
    if said == "environment":
        for name, value in NAMED.items():
            monkeypatch.setenv(name, value)
    settings = [OPTIONS, TRUST] if said == "command" else []
    run = sweep(*WHERE[cluster], *settings, "method=simnpo", "quant=rtn4,rtn8")
    assert run.status == 0, run.err
    assert [record["method"] for record in run.records] == ["simnpo", "simnpo"]
