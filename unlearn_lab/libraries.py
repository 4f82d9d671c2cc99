"""The libraries that an extra brings: whether they are there, and which version."""

from importlib.metadata import PackageNotFoundError, version

EXTRAS = {
    "llmcompressor": "gptq",
    "compressed-tensors": "gptq",
    "bitsandbytes": "bnb",
    "gguf": "gguf",
    "gptqmodel": "gptqmodel",
    "lm-eval": "utility",
    "peft": "lora",
}
"""The extra of this package that installs each library."""


def installed(library: str) -> str | None:
    """The library's name and version, None where it is not installed; imports nothing."""
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return None


def require(library: str) -> str:
    """The library's name and version; raises `ValueError` that names the extra to install."""
    found = installed(library)
    if found is None:
        extra = EXTRAS[library]
        raise ValueError(
            f"needs the library {library}, which is not installed: "
            f"pip install -c constraints.txt -e '.[{extra}]' (or: pip install {library})"
        )
    return found
