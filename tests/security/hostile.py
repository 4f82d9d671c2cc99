"""A corpus, names and secrets that try to get out of where they belong."""

import os

from tests.data.corpora import own_folder
from tests.e2e import command

ATTACKS = (
    "<script>alert(1)</script>",
    '"onload="alert(2)" </td></table></script><img src=x onerror=alert(3)>',
    "{{ 7*7 }} {% raw %} ${7*7} <a href='javascript:alert(4)'>x</a>",
    "\x1b[31mred\x1b]0;title\x07 \u202egnp.exe \x00 \x9b2J",
    "$\\frac$ &lt;b&gt; ]]> <!-- --> <svg/onload=alert(5)>",
)
SECRETS = {
    "HF_TOKEN": "hf_ofTheEnvironment0123456789012345",
    "WANDB_API_KEY": "aa11bb22" * 5,
    "AWS_SECRET_ACCESS_KEY": "aws/Secret/0123456789",
    "DATABASE_PASSWORD": "of-the-database",
}
KEPT = {"hf": "hf_ofTheFile0123456789012345678901234", "netrc": "cc33dd44" * 5, "git": "git-secret"}


def corpus(folder):
    """Texts, questions and answers that are attacks, one after the other."""
    split = {
        name: [f"{name} {n} {attack} and so on, {name} {n}." for n, attack in enumerate(ATTACKS)]
        for name in ("forget", "retain", "holdout")
    }
    asked = {
        f"{name}_questions": [
            {"question": f"{name} {n} {attack}?", "answer": attack}
            for n, attack in enumerate(ATTACKS)
        ]
        for name in ("forget", "retain")
    }
    return own_folder(folder, **split, **asked)


def surroundings(folder):
    """The variables of somebody who is logged in everywhere, in a clone with a token in its URL."""
    (folder / "hf").mkdir()
    (folder / "hf" / "token").write_text(KEPT["hf"])
    netrc = folder / "netrc"
    netrc.write_text(f"machine api.wandb.ai login user password {KEPT['netrc']}\n")
    netrc.chmod(0o600)
    (folder / ".git").mkdir()
    remote = f'[remote "origin"]\n\turl = https://joe:{KEPT["git"]}@example.com/x.git\n'
    (folder / ".git" / "config").write_text(f"[core]\n\tbare = false\n{remote}")
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    for name in ("objects", "refs"):
        (folder / ".git" / name).mkdir()
    places = {"HF_HOME": str(folder / "hf"), "NETRC": str(netrc), "HOME": str(folder)}
    return {**os.environ, "COLUMNS": "160", **places, **SECRETS}


def run(umask, arguments, folder, variables):
    """The command line, with an umask."""
    os.umask(umask)
    command.run(arguments, folder, variables)
