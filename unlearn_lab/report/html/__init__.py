"""report.html: one page with its plots, which needs nothing else."""
