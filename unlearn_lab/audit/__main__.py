"""`python -m unlearn_lab.audit`: judges models that were unlearned elsewhere."""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from unlearn_lab.audit.findings import Audit, audit_of
from unlearn_lab.audit.page import write_audit
from unlearn_lab.audit.request import AuditRequest, usual_quantizers
from unlearn_lab.config.exits import FAILED, INTERRUPTED
from unlearn_lab.config.redaction import redact
from unlearn_lab.quantize.calibration import SOURCES
from unlearn_lab.record.results import read_records

_EPILOG = """\
status:
  0  every verdict is "stays forgotten"
  1  something failed, also if some of the results are there
  2  refused
  3  something comes back, or was not forgotten
  4  anything else: destroyed, the quantizer keeps too little to tell, no control

examples:
  python -m unlearn_lab.audit --target T --unlearned U --retrain R --dataset tofu
  python -m unlearn_lab.audit --target T --unlearned ORG/NAME@COMMIT --dataset FOLDER --quant rtn4
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the sweeps of an audit, writes its page, and exits with a status (see `--help`)."""
    asked = _parser().parse_args(arguments)
    now = datetime.now(UTC)
    request = AuditRequest(
        target=asked.target,
        unlearned=tuple(asked.unlearned),
        retrain=asked.retrain,
        dataset=asked.dataset,
        quantizers=tuple(asked.quant.split(",")) if asked.quant else usual_quantizers(),
        calibration=asked.calibration,
        home=asked.home.absolute(),
        sweep=f"audit_{now:%Y-%m-%d_%H-%M-%S}_{os.getpid()}",
        overrides=(*(["dry=true"] if asked.dry else []), *asked.overrides),
    )
    sweeps, statuses = list(request.sweeps()), list[int]()
    for sweep in sweeps:
        statuses.append(_run(sweep))
        if statuses[-1] not in (0, FAILED):
            sys.exit(statuses[-1])
    if asked.dry:
        sys.exit(max(statuses))
    records = read_records(request.home, request.sweep)
    if not records:
        sys.exit(FAILED)
    audit = audit_of(request.home, records, failed=any(statuses))
    commands = [f"python -m unlearn_lab {shlex.join(sweep)}" for sweep in sweeps]
    paths = write_audit(asked.out, audit, commands)
    _print(audit, paths)
    sys.exit(audit.status)


def _run(arguments: Sequence[str]) -> int:
    """Runs unlearn_lab's command line in a process of its own; returns its status."""
    command = [sys.executable, "-m", "unlearn_lab", *arguments]
    try:
        status = subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return INTERRUPTED
    return status if status >= 0 else 128 - status  # as in shells


def _print(audit: Audit, paths: Sequence[Path]) -> None:
    for finding in audit.findings:
        line = f"{finding.model} {finding.quantizer}: {finding.verdict} ({finding.reason})"
        sys.stdout.write(f"{redact(line)}\n")
    sys.stdout.write("".join(f"{path}\n" for path in paths))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m unlearn_lab.audit",
        description="Judges a model that was unlearned elsewhere, in full precision and under "
        "quantizers, and writes audit.html and audit.json.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--target",
        required=True,
        metavar="T",
        help="the model before unlearning: a folder, or a hub name (NAME@REVISION)",
    )
    add(
        "--unlearned",
        required=True,
        action="append",
        metavar="U",
        help="the unlearned model, or a PEFT adapter of the target; may be given several times",
    )
    add(
        "--retrain",
        metavar="R",
        help="the model that never saw the forget set; without it there is no verdict",
    )
    add(
        "--dataset",
        required=True,
        metavar="D",
        help="tofu, muse_news, muse_books, or a folder with your texts (docs/your-data.md)",
    )
    add(
        "--quant",
        metavar="Q,Q",
        help=f"quantizers (default, those installed: {','.join(usual_quantizers())})",
    )
    add(
        "--calibration",
        default="retain",
        choices=sorted(SOURCES),
        help="text for GPTQ and AWQ (default: %(default)s)",
    )
    add(
        "--home",
        type=Path,
        default=Path(os.environ.get("UNLEARN_LAB_HOME", "lab")),
        help="folder of cache and records (default: $UNLEARN_LAB_HOME or lab)",
    )
    add(
        "--out",
        type=Path,
        default=Path("audit"),
        help="folder of audit.html and audit.json (default: %(default)s)",
    )
    add("--dry", action="store_true", help="print the plan and stop")
    add(
        "overrides",
        nargs="*",
        metavar="SETTING=VALUE",
        help="further settings, as of python -m unlearn_lab",
    )
    return parser


if __name__ == "__main__":
    main()
