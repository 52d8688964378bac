"""Core profiles: how each core is prompted, decided and constrained."""
