"""Bytes of a document in, clean text with its structure out: `parse`.

Untrusted files are opened only in a child process with limits on memory, time and size (`Limits`), and nothing but
bytes is ever handed to a library: no paths, no locations. Out of reach: passwords.
"""

from index.parse.document import Block, BlockKind, Limits, Parsed
from index.parse.process import parse
from index.parse.suffixes import FORMATS, READABLE, suffix_of

__all__ = ["FORMATS", "READABLE", "Block", "BlockKind", "Limits", "Parsed", "parse", "suffix_of"]
