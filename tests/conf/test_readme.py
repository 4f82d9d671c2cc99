"""The README's commands are the program's: each composes, and what it names exists."""

import re
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from unlearn_lab.config.paths import data_dir

ROOT = data_dir("conf").parent
FILES = (
    *("README.md", "conf/config.yaml"),
    *("docs/findings.md", "docs/clusters.md", "docs/clusters_ray.md"),
)


def commands():
    texts = [(ROOT / name).read_text() for name in FILES]
    found = re.findall(r"python -m unlearn_lab ([^`\n#]+)", "\n".join(texts))
    return sorted({command.strip() for command in found if "GROUP=" not in command})


def test_there_are_commands_to_check():
    assert len(commands()) >= 4


@pytest.mark.parametrize("line", [line for line in commands() if not line.startswith("--")])
def test_every_command_composes(composed, line):
    overrides = [word for word in shlex.split(line) if not word.startswith("-")]
    single = [word.split(",")[0] for word in overrides]
    config = composed(*single)
    for override in OverridesParser.create().parse_overrides(single):
        name = override.key_or_group
        if name == "seed" or ("." in name and not name.startswith("hydra.")):
            found = OmegaConf.select(config, name, throw_on_missing=True)
            assert found == override.value(), override.input_line


def test_every_make_target_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z]+(?:-[a-z]+)?)", (ROOT / "README.md").read_text())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_option_in_the_table_exists():
    table = re.findall(r"^\| `(\w+)` \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    for group, cell in table:
        for option in re.findall(r"`(\w+)`", cell.split("(")[0]):
            if (ROOT / "conf" / group).is_dir():
                assert (ROOT / "conf" / group / f"{option}.yaml").exists(), (group, option)
