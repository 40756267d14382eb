"""Pure functions of DataFrames: the trade-off, intervals and tests, controls, what is worth a headline."""
