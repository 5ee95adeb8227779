"""Reading XML from strangers: no entities, no document types, limits on size and depth."""

import io
import os
import re
from collections.abc import Collection, Iterator
from typing import IO, Any, Final
from xml.etree.ElementTree import Element, ParseError

from napari_bio_superposition.core.errors import ImageReadError

MAX_XML_BYTES: Final = 1 << 29
"""The index of a 384-well plate with 180 images a well has a quarter of this."""
MAX_DEPTH: Final = 100

_DECLARATION: Final = re.compile(r"\A\s*<\?xml[^>]{0,200}\?>")


def local_name(element: Element) -> str:
    """Return the tag without its namespace."""
    return str(element.tag).rpartition("}")[2]


def find_child(element: Element, name: str) -> Element | None:
    """Return the first child called *name* in any namespace."""
    return next((child for child in element if local_name(child) == name), None)


def child_text(element: Element, name: str) -> str:
    """Return the text of the child called *name* in any namespace, or an empty string."""
    child = find_child(element, name)
    return "" if child is None else (child.text or "").strip()


def parse_xml(text: str, where: object) -> Element:
    """Parse a whole XML text.

    Raises
    ------
    ImageReadError
        Where it is damaged, too large or too deep, or defines a document type or entities.
    """
    # The text is decoded already; a declaration of its former encoding would decode it twice.
    plain = _DECLARATION.sub("", text.lstrip("\ufeff"))
    root: Element | None = None
    for _, element in _parse_events(io.BytesIO(plain.encode("utf-8", "replace")), where):
        root = element if root is None else root
    if root is None:
        raise ImageReadError(f"{where} is empty. Export the image again.")
    return root


def iterate_xml(stream: IO[bytes], tags: Collection[str], where: object) -> Iterator[Element]:
    """Yield each complete outermost element whose local name is in *tags*, then forget it.

    Memory stays small however long the file is.

    Raises
    ------
    ImageReadError
        As `parse_xml`.
    """
    ancestors: list[Element] = []
    n_wanted_open = 0
    for event, element in _parse_events(stream, where):
        is_wanted = local_name(element) in tags
        if event == "start":
            ancestors.append(element)
            n_wanted_open += is_wanted
            continue
        ancestors.pop()
        n_wanted_open -= is_wanted
        if n_wanted_open:
            continue
        if is_wanted:
            yield element
        if ancestors:
            ancestors[-1].remove(element)


def _parse_events(stream: IO[bytes], where: object) -> Iterator[tuple[str, Element]]:
    """Yield ("start" or "end", element) of a well-formed, harmless document."""
    from defusedxml import DefusedXmlException, ElementTree

    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if size > MAX_XML_BYTES:
        raise ImageReadError(
            f"{where} has {size} bytes of XML, more than the limit of {MAX_XML_BYTES}. "
            "Is it really an image's description?"
        )
    depth = 0
    try:
        events: Any = ElementTree.iterparse(stream, events=("start", "end"), forbid_dtd=True)
        for event, element in events:
            depth += 1 if event == "start" else -1
            if depth > MAX_DEPTH:
                raise ImageReadError(
                    f"{where} nests XML elements more than {MAX_DEPTH} deep. "
                    "No microscope writes that; check where the file comes from."
                )
            yield event, element
    except DefusedXmlException as error:
        raise ImageReadError(
            f"{where} defines a document type or entities in its XML, which can be an attack. "
            "No microscope writes that; check where the file comes from."
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise ImageReadError(
            f"{where} holds damaged XML ({error}). Copy or export it again."
        ) from error
