"""Reads a split of a data set from the hub, or from what was downloaded of it."""

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from datasets import Dataset


def load_split(path: str, name: str | None, split: str, revision: str | None) -> "Dataset":
    """One split of a hub data set; `name` is its configuration.

    Without network `datasets` looks into its own cache alone; what `hf download` has fetched is
    found here. Raises what `datasets` raises.
    """
    from datasets import load_dataset
    from huggingface_hub import snapshot_download

    try:
        found = load_dataset(path, name, split=split, revision=revision)
    except ConnectionError as unreachable:
        try:
            fetched = snapshot_download(
                path, revision=revision, repo_type="dataset", local_files_only=True
            )
        except OSError:
            raise unreachable from None
        found = load_dataset(fetched, name, split=split)
    return cast("Dataset", found)


def not_loaded(setting: str, path: str, error: Exception, give: str) -> ValueError:
    """The error, in one line, of a data set that cannot be had; `give` says what would do."""
    reason = " ".join(str(error).split())[:300]
    return ValueError(
        f"{setting}={path}: cannot be loaded ({reason}). Give {give}, or a hub name that is "
        "reachable or in the local cache (hf download --repo-type dataset NAME)"
    )
