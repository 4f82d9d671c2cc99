"""The cache: realises stages, each once, and never shows half an artifact."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from unlearn_lab.graph import manifest as manifests
from unlearn_lab.graph.claim import (
    TRASH,
    Claim,
    ClaimTimeouts,
    Watch,
    break_claim,
    release_dead,
    trash_path,
)
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


class Interrupted(Exception):
    """A build was cut short and can be gone on with: what it left in its work folder is kept."""


@dataclass(kw_only=True)
class Cache:
    """Artifacts below `root/<stage name>/<key>/`.

    `build` runs a stage's builder; `watch` is told of every stage before it is built (artifact
    None) and once it is there.
    """

    root: Path
    build: Build
    watch: OnStage
    timeouts: ClaimTimeouts
    _open: dict[str, Artifact] = field(default_factory=dict[str, Artifact], init=False)

    def has(self, stage: Stage) -> bool:
        """Whether the stage's artifact is there and whole (file sizes as in its manifest)."""
        return is_whole(self.root, stage)

    def folder(self, stage: Stage) -> Path:
        """Where the stage's artifact lies, built or not."""
        return self.root / stage.name / stage.key

    def get_or_build(self, stage: Stage) -> Artifact:
        """The stage's artifact, built with all it needs if it is not there yet.

        Raises `StageFailed`, which names the stage that failed, be it this one or one below it.
        """
        known = self._open.get(stage.key)
        if known is not None:
            return known
        artifact = self._load(stage)
        if artifact is not None:
            release_dead(self._claim(stage))  # killed after it had published
        else:
            inputs = {role: self.get_or_build(needed) for role, needed in stage.inputs.items()}
            artifact = self._obtain(stage, inputs)
        self._open[stage.key] = artifact
        self.watch(stage, artifact)
        return artifact

    def _claim(self, stage: Stage) -> Path:
        return self.folder(stage).with_name(f"{stage.key}.claim")

    def _load(self, stage: Stage, *, claimed: bool = False) -> Artifact | None:
        """A finished artifact, every byte checked, or None.

        A damaged one is removed, and that is said, by whoever has `claimed` it: another process may
        have put a whole one in its place since this one looked.
        """
        folder = self.folder(stage)
        if not folder.exists():
            return None
        try:
            manifest = _checked_manifest(folder, stage)
        except manifests.DamagedArtifact as damage:
            if claimed:
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
        claim_folder = self._claim(stage)
        watch, said = Watch(claim_folder, self.timeouts), False
        uses = [needed.key for needed in stage.walk()]
        while True:
            with Claim(claim_folder, self.timeouts, uses) as claim:
                if claim.try_acquire():
                    artifact = self._load(stage, claimed=True)
                    artifact = artifact or self._build_claimed(stage, inputs, claim)
                    if artifact is not None:
                        return artifact
                    _log.warning("%s: its build was taken over by another process", stage.name)
            if watch.owner_is_dead():
                _log.warning("%s %s: its builder has died; taking over", stage.name, stage.key[:8])
                break_claim(claim_folder, watch.token)
                watch = Watch(claim_folder, self.timeouts)
                continue
            if not said:
                _log.info(
                    "%s %s: another process is building it; waiting", stage.name, stage.key[:8]
                )
                said = True
            time.sleep(self.timeouts.poll)
            artifact = self._load(stage)
            if artifact is not None:
                return artifact

    def _build_claimed(
        self, stage: Stage, inputs: Mapping[str, Artifact], claim: Claim
    ) -> Artifact | None:
        """Builds and publishes; None when the claim was lost meanwhile and the work thrown away."""
        folder = self.folder(stage)
        work = folder.with_name(f"{folder.name}.work.{claim.token}")
        started = time.monotonic()
        try:
            _clear_graves(folder.parent)
            if _adopt_work(folder, work):
                _log.info("%s %s: an interrupted attempt is taken up", stage.name, stage.key[:8])
            self.watch(stage, None)
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
            if not isinstance(error, Interrupted):
                _discard(work)
            if not claim.still_mine():  # the work folder was renamed away under the builder
                return None
            raise StageFailed(stage, error) from error
        return Artifact(stage=stage, path=folder, facts=facts, seconds=seconds, built_now=True)


def is_whole(root: Path, stage: Stage) -> bool:
    """Whether a cache holds the stage's artifact, every file of the size in its manifest."""
    folder = root / stage.name / stage.key
    try:
        manifests.verify(folder, manifests.read_manifest(folder), contents=False)
    except manifests.DamagedArtifact:
        return False
    return True


def _checked_manifest(folder: Path, stage: Stage) -> manifests.Manifest:
    """The manifest of a whole artifact of `stage`; raises `DamagedArtifact`."""
    manifest = manifests.read_manifest(folder)
    manifests.verify(folder, manifest, contents=True)
    if manifest.stage != stage.description:
        raise manifests.DamagedArtifact(f"{folder} describes another stage than its key says")
    return manifest


def _adopt_work(folder: Path, work: Path) -> bool:
    """Makes this claim's own work folder, of what an interrupted attempt left if there is any.

    A rename takes it from an owner that is merely paused. Tells whether there was something.
    """
    left = [path for path in folder.parent.glob(f"{folder.name}.work.*") if path.suffix != TRASH]
    left.sort(key=_changed)
    while left:
        with suppress(FileNotFoundError):  # its owner has removed it meanwhile
            left.pop().rename(work)
            break
    else:
        work.mkdir()
        return False
    for older in left:
        _discard(older)
    return True


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _clear_graves(parent: Path) -> None:
    """Removes what a process was removing when it was killed; a claim's may yet be put back."""
    for trash in parent.glob(f"*{TRASH}"):
        if ".claim." not in trash.name:
            shutil.rmtree(trash, ignore_errors=True)


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
    trash = trash_path(folder)
    try:
        folder.rename(trash)
    except FileNotFoundError:
        return
    except OSError:  # a full disk may have no room for another name
        trash = folder
    shutil.rmtree(trash, ignore_errors=True)
