"""What a user sees of the plan: before a sweep, when a stage fails, when jobs are equal."""

import re

import pytest

from tests.e2e.artifacts import built


@pytest.mark.slow
def test_a_training_that_fails_is_tried_once_and_fails_all_its_leaves(lab):
    """And jobs that differ in nothing that a result depends on are one."""
    sweep = (
        "-m",
        "method=ga",
        "optimizer.lr=1e-4,1e30",
        "report.num_samples=2,3",
        "quant=rtn4,rtn8",
    )
    dry = lab(*sweep, "dry=true")
    assert dry.status == 0, dry.err
    assert "plan: 8 jobs, 4 equal" in dry.out
    assert re.search(r"^unlearn +2 +0 +\?", dry.out, re.MULTILINE)
    assert not (dry.home / "cache" / "corpus").exists()

    run = lab(*sweep)
    assert run.status == 1
    assert "2 done, 2 failed, 4 skipped" in run.out
    assert len(re.findall(r"\] unlearn \w+ \.\.\.", run.err)) == 2
    assert len(re.findall(r"became (?:nan|inf|-inf) at step", run.out)) == 2
    assert "Traceback" not in run.out + run.err
    assert built(run.home)["unlearn"] == 1
    assert "waves: 2 training → 2 training" in run.err

    again = lab(*sweep, "dry=true")
    assert re.search(r"^unlearn +1 +1 +\d+\.\d s", again.out, re.MULTILINE)
    assert "2 with a result already" in again.out


def test_until_ends_at_a_stage_and_a_later_command_goes_on_from_it(lab):
    target = lab("until=target", "method=ga", "quant=none")
    assert target.status == 0, target.err
    assert built(target.home) == {"corpus": 1, "base": 1, "target": 1}
    assert re.search(r"target +1 +0 ", target.out)
    assert not (target.home / "results" / "records.jsonl").exists()
    refused = lab("until=targets", "method=ga")
    assert refused.status == 2
    assert re.search("until=targets: no stage .*corpus, base", refused.err), refused.err
