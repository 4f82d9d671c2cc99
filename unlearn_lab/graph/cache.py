"""Builds each stage once across processes and publishes complete artifacts only."""

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
    """A finished stage on disk.

    Attributes:
        stage: the stage.
        path: folder of its files.
        facts: what the builder reported about its run.
        seconds: build time.
        built_now: whether this process built it; if not, it was reused.
    """

    stage: Stage
    path: Path
    facts: Mapping[str, object]
    seconds: float
    built_now: bool


Facts = Mapping[str, object]
Build = Callable[[Stage, Mapping[str, Artifact], Path], Facts]
"""Builds a stage from its input artifacts (by role) into a work folder; returns what really ran.

The work folder may contain checkpoints of an interrupted build: the builder resumes from them or
removes them.
"""

OnStage = Callable[[Stage, Artifact | None], None]


class StageFailed(Exception):
    """A stage could not be built: `stage` is that stage, `__cause__` the error."""

    def __init__(self, stage: Stage, cause: BaseException) -> None:
        super().__init__(f"{stage.name} {stage.key[:8]}: {cause}")
        self.stage = stage


class Interrupted(Exception):
    """A build stopped early and can resume: its work folder is kept."""


@dataclass(kw_only=True)
class Cache:
    """Artifacts in `root/<stage name>/<key>/`, built on request.

    Attributes:
        root: folder of the cache.
        build: runs a stage's builder.
        watch: called with a stage and None before it is built, with its artifact once available.
        timeouts: timing of claims.

    Example:
        from pathlib import Path
        from unlearn_lab.graph.cache import Cache
        from unlearn_lab.graph.claim import ClaimTimeouts

        def build(stage, inputs, work):  # `inputs`: artifacts by role; `work`: folder to fill
            return {"characters": (work / "params.txt").write_text(str(stage.params))}

        timeouts = ClaimTimeouts(heartbeat=5.0, poll=0.5, stale_after=60.0)
        cache = Cache(root=Path("cache"), build=build, watch=print, timeouts=timeouts)
        artifact = cache.get_or_build(train)  # the stage of the example in `Stage`
    """

    root: Path
    build: Build
    watch: OnStage
    timeouts: ClaimTimeouts
    _open: dict[str, Artifact] = field(default_factory=dict[str, Artifact], init=False)

    def has(self, stage: Stage) -> bool:
        """Whether the stage's artifact exists, with the file sizes of its manifest."""
        return is_whole(self.root, stage)

    def folder(self, stage: Stage) -> Path:
        """Returns the folder of the stage's artifact, built or not."""
        return self.root / stage.name / stage.key

    def get_or_build(self, stage: Stage) -> Artifact:
        """Returns the stage's artifact; builds it, and missing inputs first, if necessary.

        Raises `StageFailed` with the stage that failed: this one or one upstream.
        """
        known = self._open.get(stage.key)
        if known is not None:
            return known
        artifact = self._load(stage)
        if artifact is not None:
            release_dead(self._claim(stage))  # its builder was killed after publishing
        else:
            inputs = {role: self.get_or_build(needed) for role, needed in stage.inputs.items()}
            artifact = self._obtain(stage, inputs)
        self._open[stage.key] = artifact
        self.watch(stage, artifact)
        return artifact

    def _claim(self, stage: Stage) -> Path:
        return self.folder(stage).with_name(f"{stage.key}.claim")

    def _load(self, stage: Stage, *, claimed: bool = False) -> Artifact | None:
        """Returns the artifact after checking every byte; None if it is missing or damaged.

        A damaged artifact is logged and removed only if the caller has `claimed` the stage: another
        process may have replaced it since it was read here.
        """
        folder = self.folder(stage)
        if not folder.exists():
            return None
        try:
            manifest = _checked_manifest(folder, stage)
        except manifests.DamagedArtifact as damage:
            if claimed:
                _log.warning("%s: %s; rebuilding it", stage.name, damage)
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
        """Builds the stage, or waits while another process builds it."""
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
        """Builds and publishes the artifact; returns None if the claim was lost meanwhile."""
        folder = self.folder(stage)
        work = folder.with_name(f"{folder.name}.work.{claim.token}")
        started = time.monotonic()
        try:
            _clear_trash(folder.parent)
            if _adopt_work(folder, work):
                _log.info("%s %s: resuming an interrupted build", stage.name, stage.key[:8])
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
    """Whether a cache contains the stage's artifact, with the file sizes of its manifest."""
    folder = root / stage.name / stage.key
    try:
        manifests.verify(folder, manifests.read_manifest(folder), contents=False)
    except manifests.DamagedArtifact:
        return False
    return True


def _checked_manifest(folder: Path, stage: Stage) -> manifests.Manifest:
    """Returns the manifest of a complete artifact of `stage`; raises `DamagedArtifact`."""
    manifest = manifests.read_manifest(folder)
    manifests.verify(folder, manifest, contents=True)
    if manifest.stage != stage.description:
        raise manifests.DamagedArtifact(f"{folder} has the manifest of another stage")
    return manifest


def _adopt_work(folder: Path, work: Path) -> bool:
    """Creates this claim's work folder, from the newest one of an interrupted build if one exists.

    The rename takes the folder from an owner that is only paused. Returns whether one was reused.
    """
    left = [path for path in folder.parent.glob(f"{folder.name}.work.*") if path.suffix != TRASH]
    left.sort(key=_changed)
    while left:
        with suppress(FileNotFoundError):  # removed by its owner meanwhile
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


def _clear_trash(parent: Path) -> None:
    """Removes the trash of killed processes, except claims, which may be restored."""
    for trash in parent.glob(f"*{TRASH}"):
        if ".claim." not in trash.name:
            shutil.rmtree(trash, ignore_errors=True)


def _open_to_umask(work: Path, made: Path) -> None:
    """Gives every file the mode of the umask: libraries create some for their owner alone.

    The umask is read from the mode of the folder `made`, which this process has just created.
    """
    mode = made.stat().st_mode
    for path in (work, *work.rglob("*")):
        with suppress(PermissionError):  # of another user, from an interrupted build
            path.chmod(mode & (0o777 if path.is_dir() else 0o666))


def _publish(work: Path, folder: Path) -> None:
    """Makes the artifact visible by one rename; discards it if another one was first."""
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
    except OSError:  # a rename may fail on a full disk
        trash = folder
    shutil.rmtree(trash, ignore_errors=True)
