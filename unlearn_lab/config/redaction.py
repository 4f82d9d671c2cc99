"""Redacts secrets and control characters in messages and logs; rejects secrets in settings."""

import contextlib
import logging
import netrc
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

_NAME = re.compile(r"(?:^|_)(?:token|secret|password|passwd|api_?key|access_key|secret_key)$", re.I)
"""Names of settings and environment variables that contain a secret; not `num_tokens`."""
_SHAPE = re.compile(
    r"(?<=://)[^/\s@'\"]+(?=@)"  # of https://name:password@host
    r"|\b(?:hf_[A-Za-z0-9]{20,}|wandb_v1_\w{20,}|gh[a-z]_[A-Za-z0-9]{30,}|github_pat_\w{20,})"
)
_SHORTEST = 8
"""Shorter values of such variables, say `false`, would match too many words."""
_HIDDEN = "***"
_STEERING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]|\r(?!\n)"
)
"""Control characters except tab and line ends, and overrides of the text direction."""


def escape_controls(text: str) -> str:
    r"""Returns the text with control characters escaped, as in `\\x1b`."""
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def redact(text: str) -> str:
    """Returns the text fit to show or log: secrets masked, control characters escaped."""
    return escape_controls(mask_secrets(text))


class RedactingFormatter(logging.Formatter):
    """Redacts every log line; named in conf/hydra/job_logging/lab.yaml."""

    def format(self, record: logging.LogRecord) -> str:
        """Formats and redacts the whole line, a traceback included."""
        return redact(super().format(record))


class LogFile(logging.FileHandler):
    """Appends to a log file; warns once on a write error instead of failing the job."""

    _refused = False

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line; opens the file for the first."""
        try:
            if self.stream is None:
                self.stream = self._open()
            self.stream.write(self.format(record) + self.terminator)
            self.flush()
        except OSError as error:
            if not self._refused:
                self._refused = True
                sys.stderr.write(f"{self.baseFilename}: the log is incomplete ({error.strerror})\n")


def mask_secrets(text: str) -> str:
    """Returns the text with known secrets, and strings that look like one, replaced by stars."""
    for secret in _known():
        text = text.replace(secret, _HIDDEN)
    return _SHAPE.sub(_HIDDEN, text)


def reject_secrets(value: object, path: str) -> None:
    """Raises `ValueError` for a setting that contains a secret: records and reports store settings.

    The message names the setting, never its value.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            reject_secrets(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for inner in value:
            reject_secrets(inner, path)
    elif (
        isinstance(value, str) and value and (_is_secret_name(path) or mask_secrets(value) != value)
    ):
        raise ValueError(_refusal(path))


def reject_secrets_in_command(arguments: Sequence[str]) -> None:
    """Raises `ValueError` for an argument that contains a secret: Hydra stores the command line.

    Hydra also stores the values of variables that `hydra.job.env_copy` or `env_set` names.
    """
    for argument in arguments:
        name, _, value = argument.partition("=")
        passed = re.findall(r"\w+", value) if name.lstrip("+~").startswith("hydra.job.env") else []
        if mask_secrets(argument) != argument or any(map(_NAME.search, passed)):
            raise ValueError(_refusal(mask_secrets(name)))
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
    """Yields the user's secrets, longest first, so that none is replaced only in part."""
    variables = {value for name, value in os.environ.items() if _NAME.search(name)}
    found = {secret for secret in variables | _kept() if len(secret) >= _SHORTEST}
    yield from sorted(found, key=len, reverse=True)


@cache
def _kept() -> frozenset[str]:
    """Returns the secrets that `hf auth login` and `wandb login` have stored in files."""
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", f"{caches}/huggingface")
    token = Path(os.environ.get("HF_TOKEN_PATH", f"{home}/token")).expanduser()
    found = set[str]()
    with contextlib.suppress(OSError):  # no such file, or another user's
        found.add(token.read_text(encoding="utf-8").strip())
    try:
        logins = netrc.netrc(Path(os.environ.get("NETRC", "~/.netrc")).expanduser())
    except (OSError, netrc.NetrcParseError):
        return frozenset(found)
    return frozenset(found | {login[2] for login in logins.hosts.values() if login[2]})
