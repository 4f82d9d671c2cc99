"""What a home holds after a run."""

from pathlib import Path


def built(home: Path) -> dict[str, int]:
    """How many artifacts of each stage the cache holds."""
    folders = [folder for folder in (home / "cache").iterdir() if folder.is_dir()]
    return {folder.name: len(list(folder.glob("*/manifest.json"))) for folder in folders}


def stamps(home: Path) -> dict[str, int]:
    """When each artifact was finished: a rebuilt one would be newer."""
    return {
        str(path): path.stat().st_mtime_ns for path in (home / "cache").glob("*/*/manifest.json")
    }
