"""Changed maths cannot serve old results: an engine's source may change only with its version.

The engine of a stage is what its builder's module reaches without any part; the code of parts is in
the keys by digest. After a change that alters what a stage computes, raise its number in
`stages.VERSIONS`. After one that does not, only the digests are renewed (comments and layout never
show up here): `python -m tests.test_versions` rewrites golden_versions.json.
"""

import json
from pathlib import Path

import pytest

from unlearn_lab.config.paths import named_parts
from unlearn_lab.graph import code
from unlearn_lab.plan import stages
from unlearn_lab.plan.pinned import engine

GOLDEN = Path(__file__).with_name("golden_versions.json")


def pins():
    """The version of each stage, the modules of its engine, and the digest of each module."""
    engines = {name: sorted(engine(builder)) for name, builder in stages.BUILDERS.items()}
    modules = sorted({module for names in engines.values() for module in names})
    return {
        "versions": stages.VERSIONS,
        "engines": engines,
        "digests": code.digests({name: code.read_module(name) for name in modules}),
    }


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("name", stages.VERSIONS)
def test_a_changed_engine_has_a_new_version(name, golden):
    found = pins()
    before, now = (
        {module: one["digests"].get(module) for module in one["engines"].get(name, [])}
        for one in (golden, found)
    )
    changed = sorted(one for one in {**before, **now} if before.get(one) != now.get(one))
    advice = (
        f"{', '.join(changed) or 'the version'} changed, and stage {name} runs it: if its results "
        f"do, raise stages.VERSIONS[{name!r}]; then run python -m tests.test_versions"
    )
    assert not changed, advice
    assert golden["versions"].get(name) == stages.VERSIONS[name], advice


def test_no_part_is_hidden_in_an_engine():
    """What a part does is known by its digest, never by a version that somebody must raise."""
    for builder in stages.BUILDERS.values():
        assert engine(builder) & named_parts() == set()


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(pins(), indent=1) + "\n")
