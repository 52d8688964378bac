"""Office Open XML (ECMA-376) as a package: parts, and the relations between them. Names are matched without their
namespaces, since the strict and the usual form of the format differ only in these.

expat refuses entities that multiply; what else a part may do to memory and time, the child process limits.
"""

import io
import posixpath
from collections.abc import Iterator
from xml.etree import ElementTree

from index.errors import InvalidFile
from index.parse.document import Limits
from index.parse.zipped import members

Element = ElementTree.Element


class Package:
    """The XML of an office document; its pictures are passed over."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._parts = {name: part for name, part in members(data, limits) if name.endswith((".xml", ".rels"))}

    def part(self, name: str) -> bytes:
        if name not in self._parts:
            raise damaged()
        return self._parts[name]

    def tree(self, name: str) -> Element:
        try:
            return ElementTree.fromstring(self.part(name))  # noqa: S314 - bounded as said above
        except (ElementTree.ParseError, LookupError, ValueError) as fault:
            raise damaged() from fault

    def related(self, name: str) -> dict[str, tuple[str, str]]:
        """(kind, part) of what a part refers to, by the id that it uses."""
        folder, file = posixpath.split(name)
        relations = f"{folder}/_rels/{file}.rels"
        found = {}
        for relation in self.tree(relations) if relations in self._parts else ():
            kind = relation.get("Type", "").rpartition("/")[2]
            target = posixpath.normpath(posixpath.join("/", folder, relation.get("Target", ""))).lstrip("/")
            found[relation.get("Id", "")] = (kind, target)
        return found


def stream(part: bytes, holder: str, item: str) -> Iterator[Element]:
    """Each `item` of `holder`, one at a time; what was yielded is forgotten."""
    parent = None
    try:
        for event, element in ElementTree.iterparse(io.BytesIO(part), ("start", "end")):  # noqa: S314 - the same
            if event == "start" and tag(element) == holder:
                parent = element
            elif event == "end" and tag(element) == item and parent is not None:
                yield element
                parent.clear()
    except (ElementTree.ParseError, LookupError, ValueError) as fault:
        raise damaged() from fault


def damaged() -> InvalidFile:
    return InvalidFile("The document is damaged: a part of it is missing or broken. Open it, save it, upload that.")


def tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def reference(element: Element) -> str:
    """The id of a relation: `r:id`, beside which there may be an `id` of another kind."""
    return next((value for name, value in element.items() if name.endswith("}id")), "")


def children(element: Element | None, name: str) -> Iterator[Element]:
    return (part for part in (() if element is None else element) if tag(part) == name)


def child(element: Element | None, *path: str) -> Element | None:
    for name in path:
        element = next(children(element, name), None)
    return element
