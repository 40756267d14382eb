"""What a person reads: the page, the tables of the terminal, exports. `gather` is the way to rows."""
