"""The page and the document of an audit."""

import json

import pytest

from tests.security.hostile import ATTACKS, SECRETS
from unlearn_lab.audit.findings import audit_of
from unlearn_lab.audit.page import SCHEMA, write_audit


@pytest.fixture
def written(home, tmp_path):
    def write(*answers, **given):
        root, record = home(answers, **given)
        audit = audit_of(root, [record], failed=False)
        paths = write_audit(tmp_path / "out" / "audit", audit, ["python -m unlearn_lab -m"])
        return [path.read_text(encoding="utf-8") for path in paths]

    return write


def test_both_say_the_same(written):
    page, document = written("one", "two")
    found = json.loads(document)
    assert found["schema"] == SCHEMA
    assert found["status"] == 3
    assert found["commands"] == ["python -m unlearn_lab -m"]
    (finding,) = found["findings"]
    assert finding["verdict"] == "comes back"
    assert finding["reason"] in page
    assert {"value": 71.3, "low": 68.3, "high": pytest.approx(74.3)} == finding["scores"][
        "unlearned"
    ]["quantized"]["verbmem"]
    for shown in (
        "71.3 [68.3, 74.3]",
        "one of unlearned.quantized",
        "maker/target",
        "unlearn digest",
    ):
        assert shown in page
    assert "those whose score rises most" in page


def test_a_page_without_a_control_says_so(written):
    page, document = written("one", control=False)
    assert "cannot be said" in page
    assert json.loads(document)["findings"][0]["without_control"]


def test_nothing_gets_out_of_where_it_belongs(written, monkeypatch):
    secret = SECRETS["HF_TOKEN"]
    page, document = written(*ATTACKS, secret)
    for text in (page, document):
        assert secret not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "<script" not in page
    assert "<img" not in page
    assert "<svg" not in page
