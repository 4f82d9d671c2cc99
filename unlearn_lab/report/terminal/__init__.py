"""Terminal output of a sweep: its plan, its results and its closing summary."""
