"""The tables that the terminal shows: results, the plan before a sweep and its end."""
