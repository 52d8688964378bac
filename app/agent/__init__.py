"""The turn: from messages to events."""
