"""What a job is asked for: its record, or the stages that `until` names."""

import pytest

from tests.e2e.artifacts import SMALL, SMALL_MODEL
from tests.execute.test_job import CHOICES
from unlearn_lab.config.build import Refused
from unlearn_lab.execute.parts import plan_values
from unlearn_lab.plan.request import content_key, read_values


@pytest.fixture
def ask(composed, tmp_path):
    def make(*overrides):
        home = f"runtime.home={tmp_path}"
        values = read_values(composed(*SMALL, *SMALL_MODEL, home, *overrides))
        return plan_values(values, CHOICES, content_key(values))

    return make


def test_without_until_the_record_is_asked_for(ask):
    asked = ask("method=ga")
    assert asked.goals == (asked.plan.record,)


@pytest.mark.parametrize(
    ("until", "names"),
    [
        ("unlearn", ["unlearn"]),
        ("target.full", ["evaluate"]),
        ("evaluate", ["evaluate"] * 6),
        ("record", ["record"]),
    ],
)
def test_until_names_stages_by_name_or_role(ask, until, names):
    assert [stage.name for stage in ask(f"until={until}").goals] == names


def test_until_names_a_stage_by_the_beginning_of_its_key(ask):
    key = ask().plan.base.key
    assert ask(f"until='{key[:16]}'").goals[0].key == key
    assert ask(f"until='{key}'").goals[0].key == key


def test_until_neither_changes_a_key_nor_takes_any_word(ask):
    assert ask("until=unlearn").plan.record.key == ask().plan.record.key
    with pytest.raises(Refused, match=r"until=trained: no stage .*corpus, base"):
        ask("until=trained")


def test_a_node_that_lacks_what_the_plan_needs_is_refused_in_words(ask):
    with pytest.raises(Refused, match=r"^trainer\.stop: missing; UnlearningTraining needs"):
        ask("~trainer.stop")


def test_a_key_that_no_stage_has_is_told_from_a_misspelt_name(ask):
    with pytest.raises(Refused, match=r"until=0123456789abcdef: no stage .*this key"):
        ask("until='0123456789abcdef'")
