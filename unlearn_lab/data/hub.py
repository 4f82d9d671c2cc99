"""Reads a split of a data set from the hub, or from what was downloaded of it."""

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
        error: OSError | ValueError = ValueError(
            f"the hub is not reachable, and the local cache holds no {name} of commit {revision}"
        )
    except (OSError, ValueError) as unreachable:
        error = unreachable
    fetched = _fetched(path, revision)
    if fetched is None:
        raise error
    return cast("Dataset", load_dataset(fetched, name, split=split))


def not_loaded(setting: str, path: str, error: Exception, give: str) -> ValueError:
    """The error, in one line, of a data set that cannot be had; `give` says what would do."""
    if is_gated(error):
        return ValueError(gated(setting, path, "dataset"))
    reason = " ".join(str(error).split())[:300]
    return ValueError(
        f"{setting}={path}: cannot be loaded ({reason}). Give {give}, or a hub name that is "
        "reachable or in the local cache (hf download --repo-type dataset NAME)"
    )


def _prepared(
    path: str, name: str | None, split: str, revision: str | None
) -> "Dataset | None":
    """The split as `datasets` keeps it since it was read from this commit."""
    from datasets import config
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache

    if revision is None or not is_commit(revision):
        return None
    owner, _, short = path.rpartition("/")
    kept = Path(config.HF_DATASETS_CACHE) / f"{owner}___{camelcase_to_snakecase(short)}"
    places = list(kept.glob(f"{name or '*'}/*/{revision}"))
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
    """The folder into which the whole data set was downloaded."""
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(
            path, revision=revision, repo_type="dataset", local_files_only=True
        )
    except OSError:
        return None
