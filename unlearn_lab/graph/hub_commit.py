"""Resolves a name on the Hugging Face hub to a commit, or explains in one line why it cannot."""

import re
from collections.abc import Iterator
from typing import Any


class Unreachable(ValueError):
    """The hub cannot be reached, and its local cache does not have the repository."""


def hub_commit(name: str, revision: str | None, kind: str, setting: str) -> str:
    """Returns the commit of a revision of a hub repository.

    Where the hub cannot be reached or refuses, the commit last seen by the local cache counts, if
    files of it are cached. Raises `ValueError`, which begins with `setting`, when neither has one:
    `Unreachable` if that is all that is known.

    Args:
        name: name of the repository on the hub.
        revision: branch, tag or commit; None is main.
        kind: "model" or "dataset".
        setting: config path of the name, for messages.
    """
    import httpx
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import HFValidationError, RevisionResolutionError

    unreachable = (OSError, httpx.HTTPError, RevisionResolutionError)
    try:
        return _resolved(name, revision, kind, locally=is_offline_mode())
    except HFValidationError as error:
        reason = "neither a folder nor a valid hub name"
        raise ValueError(_with_ways_out(setting, name, kind, reason)) from error
    except unreachable as error:
        try:
            return _resolved(name, revision, kind, locally=True)
        except unreachable:
            kind_of_error = ValueError if _answer(error) is not None else Unreachable
            raise kind_of_error(_refusal(error, name, revision, kind, setting)) from error


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit hash, which always means the same files."""
    return re.fullmatch("[0-9a-f]{40}", revision) is not None


def is_gated(error: BaseException) -> bool:
    """Whether the hub refused because the repository is gated; libraries wrap that error."""
    from huggingface_hub.errors import GatedRepoError

    return any(isinstance(cause, GatedRepoError) for cause in _causes(error))


def gated(setting: str, name: str, kind: str) -> str:
    """Returns one line on how to get access to a gated repository.

    Args:
        setting: config path of the name.
        name: name of the repository on the hub.
        kind: "model" or "dataset".
    """
    place = f"datasets/{name}" if kind == "dataset" else name
    return (
        f"{setting}={name}: is gated on the hub. Ask for access at https://huggingface.co/{place}, "
        "then log in with `hf auth login`, or set HF_TOKEN to your token"
    )


def _resolved(name: str, revision: str | None, kind: str, *, locally: bool) -> str:
    """Returns a commit that is in the local cache or, unless `locally`, exists on the hub."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    hub = HfApi()
    found = hub.resolve_revision(
        name, repo_type=kind, revision=revision, local_files_only=locally
    ).resolved
    try:
        snapshot_download(name, revision=found, repo_type=kind, local_files_only=True)
    except IncompleteSnapshotError:
        pass  # only the files that were read were downloaded
    except LocalEntryNotFoundError:
        if locally:
            raise
        hub.repo_info(name, revision=found, repo_type=kind)
    return found


def _refusal(error: Exception, name: str, revision: str | None, kind: str, setting: str) -> str:
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    answer = _answer(error)
    if isinstance(answer, GatedRepoError):
        return gated(setting, name, kind)
    if isinstance(answer, RevisionNotFoundError):
        asked = revision or "main"
        return f"{setting}={name}: has no branch, tag or commit {asked} on the hub"
    if isinstance(answer, RepositoryNotFoundError):
        what = "data set" if kind == "dataset" else kind
        return (
            f"{setting}={name}: neither a folder nor a {what} on the hub. Check the name; "
            "a private one needs `hf auth login`, or HF_TOKEN"
        )
    had = "not reachable on the hub"
    if answer is not None:
        had = f"not available on the hub: HTTP status {answer.response.status_code}"
    reason = f"not a folder, {had}, not in its local cache"
    return _with_ways_out(setting, name, kind, reason)


def _answer(error: BaseException) -> Any:
    """Returns the hub's own refusal among the causes of an error; None if it did not answer."""
    from huggingface_hub.errors import HfHubHTTPError

    return next((cause for cause in _causes(error) if isinstance(cause, HfHubHTTPError)), None)


def _with_ways_out(setting: str, name: str, kind: str, reason: str) -> str:
    where = "or download it where there is network: hf download"
    if kind == "model":
        give = "a folder with config.json, *.safetensors and a tokenizer"
        return f"{setting}={name}: {reason}. Give {give}, {where} {name}"
    where = f"{where} --repo-type dataset {name}"
    if setting == "generic_text.path":
        return (
            f"{setting}={name}: {reason}. Give a folder of parquet, JSONL or text files, {where}; "
            "or calibrate on the corpus: quant/calibration=retain"
        )
    if setting.endswith(".data"):
        return (
            f"{setting}={name}: {reason}. Download it where there is network (hf download "
            f"--repo-type dataset {name} --local-dir FOLDER) and give that folder"
        )
    give = "a folder with the same files"
    return f"{setting}={name}: {reason}. Give {give}, {where}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
