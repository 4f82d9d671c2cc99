"""Finds passwords and tokens in what is asked for, and takes them out of what is told."""

import netrc
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

_NAME = re.compile(r"(?:^|_)(?:token|secret|password|passwd|api_?key|access_key|secret_key)$", re.I)
"""How a setting or an environment variable is called that holds a secret; `num_tokens` is none."""
_SHAPE = re.compile(
    r"(?<=://)[^/\s@'\"]+(?=@)"  # of https://name:password@host
    r"|\b(?:hf_[A-Za-z0-9]{20,}|wandb_v1_\w{20,}|gh[a-z]_[A-Za-z0-9]{30,}|github_pat_\w{20,})"
)
_SHORTEST = 8
"""A shorter value of a variable, say `false`, would be found in too many words."""
_HIDDEN = "***"


def hidden(text: str) -> str:
    """The text with every known secret, and whatever looks like one, replaced by stars."""
    for secret in _known():
        text = text.replace(secret, _HIDDEN)
    return _SHAPE.sub(_HIDDEN, text)


def require_open(value: object, path: str) -> None:
    """Raises `ValueError` where a setting holds a secret: settings end in records and reports.

    The message names the setting, never its value.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            require_open(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for inner in value:
            require_open(inner, path)
    elif isinstance(value, str) and value and (_is_secret_name(path) or hidden(value) != value):
        raise ValueError(_refusal(path))


def require_open_command(arguments: Sequence[str]) -> None:
    """Raises `ValueError` for an argument with a secret: Hydra keeps the command line in files.

    So it does with the values of variables that `hydra.job.env_copy` or `env_set` names.
    """
    for argument in arguments:
        name, _, value = argument.partition("=")
        passed = re.findall(r"\w+", value) if name.lstrip("+~").startswith("hydra.job.env") else []
        if hidden(argument) != argument or any(map(_NAME.search, passed)):
            raise ValueError(_refusal(hidden(name)))
        if value not in ("", "null") and _is_secret_name(name):
            raise ValueError(_refusal(name))


def _is_secret_name(path: str) -> bool:
    return _NAME.search(path.rsplit(".", 1)[-1]) is not None


def _refusal(name: str) -> str:
    return (
        f"{name}=***: holds what looks like a password or token, which would be kept in records "
        "and logs; give it where its tool looks for it: `hf auth login` or HF_TOKEN, `wandb login` "
        "or WANDB_API_KEY"
    )


def _known() -> Iterator[str]:
    """The secrets of this user, the longest first, so that none is left in parts."""
    variables = {value for name, value in os.environ.items() if _NAME.search(name)}
    found = {secret for secret in variables | _kept() if len(secret) >= _SHORTEST}
    yield from sorted(found, key=len, reverse=True)


@cache
def _kept() -> frozenset[str]:
    """What `hf auth login` and `wandb login` have kept in files."""
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", f"{caches}/huggingface")
    token = Path(os.environ.get("HF_TOKEN_PATH", f"{home}/token")).expanduser()
    found = {token.read_text(encoding="utf-8").strip()} if token.is_file() else set[str]()
    try:
        logins = netrc.netrc(Path(os.environ.get("NETRC", "~/.netrc")).expanduser())
    except (OSError, netrc.NetrcParseError):
        return frozenset(found)
    return frozenset(found | {login[2] for login in logins.hosts.values() if login[2]})
