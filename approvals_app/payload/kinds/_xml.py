"""XML as the objects, lists and texts that converters make of it."""

from typing import Any, Final
from xml.parsers import expat

DEEPEST: Final = 100


def parse_xml(text: str) -> dict[str, Any] | None:
    """The root element of ``text`` by its name; None if it is no XML, or XML with a DOCTYPE.

    Attributes are called ``@name``; the text beside them is ``#text``. An element that stands
    several times is a list; one without attributes and children is its text.
    """
    root: dict[str, Any] = {}
    stack: list[dict[str, Any]] = [root]
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def refuse_doctype(*_: object) -> None:
        # Entities are declared in it: without one, nothing expands and nothing is fetched.
        raise ValueError("DOCTYPE")

    def open_element(_: str, attributes: dict[str, str]) -> None:
        if len(stack) > DEEPEST:
            raise ValueError("too deep")
        stack.append({f"@{key}": value for key, value in attributes.items()})

    def add_text(part: str) -> None:
        stack[-1].setdefault("#text", []).append(part)

    def close_element(name: str) -> None:
        element = stack.pop()
        words = "".join(element.pop("#text", ())).strip()
        if words:
            element["#text"] = words
        value: Any = words if element.keys() <= {"#text"} else element
        holder = stack[-1]
        if name not in holder:
            holder[name] = value
        elif isinstance(holder[name], list):
            holder[name].append(value)
        else:
            holder[name] = [holder[name], value]

    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.StartElementHandler = open_element
    parser.CharacterDataHandler = add_text
    parser.EndElementHandler = close_element
    try:
        parser.Parse(text.strip().encode(errors="replace"), True)
    except (expat.ExpatError, ValueError):
        return None
    return root
