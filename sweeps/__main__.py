"""`python -m sweeps`: the same as the console script `sweeps`."""

from __future__ import annotations

from sweeps.commands.app import main

if __name__ == "__main__":
    main()
