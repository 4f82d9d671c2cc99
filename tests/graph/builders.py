"""Stages and builders that count what is built."""

from unlearn_lab.graph.cache import Cache
from unlearn_lab.graph.claim import ClaimTimeouts
from unlearn_lab.graph.stage import Stage

QUICK = ClaimTimeouts(heartbeat=0.05, poll=0.02, stale_after=0.5)


def stage(name="n", inputs=None, **params) -> Stage:
    return Stage(name=name, builder="m:f", version=1, params=params, inputs=inputs or {})


class Recorder:
    """A builder that counts its calls and writes one file."""

    def __init__(self):
        self.built = []

    def __call__(self, asked, inputs, work):
        self.built.append(asked.key)
        text = "+".join(
            sorted((artifact.path / "value").read_text() for artifact in inputs.values())
        )
        (work / "value").write_text(f"{asked.name}({text})")
        return {"inputs": len(inputs)}


def make(root, build=None, watch=None, timeouts=QUICK) -> Cache:
    return Cache(
        root=root, build=build or Recorder(), watch=watch or (lambda s, a: None), timeouts=timeouts
    )
