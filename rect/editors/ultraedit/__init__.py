"""UltraEdit: an update from one forward and one backward pass, normalized over all edits so far."""
