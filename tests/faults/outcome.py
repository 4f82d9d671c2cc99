"""What two homes must agree on, bit for bit, and what a chain of runs says that it built."""

import hashlib
import json
import re

CLOCK = ("time", "seconds.", "quantizer.seconds", "peak_gb", "quantizer.peak_gb")
PLACE = ("sweep", "git", "config.runtime.", "config.report.")


def figures(record):
    """A record without what depends on the clock, the place and the process."""
    return {k: value for k, value in record.items() if not k.startswith((*CLOCK, *PLACE))}


def files(home):
    """A digest of each file of each artifact; of records and manifests, of the part that counts."""
    found = {}
    for path in sorted((home / "cache").glob("*/*/**/*")):
        if path.is_file() and path.parents[1].name != "leases":
            name = path.relative_to(home).as_posix()
            content = path.read_bytes()
            if path.name == "record.json":
                content = json.dumps(figures(json.loads(content))).encode()
            if path.name == "manifest.json":
                body = json.loads(content)
                body["files"].pop("record.json", None)
                content = json.dumps([body["stage"], body["files"]]).encode()
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def records(home):
    """The latest figures of every leaf, by id."""
    lines = (home / "results" / "records.jsonl").read_text().splitlines()
    return {record["run_id"]: figures(record) for record in map(json.loads, lines)}


def leftovers(home):
    """Whatever lies in the cache and is no finished artifact.

    A process that is killed before it has said whose its lease is leaves an empty one, which keeps
    nothing and which `cache prune` removes.
    """
    kept = {".work", ".claim", ".dead"}
    found = [p.name for p in (home / "cache").glob("*/*") if kept & set(p.suffixes)]
    return found + [p.parent.name for p in (home / "cache").glob("leases/*.lease/owner.json")]


def begun(log):
    """The keys (8 digits) whose building began, in order."""
    return re.findall(r"^\[\d+/\d+\] .* ([0-9a-f]{8}) \.\.\.$", log, re.MULTILINE)


def finished(log):
    """The keys whose building ended well, in order."""
    return re.findall(r"^\[\d+/\d+\] .* ([0-9a-f]{8}): [\d.]+ (?:s|min)", log, re.MULTILINE)


def taken_up(log):
    """The keys that are said to be built by a second attempt, and why."""
    dead = re.findall(r" ([0-9a-f]{8}): its builder has died; taking over$", log, re.MULTILINE)
    again = re.findall(r" ([0-9a-f]{8}): resuming an interrupted build$", log, re.MULTILINE)
    return {*dead, *again}
