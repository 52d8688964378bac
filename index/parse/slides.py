"""PowerPoint: each slide a section under its title, pages being slides, in the order in which they are shown.

Text boxes, lists, tables and the speaker's notes are read; drawings, charts and SmartArt are not.
"""

from collections.abc import Iterator

from index.errors import InvalidFile
from index.parse.document import BlockKind, Limits, Parsed, Rendering, table
from index.parse.ooxml import Element, Package, child, children, damaged, reference, tag

_MAIN = "ppt/presentation.xml"
_TITLES = ("title", "ctrTitle")
_FURNITURE = ("dt", "ftr", "hdr", "sldNum", "sldImg")


def pptx(data: bytes, limits: Limits) -> Parsed:
    package = Package(data, limits)
    slides = list(children(child(package.tree(_MAIN), "sldIdLst"), "sldId"))
    if len(slides) > limits.max_pages:
        raise InvalidFile(f"There are {len(slides):,} slides and the limit is {limits.max_pages:,}; split the file.")
    parts = package.related(_MAIN)
    out = Rendering(limits.max_chars)
    for number, slide in enumerate(slides, 1):
        if reference(slide) not in parts:
            raise damaged()
        _slide(package, parts[reference(slide)][1], number, out)
    return out.done(len(slides))


def _slide(package: Package, name: str, number: int, out: Rendering) -> None:
    """A heading even where there is no title, or else the slide would count to the one before."""
    shapes = list(_shapes(package.tree(name)))
    titles = [shape for shape in shapes if _placeholder(shape) in _TITLES]
    title = " ".join(text for shape in titles for _, text in _paragraphs(shape))
    blocks = [block for shape in shapes if shape not in titles for block in _blocks(shape)]
    for kind, notes in package.related(name).values():
        if kind == "notesSlide":
            spoken = (block for shape in _shapes(package.tree(notes)) for block in _blocks(shape))
            blocks += [("paragraph", f"Notes: {text}") for _, text in spoken]
    if title or blocks:
        out.section(title or f"Slide {number}", level=1, page=number)
    for block, text in blocks:
        out.add(block, text, page=number)


def _shapes(element: Element) -> Iterator[Element]:
    """What can hold text, in reading order, groups opened; of two forms of the same the newer."""
    for part in element:
        if tag(part) in ("sp", "graphicFrame"):
            yield part
        elif tag(part) != "Fallback":
            yield from _shapes(part)


def _placeholder(shape: Element) -> str:
    """What the layout has this shape for; empty for a free one."""
    found = child(shape, "nvSpPr", "nvPr", "ph")
    return "" if found is None else found.get("type", "body")


def _blocks(shape: Element) -> Iterator[tuple[BlockKind, str]]:
    place = _placeholder(shape)
    if place in _FURNITURE:
        return
    grid = child(shape, "graphic", "graphicData", "tbl")
    if grid is not None:
        yield "table", table([_cells(line) for line in children(grid, "tr")])
    paragraphs = list(_paragraphs(shape))
    if place == "body" and len(paragraphs) > 1:
        yield "list", "\n".join("  " * level + f"- {text}" for level, text in paragraphs)
    elif paragraphs:
        yield "paragraph", "\n".join(text for _, text in paragraphs)


def _paragraphs(holder: Element) -> Iterator[tuple[int, str]]:
    """(level, text) of each that says something."""
    for paragraph in children(child(holder, "txBody"), "p"):
        pieces = [
            " " if tag(part) == "br" else part.text or "" for part in paragraph.iter() if tag(part) in ("t", "br")
        ]
        if text := " ".join("".join(pieces).split()):
            style = child(paragraph, "pPr")
            level = style.get("lvl", "0") if style is not None else "0"
            yield int(level) if level in "012345678" else 0, text


def _cells(line: Element) -> list[str]:
    """A cell that spans several stands in each, so that each row explains itself."""
    cells: list[str] = []
    for cell in children(line, "tc"):
        text = " ".join(text for _, text in _paragraphs(cell))
        cells.append(cells[-1] if cell.get("hMerge") and cells else text)
    return cells
