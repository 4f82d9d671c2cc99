"""Suggests the setting that a misspelt one was meant to be."""

import difflib
import re

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from unlearn_lab.config.paths import data_dir


def suggestion(message: str) -> str:
    """Returns a question to add to Hydra's message about an unknown key; empty if no key is close.

    Compares with the keys of the default configuration, whatever options were chosen.
    """
    found = re.search(r"Could not override '([\w.]+)'", message)
    if found is None:
        return ""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(data_dir("conf")), version_base="1.3"):
        known = _paths(OmegaConf.to_container(compose("config")), "")
    close = difflib.get_close_matches(found[1], known, n=1)
    return f"\ndid you mean {close[0]}?" if close else ""


def _paths(node: object, path: str) -> list[str]:
    if not isinstance(node, dict):
        return [path]
    inner = [found for name, value in node.items() for found in _paths(value, f"{path}.{name}")]
    return [path.lstrip("."), *(found.lstrip(".") for found in inner)]
