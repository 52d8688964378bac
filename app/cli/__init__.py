"""What the `cogcore` command does and prints."""
