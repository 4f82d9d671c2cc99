"""Secrets are found by where they are kept, by name and by shape."""

import pytest

from unlearn_lab.config.redaction import (
    _kept,
    mask_secrets,
    reject_secrets,
    reject_secrets_in_command,
)

TOKEN = "hf_" + "aB3" * 10


@pytest.fixture(autouse=True)
def logged_in_nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    _kept.cache_clear()
    yield
    _kept.cache_clear()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"Bearer {TOKEN}, again {TOKEN}", "Bearer ***, again ***"),
        ("https://joe:pass@host/x, http://key@host", "https://***@host/x, http://***@host"),
        (
            "at https://host/a@b, hf_model, org/hf_name",
            "at https://host/a@b, hf_model, org/hf_name",
        ),
        ("the key of-the-db2 is wrong", "the key *** is wrong"),
        ("false", "false"),
    ],
)
def test_secrets_are_replaced_by_stars(monkeypatch, text, told):
    monkeypatch.setenv("DB_PASSWORD", "of-the-db2")
    monkeypatch.setenv("ITS_SECRET", "false")
    assert mask_secrets(text) == told


def test_what_logins_have_kept_is_known(tmp_path):
    (tmp_path / "token").write_text("kept-by-hf-auth\n")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.wandb.ai login user password kept-by-wandb\n")
    netrc.chmod(0o600)
    assert mask_secrets("kept-by-hf-auth kept-by-wandb") == "*** ***"


def test_a_netrc_that_cannot_be_read_is_passed_over(tmp_path):
    (tmp_path / "netrc").write_text("no netrc\n")
    assert mask_secrets("no netrc") == "no netrc"


def test_a_token_that_cannot_be_read_is_passed_over(tmp_path):
    (tmp_path / "token").mkdir()
    assert mask_secrets("text") == "text"


@pytest.mark.parametrize(
    "config",
    [
        {"model": {"path": f"x/{TOKEN}"}},
        {"eval": {"metrics": [{"data": "https://a:b@host"}]}},
        {"report": {"api_key": "anything"}},
    ],
)
def test_a_secret_in_a_setting_is_refused_without_telling_it(config):
    with pytest.raises(ValueError, match=r"^[\w.]+=\*\*\*: holds what looks like") as caught:
        reject_secrets(config, "")
    assert TOKEN not in str(caught.value)


def test_names_that_only_sound_alike_are_settings():
    reject_secrets({"num_tokens": "8", "tokenizer": "a/b", "revision": "ab" * 20, "n": 3}, "")
    reject_secrets_in_command(
        ["model.tokenizer=a/b", "runtime.batch_tokens=4", "hydra.job.env_set.A=b"]
    )
