"""Records, tables, plots and the sinks that receive them."""
