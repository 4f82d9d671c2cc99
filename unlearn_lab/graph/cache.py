"""The cache: realises stages, each once, and never shows half an artifact."""

import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from unlearn_lab.graph import manifest as manifests
from unlearn_lab.graph.claim import Claim, Patience, Watch, break_claim
from unlearn_lab.graph.stage import Stage

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A finished stage on disk: its folder, its builder's facts and the seconds of building."""

    stage: Stage
    path: Path
    facts: Mapping[str, object]
    seconds: float
    built_now: bool


Facts = Mapping[str, object]
Build = Callable[[Stage, Mapping[str, Artifact], Path], Facts]
"""Builds a stage from its input artifacts into a work folder and reports what really ran.

The work folder may hold what an interrupted attempt left (checkpoints); the builder resumes from it
or removes it.
"""

OnStage = Callable[[Stage, Artifact | None], None]


class StageFailed(Exception):
    """A stage could not be built; `stage` tells which, `__cause__` why."""

    def __init__(self, stage: Stage, cause: BaseException) -> None:
        super().__init__(f"{stage.name} {stage.key[:8]}: {cause}")
        self.stage = stage


@dataclass(kw_only=True)
class Cache:
    """Artifacts below `root/<stage name>/<key>/`.

    `build` runs a stage's builder; `watch` is told of every stage before it is built (artifact
    None) and once it is there.
    """

    root: Path
    build: Build
    watch: OnStage
    patience: Patience
    _open: dict[str, Artifact] = field(default_factory=dict[str, Artifact], init=False)

    def has(self, stage: Stage) -> bool:
        """Whether the stage's artifact is there and whole (file sizes as in its manifest)."""
        try:
            manifests.verify(self.folder(stage), manifests.read(self.folder(stage)), contents=False)
        except manifests.DamagedArtifact:
            return False
        return True

    def folder(self, stage: Stage) -> Path:
        """Where the stage's artifact lies, built or not."""
        return self.root / stage.name / stage.key

    def realise(self, stage: Stage) -> Artifact:
        """The stage's artifact, built with all it needs if it is not there yet.

        Raises `StageFailed`, which names the stage that failed, be it this one or one below it.
        """
        known = self._open.get(stage.key)
        if known is not None:
            return known
        artifact = self._load(stage)
        if artifact is None:
            inputs = {role: self.realise(needed) for role, needed in stage.inputs.items()}
            artifact = self._obtain(stage, inputs)
        self._open[stage.key] = artifact
        self.watch(stage, artifact)
        return artifact

    def _load(self, stage: Stage) -> Artifact | None:
        """A finished artifact, every byte checked, or None; a damaged one is removed and logged."""
        folder = self.folder(stage)
        if not folder.exists():
            return None
        try:
            manifest = _checked_manifest(folder, stage)
        except manifests.DamagedArtifact as damage:
            _log.warning("%s: %s; it is built again", stage.name, damage)
            _discard(folder)
            return None
        return Artifact(
            stage=stage,
            path=folder,
            facts=manifest.facts,
            seconds=manifest.seconds,
            built_now=False,
        )

    def _obtain(self, stage: Stage, inputs: Mapping[str, Artifact]) -> Artifact:
        """Builds the stage, or waits while another process does."""
        folder = self.folder(stage)
        folder.parent.mkdir(parents=True, exist_ok=True)
        claim_folder = folder.with_name(f"{stage.key}.claim")
        watch, said = Watch(claim_folder, self.patience), False
        while True:
            with Claim(claim_folder, self.patience) as claim:
                if claim.try_acquire():
                    artifact = self._load(stage) or self._build_claimed(stage, inputs, claim)
                    if artifact is not None:
                        return artifact
                    _log.warning("%s: its build was taken over by another process", stage.name)
            if watch.owner_is_dead():
                _log.warning("%s %s: its builder has died; taking over", stage.name, stage.key[:8])
                break_claim(claim_folder, watch.token)
                watch = Watch(claim_folder, self.patience)
                continue
            if not said:
                _log.info(
                    "%s %s: another process is building it; waiting", stage.name, stage.key[:8]
                )
                said = True
            time.sleep(self.patience.look)
            artifact = self._load(stage)
            if artifact is not None:
                return artifact

    def _build_claimed(
        self, stage: Stage, inputs: Mapping[str, Artifact], claim: Claim
    ) -> Artifact | None:
        """Builds and publishes; None when the claim was lost meanwhile and the work thrown away."""
        folder = self.folder(stage)
        work = _adopt_work(folder, claim.token)
        self.watch(stage, None)
        started = time.monotonic()
        try:
            facts = self.build(stage, inputs, work)
            seconds = time.monotonic() - started
            manifest = manifests.Manifest(
                stage=stage.description,
                files=manifests.describe_files(work),
                facts=facts,
                seconds=seconds,
            )
            manifests.write(work, manifest)
            _open_to_umask(work, claim.folder)
            if not claim.still_mine():
                _discard(work)
                return None
            _publish(work, folder)
        except Exception as error:
            _discard(work)
            if not claim.still_mine():  # the work folder was renamed away under the builder
                return None
            raise StageFailed(stage, error) from error
        return Artifact(stage=stage, path=folder, facts=facts, seconds=seconds, built_now=True)


def _checked_manifest(folder: Path, stage: Stage) -> manifests.Manifest:
    """The manifest of a whole artifact of `stage`; raises `DamagedArtifact`."""
    manifest = manifests.read(folder)
    manifests.verify(folder, manifest, contents=True)
    if manifest.stage != stage.description:
        raise manifests.DamagedArtifact(f"{folder} describes another stage than its key says")
    return manifest


def _adopt_work(folder: Path, token: str) -> Path:
    """This claim's own work folder, holding what the last interrupted attempt left.

    A rename takes it from an owner that is merely paused.
    """
    work = folder.with_name(f"{folder.name}.work.{token}")
    left = sorted(
        (path for path in folder.parent.glob(f"{folder.name}.work.*") if path.suffix != ".dead"),
        key=lambda path: path.stat().st_mtime,
    )
    if left:
        left.pop().rename(work)
    else:
        work.mkdir()
    for older in left:
        _discard(older)
    return work


def _open_to_umask(work: Path, made: Path) -> None:
    """Gives every file the mode that the umask gives: libraries make some for their owner alone.

    The mode of the folder `made`, which this process has just made, tells the umask.
    """
    mode = made.stat().st_mode
    for path in (work, *work.rglob("*")):
        with suppress(PermissionError):  # left by another user, whose umask counts
            path.chmod(mode & (0o777 if path.is_dir() else 0o666))


def _publish(work: Path, folder: Path) -> None:
    """One rename makes the artifact visible; if another publisher was first, this one goes."""
    try:
        os.rename(work, folder)
    except OSError:
        if not (folder / manifests.FILE).exists():
            raise
        _discard(work)


def _discard(folder: Path) -> None:
    grave = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.dead")
    try:
        folder.rename(grave)
    except FileNotFoundError:
        return
    shutil.rmtree(grave, ignore_errors=True)
