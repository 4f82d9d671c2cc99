"""`python -m unlearn_lab.cache`: lists, measures, prunes, verifies and exports artifacts."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from unlearn_lab.cache.export import export
from unlearn_lab.cache.table import SHOWN_KEY, lines, print_line, print_lines, print_sizes
from unlearn_lab.cache.view import View, open_view, require_records, select
from unlearn_lab.cache.words import format_bytes
from unlearn_lab.config.exits import FAILED, REFUSED
from unlearn_lab.graph.active_uses import ActiveUses
from unlearn_lab.graph.claim import ClaimTimeouts
from unlearn_lab.graph.inventory import Item, count_bytes, damage_of, freed_bytes, read_files
from unlearn_lab.graph.prune import PrunePlan, plan_prune, remove
from unlearn_lab.plan.stages import VERSIONS
from unlearn_lab.report.terminal.table import open_console

_BEATS_A_SILENCE = 12
_LOOK = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, 1 (damage found, or a file error) or 2 (invalid request)."""
    asked = _parser().parse_args(arguments)
    console = open_console(sys.stdout)
    commands: dict[str, Callable[[View, argparse.Namespace, Console], int]] = {
        "ls": _ls,
        "size": _size,
        "prune": _prune,
        "verify": _verify,
        "export": _export,
    }
    try:
        return commands[asked.command](open_view(asked.home), asked, console)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    except OSError as error:
        sys.stderr.write(f"{asked.command}: {error}\n")
        return FAILED


def _ls(view: View, asked: argparse.Namespace, console: Console) -> int:
    selected = _selected(view, asked)
    plan = plan_prune(selected, ActiveUses(view.root, _timeouts(asked)))
    chosen = _for_display(selected, plan)
    shown = lines(chosen, view.words, view.sweeps, plan.used)
    if asked.json:
        sys.stdout.write(json.dumps([line.as_json() for line in shown], indent=1) + "\n")
        return 0
    if shown:
        print_lines(console, shown)
    print_line(
        console, f"{_count(chosen)}, {format_bytes(count_bytes(chosen))}, in {view.home / 'cache'}"
    )
    return 0


def _size(view: View, asked: argparse.Namespace, console: Console) -> int:
    stages = list(dict.fromkeys(item.stage for item in _ordered(view.items) if item.stage))
    everything = {file[:2]: file.size for file in read_files(view.root)}
    print_sizes(console, view.items, stages, sum(everything.values()))
    return 0


def _prune(view: View, asked: argparse.Namespace, console: Console) -> int:
    """Prunes the selection; without a selector, only leftovers of dead processes."""
    if asked.unreachable:
        require_records(view)
    chosen = _selected(view, asked)
    if not (
        asked.stage or asked.sweep or asked.older_than or asked.unreachable or asked.key is not None
    ):
        chosen = [item for item in chosen if item.kind != "artifact"]
        hint = "Only leftovers of dead processes; choose artifacts with --stage, --sweep, --key, "
        print_line(console, f"{hint}--older-than or --unreachable.", "dim")
    return _remove(view, chosen, asked, console)


def _verify(view: View, asked: argparse.Namespace, console: Console) -> int:
    """Reads every byte; an artifact removed meanwhile does not count as damaged."""
    chosen = [item for item in _selected(view, asked) if item.kind == "artifact"]
    print_line(console, f"Reading {_count(chosen)}, {format_bytes(count_bytes(chosen))}")
    damaged = list[Item]()
    for item in chosen:
        damage = damage_of(item.path, contents=True)
        if damage is not None and item.path.exists():
            damaged.append(item)
            print_line(console, f"damaged: {item.stage} {item.key[:SHOWN_KEY]}: {damage}", "red")
    if not damaged:
        print_line(console, "No damage found.")
        return 0
    print_line(console, f"{len(damaged)} damaged; a job that needs one builds it again.")
    if asked.remove:
        _remove(view, damaged, asked, console)
    return FAILED


def _export(view: View, asked: argparse.Namespace, console: Console) -> int:
    export(view, asked.key, asked.folder, _timeouts(asked), lambda text: print_line(console, text))
    return 0


def _remove(view: View, chosen: list[Item], asked: argparse.Namespace, console: Console) -> int:
    """Prints what would be removed; with `--yes`, removes it."""
    active = ActiveUses(view.root, _timeouts(asked))
    if running := set(active.holders().values()):
        status = f"{len(running)} running: {', '.join(sorted(running))}"
        print_line(
            console, f"{status}; waiting for a heartbeat, {asked.silence:g} s at most", "dim"
        )
        active.settle()
    plan = plan_prune(chosen, active)
    if shown := _for_display(chosen, plan):
        print_lines(console, lines(shown, view.words, view.sweeps, plan.used))
    for note in _notes(view, plan):
        print_line(console, note)
    size = format_bytes(freed_bytes(plan.free))
    if not plan.free:
        print_line(console, "Nothing to remove.")
    elif not asked.yes:
        print_line(console, f"Would free {size} ({_count(plan.free)}); --yes removes them.")
    else:
        gone = remove(view.root, plan.free, active, _timeouts(asked))
        print_line(console, f"Freed {format_bytes(freed_bytes(gone))} ({_count(gone)}).")
        if stayed := len(plan.free) - len(gone):
            reason = "now in use, removed by another process, or no permission"
            print_line(console, f"{stayed} not removed: {reason}.")
    return 0


def _notes(view: View, plan: PrunePlan) -> list[str]:
    """Returns the consequences of a prune, one line each."""
    going = {item.key for item in plan.free if item.kind == "artifact"}
    stay = [item for item in view.artifacts if item.key not in going]
    needed = {key for item in stay for key in item.inputs if key in going}
    records = sum(record["run_id"] in going for record in view.records)
    unfinished = sum(item.kind == "unfinished" for item in plan.free)
    used = sum(item.path in plan.used for item in view.artifacts)
    shared = sum(len(view.sweeps.get(key, ())) > 1 for key in going)
    found = [
        (used, "in use by running processes, kept"),
        (shared, "shared by several sweeps, whose results stay"),
        (len(needed), "inputs of artifacts that stay and no longer need them"),
        (records, "figures by layer and sample answers of results that stay"),
        (unfinished, "unfinished builds, whose training would restart from scratch"),
    ]
    return [f"{number} of these: {text}." for number, text in found if number]


def _for_display(items: Sequence[Item], plan: PrunePlan) -> list[Item]:
    """Leaves out claims and leases of running processes: artifacts in use show their process."""
    return [
        item
        for item in items
        if item.kind in ("artifact", "unfinished") or item.path not in plan.used
    ]


def _selected(view: View, asked: argparse.Namespace) -> list[Item]:
    selection = select(
        view,
        stage=asked.stage,
        sweep=getattr(asked, "sweep", None),
        older_than=getattr(asked, "older_than", None),
        unreachable=getattr(asked, "unreachable", False),
        key=getattr(asked, "key", None),
    )
    return [item for item in _ordered(view.items) if selection(item)]


def _ordered(items: Sequence[Item]) -> list[Item]:
    """Sorts by pipeline order, then oldest first."""
    places = {stage: place for place, stage in enumerate(VERSIONS)}
    return sorted(items, key=lambda item: (places.get(item.stage, len(places)), item.built))


def _count(items: Sequence[Item]) -> str:
    artifacts = sum(item.kind == "artifact" for item in items)
    left = len(items) - artifacts
    counts = (
        [f"{artifacts} artifact{'' if artifacts == 1 else 's'}"] if artifacts or not left else []
    )
    counts += [f"{left} unfinished or left over"] if left else []
    return " and ".join(counts)


def _timeouts(asked: argparse.Namespace) -> ClaimTimeouts:
    return ClaimTimeouts(
        heartbeat=asked.silence / _BEATS_A_SILENCE, poll=_LOOK, stale_after=asked.silence
    )


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m unlearn_lab.cache", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    common, selectors, stage, sure = _options()

    def add(name: str, summary: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=summary, description=summary, parents=[common, *parents]
        )

    listing = add("ls", "one line per artifact; selectors can be combined", selectors)
    listing.add_argument("--json", action="store_true", help="print JSON")
    add("size", "bytes by stage")
    add("prune", "removes what is selected, and nothing in use", selectors, sure)
    verify = add("verify", "reads every byte and reports damaged artifacts", stage, sure)
    verify.add_argument(
        "--remove", action="store_true", help="removes damaged artifacts (with --yes)"
    )
    copy = add("export", "copies a result or an artifact out of the cache")
    copy.add_argument(
        "key", metavar="KEY", help="run_id of a record or key of a stage, or a unique prefix"
    )
    copy.add_argument("folder", type=Path, metavar="FOLDER", help="new or empty")
    return parser


def _options() -> tuple[argparse.ArgumentParser, ...]:
    """Returns parsers of shared options: the cache's place, selectors, `--stage`, `--yes`."""
    common = argparse.ArgumentParser(add_help=False)
    home = Path(os.environ.get("UNLEARN_LAB_HOME", "lab"))
    common.add_argument(
        "--home",
        type=Path,
        default=home,
        help="as runtime.home (default: $UNLEARN_LAB_HOME or lab)",
    )
    common.add_argument(
        "--silence",
        type=_positive,
        default=60.0,
        metavar="SECONDS",
        help="a process without a heartbeat for this long is dead, as runtime.claim_silence",
    )
    stage = argparse.ArgumentParser(add_help=False)
    stage.add_argument("--stage", metavar="NAME", help="artifacts of this stage")
    selectors = argparse.ArgumentParser(add_help=False, parents=[stage])
    selectors.add_argument(
        "--sweep", metavar="NAME", help="artifacts that records of this sweep depend on"
    )
    selectors.add_argument(
        "--older-than", metavar="AGE", help="older than, such as 30d (min, h, d, w)"
    )
    selectors.add_argument(
        "--unreachable", action="store_true", help="artifacts that no record depends on"
    )
    selectors.add_argument(
        "--key", metavar="KEY", help="the artifact with this key, or unique prefix of one"
    )
    sure = argparse.ArgumentParser(add_help=False)
    sure.add_argument("--yes", action="store_true", help="remove; otherwise a dry run")
    return common, selectors, stage, sure


if __name__ == "__main__":
    sys.exit(main())
