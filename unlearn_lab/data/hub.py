"""Reads a split of a data set from the hub, or from what was downloaded of it."""

from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, cast

from unlearn_lab.graph.hub_commit import gated, is_commit, is_gated

if TYPE_CHECKING:
    from datasets import Dataset


def load_split(path: str, name: str | None, split: str, revision: str | None) -> "Dataset":
    """One split of a hub data set; `name` is its configuration.

    What was read once of a commit is found again without network, and so is what `hf download`
    has fetched. `datasets` itself takes the commit that it read last where it cannot reach the one
    asked for, and says nothing. Raises what `datasets` raises.
    """
    from datasets import load_dataset

    known = _prepared(path, name, split, revision)
    if known is not None:
        return known
    try:
        found = cast("Dataset", load_dataset(path, name, split=split, revision=revision))
        if revision is None or not is_commit(revision) or _is_of(found, revision):
            return found
        failure: Exception = ValueError(
            f"the hub is not reachable, and {name} of commit {revision} is not in the local cache"
        )
    except (OSError, ValueError) as error:
        failure = error
    folder = _fetched(path, revision)
    if folder is None:
        raise failure
    try:
        return cast("Dataset", load_dataset(folder, name, split=split))
    except (OSError, ValueError) as error:
        raise ValueError(f"{failure}; of what was downloaded: {error}") from error


def not_loaded(setting: str, path: str, error: Exception, give: str) -> ValueError:
    """The error, in one line, of a data set that cannot be had; `give` says what would do."""
    if is_gated(error) or "is a gated dataset" in str(error):  # `datasets` hides the cause
        return ValueError(gated(setting, path, "dataset"))
    reason = " ".join(str(error).split())[:300]
    return ValueError(
        f"{setting}={path}: cannot be loaded ({reason}). Give {give}, or a hub name that is "
        "reachable or in the local cache (hf download --repo-type dataset NAME)"
    )


def _prepared(path: str, name: str | None, split: str, revision: str | None) -> "Dataset | None":
    """The split as `datasets` keeps it since it was read from this commit."""
    from datasets import config
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache

    if revision is None or not is_commit(revision):
        return None
    *owner, short = path.split("/")
    kept = Path(config.HF_DATASETS_CACHE) / "___".join([*owner, camelcase_to_snakecase(short)])
    places = list(kept.glob(f"{escape(name) if name else '*'}/*/{revision}"))
    if len(places) != 1:
        return None
    configuration, version, commit = places[0].parts[-3:]
    made = Cache(
        repo_id=path,
        dataset_name=short,
        config_name=configuration,
        version=version,
        hash=commit,
    )
    return cast("Dataset", made.as_dataset(split=split))


def _is_of(found: "Dataset", commit: str) -> bool:
    """Whether rows were read from this commit, by the folders that `datasets` keeps them in."""
    return all(commit in Path(file["filename"]).parts for file in found.cache_files)


def _fetched(path: str, revision: str | None) -> str | None:
    """The folder into which `hf download` has put the data set."""
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(
            path, revision=revision, repo_type="dataset", local_files_only=True
        )
    except (OSError, ValueError):
        return None
