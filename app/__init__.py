"""The server: HTTP, the turn, the engine, and the core that ships with them."""
