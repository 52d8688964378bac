"""Which names are read. Light, since the server asks it about names and leaves the bytes to the child process."""

from pathlib import PurePath
from typing import Final

ARCHIVES: Final = (".tar", ".tar.gz", ".tgz", ".zip")

CODE: Final = tuple(
    f".{name}"
    for name in (
        "bash bat c cc cfg clj conf cpp cs css cxx dart ex exs erl f90 fs go gradle groovy h hh hpp hs ini java jl js "
        "jsx kt kts less lua m mjs ml nix php pl pm proto ps1 py pyi r rb rs scala scss sh sql svelte swift tf toml ts "
        "tsx vb vue yaml yml zig zsh"
    ).split()
)

DOCUMENTS: Final = (
    ".csv", ".docx", ".eml", ".epub", ".htm", ".html", ".json", ".jsonl", ".markdown", ".md", ".mdx", ".ndjson",
    ".pdf", ".pptx", ".rst", ".text", ".tsv", ".txt", ".xlsx",
)  # fmt: skip

IMAGES: Final = (".jpeg", ".jpg", ".png", ".tif", ".tiff")

FORMATS: Final = frozenset(DOCUMENTS + IMAGES + CODE + ARCHIVES)

# For whoever asks what else there is.
READABLE: Final = f"{', '.join(DOCUMENTS + IMAGES)}, source code, and archives of these ({', '.join(ARCHIVES)})"


def suffix_of(filename: str) -> str:
    """The ending that tells the format, lower-cased; empty where there is none."""
    name = PurePath(filename).name.lower()
    return ".tar.gz" if name.endswith(".tar.gz") else PurePath(name).suffix
