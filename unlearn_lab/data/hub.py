"""Loads a split of a data set from the hub or from its local copy."""

from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, cast

from unlearn_lab.data.rows import Row, Rows
from unlearn_lab.graph.hub_commit import gated, is_commit, is_gated

if TYPE_CHECKING:
    from datasets import Dataset


_KINDS = frozenset({"arrow", "cache", "csv", "json", "parquet", "text"})
"""Builders of `datasets` for plain tables; others open archives, which may contain pickles."""


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
    """Loads one split like `datasets.load_dataset`, restricted to plain tables.

    Args:
        path: hub name, folder, or the name of a builder ("csv").
        split: the split.
        name: the configuration.
        revision: branch, tag or commit on the hub.
        data_files: file to read with the builder.
        cache_dir: cache folder of `datasets`.
        in_memory: copies the rows into memory.

    Raises:
        ValueError: the files are not plain tables or need a loading script; else what `datasets`
            raises.
    """
    from datasets import load_dataset_builder

    try:
        builder = load_dataset_builder(
            path, name, revision=revision, data_files=data_files, cache_dir=cache_dir
        )
    except RuntimeError as error:  # a loading script, which `datasets` no longer runs
        raise ValueError(" ".join(str(error).split())) from error
    readers = {known.__module__.rsplit(".", 1)[-1] for known in type(builder).__mro__}
    if not readers & _KINDS:
        (reader, *_) = readers - {"builder", "load", "builtins"}
        raise ValueError(f"its file format is {reader}, which is not a plain table")
    builder.download_and_prepare()
    return cast("Dataset", builder.as_dataset(split=split, in_memory=in_memory))


def load_split(path: str, name: str | None, split: str, revision: str | None) -> "Dataset":
    """Loads one split of a hub data set.

    Works offline if the commit was loaded before or fetched with `hf download`. Deviates from
    `datasets`, which silently falls back to the commit loaded last if the requested one is not
    reachable: that raises `ValueError` here. Otherwise raises what `datasets` raises.

    Args:
        path: hub name.
        name: the configuration.
        split: the split.
        revision: branch, tag or commit.
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
        raise ValueError(f"{failure}; reading the downloaded copy: {error}") from error


def rows_of(path: str, name: str, split: str, revision: str | None, give: str) -> Rows:
    """Returns the rows of a split, numbered from 1.

    Raises `ValueError` in one line, beginning with `path=`, if it cannot be loaded.

    Args:
        path: hub name.
        name: the configuration.
        split: the split.
        revision: branch, tag or commit.
        give: the values that would work, for the advice.
    """
    import httpx
    from datasets.exceptions import DatasetsError

    try:
        found = load_split(path, name, split, revision)
    except (OSError, ValueError, DatasetsError, httpx.HTTPError) as error:
        raise not_loaded("path", path, error, give) from error
    rows = tuple(Row(f"row {number}", "", value) for number, value in enumerate(found, start=1))
    return Rows(f"{path} {name}/{split}", rows, ())


def not_loaded(setting: str, path: str, error: Exception, give: str) -> ValueError:
    """Returns the one-line error for a data set that cannot be loaded.

    Args:
        setting: config path of the data set.
        path: its value.
        error: the cause.
        give: the values that would work, for the advice.
    """
    if is_gated(error) or "is a gated dataset" in str(error):  # `datasets` hides the cause
        return ValueError(gated(setting, path, "dataset"))
    reason = " ".join(str(error).split())[:300]
    return ValueError(
        f"{setting}={path}: cannot be loaded ({reason}). Give {give}, or a hub name that is "
        "reachable or in the local cache (hf download --repo-type dataset NAME)"
    )


def _prepared(path: str, name: str | None, split: str, revision: str | None) -> "Dataset | None":
    """Returns the split from the cache of `datasets`; None unless it has this commit once."""
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
    """Whether the rows come from this commit, by the names of their cache folders."""
    return all(commit in Path(file["filename"]).parts for file in found.cache_files)


def _fetched(path: str, revision: str | None) -> str | None:
    """Returns the folder of a data set fetched with `hf download`; None if there is none."""
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(
            path, revision=revision, repo_type="dataset", local_files_only=True
        )
    except (OSError, ValueError):
        return None
