"""The records of a made-up sweep."""

from tests.records import make_record, make_side_files, make_sweep, sweep, thresholds

__all__ = ["make_record", "make_side_files", "make_sweep", "sweep", "thresholds"]
