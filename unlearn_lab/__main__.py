"""Runs `python -m unlearn_lab`."""

from unlearn_lab.cli import main

if __name__ == "__main__":
    main()
