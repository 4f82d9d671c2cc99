"""Reads a split of a data set from the hub, or from what was downloaded of it."""

from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, cast

from unlearn_lab.graph.hub_commit import gated, is_commit, is_gated

if TYPE_CHECKING:
    from datasets import Dataset


_KINDS = frozenset({"arrow", "cache", "csv", "json", "parquet", "text"})
"""The readers of `datasets` for plain tables; its others open archives, and pickles in them."""


def read_split(
    path: str,
    split: str,
    *,
    name: str | None = None,
    revision: str | None = None,
    data_files: str | None = None,
    cache_dir: str | None = None,
    in_memory: bool = False,
) -> "Dataset":
    """What `datasets.load_dataset` gives, for plain tables alone.

    Raises `ValueError` for other files and for a script that would read them, and else what
    `datasets` raises.
    """
    from datasets import load_dataset_builder

    try:
        builder = load_dataset_builder(
            path, name, revision=revision, data_files=data_files, cache_dir=cache_dir
        )
    except RuntimeError as error:  # a script, which `datasets` does not run any more
        raise ValueError(" ".join(str(error).split())) from error
    readers = {known.__module__.rsplit(".", 1)[-1] for known in type(builder).__mro__}
    if not readers & _KINDS:
        (reader, *_) = readers - {"builder", "load", "builtins"}
        raise ValueError(f"its files are of the kind {reader}, no plain tables")
    builder.download_and_prepare()
    return cast("Dataset", builder.as_dataset(split=split, in_memory=in_memory))


def load_split(path: str, name: str | None, split: str, revision: str | None) -> "Dataset":
    """One split of a hub data set; `name` is its configuration.

    What was read once of a commit is found again without network, and so is what `hf download`
    has fetched. `datasets` itself takes the commit that it read last where it cannot reach the one
    asked for, and says nothing. Raises what `datasets` raises.
    """
    known = _prepared(path, name, split, revision)
    if known is not None:
        return known
    try:
        found = read_split(path, split, name=name, revision=revision)
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
        return read_split(folder, split, name=name)
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
