"""The order of building: what trains or serves several jobs first, never two jobs in wait."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.graph.builders import stage
from unlearn_lab.graph.waves import KINDS, kind, missing, most_demanding, next_wave


def job(method, quant, *, stop=False, optimizer=None):
    """A graph shaped like a plan's: two methods share the target, two quantizers the training."""
    base = stage("base")
    target, retrain = stage("target", {"base": base}), stage("retrain", {"base": base})
    control = stage("evaluate", {"model": retrain}, quant="none")
    below = {"target": target} | ({"retrain_scores": control} if stop else {})
    if optimizer is not None:
        below["saliency"] = stage("saliency", {"target": target}, method=method)
    unlearn = stage("unlearn", below, method=method, optimizer=optimizer)
    inputs = {"unlearn": unlearn, "target": target, "retrain": retrain}
    inputs |= {name: below[name] for name in ("saliency",) if name in below}
    for who in ("unlearn", "target", "retrain"):
        for precision in ("none", quant):
            inputs[f"{who}.{precision}"] = stage(
                "evaluate", {"model": inputs[who]}, quant=precision
            )
    return (stage("record", inputs, method=method, quant=quant),)


def goals(methods, quants, **how):
    return dict(
        enumerate(
            itertools.starmap(
                lambda method, quant: job(method, quant, **how), itertools.product(methods, quants)
            )
        )
    )


def run(goals, built=()):
    """All waves, as names; each launch must find what it needs, and build nothing twice."""
    there = set(built)
    waves = []

    def has(asked):
        return asked.key in there

    while tasks := next_wave(goals, has):
        found = [missing([task.stage], has) for task in tasks]
        keys = [key for stages in found for key in stages]
        assert len(keys) == len(set(keys)), "two jobs of a wave would wait for each other"
        there |= set(keys)
        waves.append(sorted(task.stage.name for task in tasks))
    rest = [missing(ends, has) for ends in goals.values()]
    keys = [key for stages in rest for key in stages]
    assert len(keys) == len(set(keys)), "two leaves would build the same stage"
    assert not any(kind(s) == "training" and s.name != "saliency" for r in rest for s in r.values())
    return waves


def test_shared_stages_come_first_and_trainings_before_evaluations():
    assert run(goals(["ga", "npo"], ["rtn4", "rtn8"])) == [
        ["base"],
        ["retrain", "target"],
        ["unlearn", "unlearn"],
        ["evaluate"] * 8,
    ]


def test_what_is_there_is_not_built_and_what_lies_below_it_is_not_needed():
    asked = goals(["ga", "npo"], ["rtn4", "rtn8"])
    target = asked[0][0].inputs["target"]
    waves = run(asked, [target.key, asked[0][0].inputs["retrain"].key])
    assert waves == [["unlearn", "unlearn"], ["evaluate"] * 8]
    assert run(asked, [ends[0].key for ends in asked.values()]) == []


def test_one_job_trains_in_launches_of_their_own():
    """The target, which only the unlearning starts from, is part of it."""
    assert run(goals(["ga"], ["rtn4"])) == [["base"], ["retrain", "unlearn"]]


def test_a_stop_rule_puts_the_control_s_scores_before_the_training():
    waves = run(goals(["ga", "npo"], ["rtn4", "rtn8"], stop=True))
    assert waves[1] == ["retrain", "target"]
    assert "evaluate" in waves[2]
    assert waves[3] == ["unlearn", "unlearn"]


def test_a_saliency_that_one_training_reads_is_built_with_it():
    waves = run(goals(["ga"], ["rtn4", "rtn8"], optimizer="sure"))
    assert waves[:3] == [["base"], ["retrain", "target"], ["unlearn"]]


def test_a_saliency_that_two_trainings_read_comes_before_them():
    target = stage("target")
    saliency = stage("saliency", {"target": target})
    leaves = {
        job: (stage("record", {"of": stage("unlearn", {"s": saliency}, percentile=job)}, job=job),)
        for job in (90, 99)
    }
    assert run(leaves) == [["saliency"], ["unlearn", "unlearn"]]


def test_the_most_demanding_kind_decides():
    assert most_demanding([stage("codes"), stage("quantize"), stage("evaluate")]) == "quantizing"
    assert most_demanding([stage("record")]) == "evaluating"
    assert most_demanding([]) == KINDS[-1]
    assert {kind(stage(name)) for name in ("target", "retrain", "saliency", "unlearn")} == {
        "training"
    }


@given(
    st.lists(st.sampled_from(["ga", "npo", "ga_gdr"]), min_size=1, unique=True),
    st.lists(st.sampled_from(["rtn2", "rtn4", "rtn8", "nf4"]), min_size=1, unique=True),
    st.booleans(),
    st.sampled_from([None, "sure"]),
    st.data(),
)
def test_whatever_is_there_no_two_jobs_build_the_same(methods, quants, stop, optimizer, data):
    asked = goals(methods, quants, stop=stop, optimizer=optimizer)
    everything = {s.key: s for ends in asked.values() for s in ends[0].walk()}
    built = data.draw(st.sets(st.sampled_from(sorted(everything))))
    run(asked, built)
