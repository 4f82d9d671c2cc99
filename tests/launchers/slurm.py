"""A real Slurm of one node, all of whose state lies in a folder of its own."""

import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # where Debian puts daemons

_CONFIGURATION = """
ClusterName=tests
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/daemon
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=5
MinJobAge=60
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Why Slurm cannot be started here; None where it can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"needs Debian's packages slurm-wlm and munge (missing: {', '.join(missing)})"
    return None if os.geteuid() == 0 else "Slurm's daemons are started by root"


@dataclass(frozen=True, kw_only=True)
class OneNodeSlurm:
    """Three daemons in the foreground, children of this process; `environment` leads to them."""

    folder: Path
    processes: list[subprocess.Popen]

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _PATH}

    def __call__(self, *command: str) -> str:
        """What a command of Slurm's prints."""
        variables = {**os.environ, **self.environment}
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def start(self) -> None:
        """Raises `RuntimeError` with the daemons' logs when the node does not come up."""
        for name in ("controller", "daemon"):
            (self.folder / name).mkdir()
        (self.folder / "slurm.conf").write_text(self._configuration())
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self._spawn("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket",
                    f"--key-file={key}", f"--seed-file={self.folder}/munge.seed",
                    f"--pid-file={self.folder}/munge.pid")  # fmt: skip
        self._wait_for((self.folder / "munge.socket").exists)
        self._spawn("slurmctld", "-D")
        self._spawn("slurmd", "-D")
        self._wait_for(lambda: "idle" in self("sinfo", "--noheader", "--format=%T"))

    def stop(self) -> None:
        """Ends every job, then the daemons, the last started first."""
        self("scancel", "--user=root")
        deadline = time.monotonic() + 20
        while self("squeue", "--noheader").strip() and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _configuration(self) -> str:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return _CONFIGURATION.format(
            node=socket.gethostname().split(".")[0],
            ports=[_free_port(), _free_port()],
            user="root",
            folder=self.folder,
            cpus=len(os.sched_getaffinity(0)),
            memory=pages // 2**20 - 512,
        )

    def _spawn(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("wb") as out:
            variables = {**os.environ, **self.environment}
            self.processes.append(
                subprocess.Popen(command, env=variables, stdout=out, stderr=out, cwd=self.folder)
            )

    def _wait_for(self, found) -> None:
        deadline = time.monotonic() + 30
        while not found():
            ended = [process.args[0] for process in self.processes if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                logs = [path.read_text()[-2000:] for path in sorted(self.folder.glob("*.out"))]
                raise RuntimeError("\n".join([f"Slurm did not start (ended: {ended})", *logs]))
            time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
