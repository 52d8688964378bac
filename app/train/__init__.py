"""Makes the embedded core and the reader."""
