"""A small knowledge base of an invented company: ten documents in four formats, to try the server with.

Every name, number and address in them is made up.
"""

from pathlib import Path

DOCUMENTS = Path(__file__).parent / "documents"


def documents() -> list[Path]:
    """The sample's files, by name."""
    return sorted(path for path in DOCUMENTS.iterdir() if path.is_file())
