"""Documents in, hits out. Usable alone: knows nothing of the server."""
