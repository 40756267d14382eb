"""The paper's figures and Table 1 from the rows of a sweep: `sweeps figure NAME DIR`."""

from __future__ import annotations
