"""Looks up optional libraries: whether each is installed, its version, and its extra."""

import re
from importlib.metadata import PackageNotFoundError, version

EXTRAS = {
    "llmcompressor": "gptq",
    "compressed-tensors": "gptq",
    "bitsandbytes": "bnb",
    "gguf": "gguf",
    "gptqmodel": "gptqmodel",
    "lm-eval": "utility",
    "peft": "lora",
    "sentencepiece": "sentencepiece",
    "wandb-workspaces": "dashboards",
    "hydra-joblib-launcher": "joblib",
    "hydra-submitit-launcher": "slurm",
    "hydra-ray-launcher": "ray",
    "hydra-optuna-sweeper": "optuna",
}
"""The extra of this package that installs each library."""

PLUGINS = {
    "launcher/joblib": "hydra-joblib-launcher",
    "launcher/submitit_local": "hydra-submitit-launcher",
    "launcher/submitit_slurm": "hydra-submitit-launcher",
    "launcher/ray": "hydra-ray-launcher",
    "sweeper/optuna": "hydra-optuna-sweeper",
}
"""The library that provides each of these Hydra options."""


def installed(library: str) -> str | None:
    """Returns the library's name and version, None if it is not installed; imports nothing."""
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return None


def version_of(library: str) -> str | None:
    """Returns the library's version, None if it is not installed; imports nothing."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def require(library: str) -> str:
    """Returns the library's name and version; raises `ValueError` with the extra to install."""
    found = installed(library)
    if found is None:
        raise ValueError(_install_hint(library))
    return found


def missing_plugin(message: str) -> str | None:
    """Returns what to install if Hydra's message is about an option of a missing plugin."""
    found = re.search(r"Could not (?:find|load) 'hydra/(\w+/\w+)'", message)
    if found is None or found[1] not in PLUGINS:
        return None
    return f"hydra/{found[1].replace('/', '=')}: {_install_hint(PLUGINS[found[1]])}"


def _install_hint(library: str) -> str:
    return (
        f"needs the library {library}, which is not installed: "
        f"pip install -c constraints.txt -e '.[{EXTRAS[library]}]' (or: pip install {library})"
    )
