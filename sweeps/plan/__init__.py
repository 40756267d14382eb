"""Which cells, with which ids; what they need, what they cost, what a search has chosen."""
