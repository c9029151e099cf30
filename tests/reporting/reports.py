"""Reading a report the way a browser does, strictly."""

import base64
import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects a page's text and attributes, and fails where tags do not close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def stands_alone(html: str, images: int) -> None:
    """Fail unless a page runs no script, fetches nothing, has so many images, and all its links lead somewhere."""
    page = Page(html)
    assert len(html) < 3e6
    assert "script" not in page.tags
    assert "link" not in page.tags
    drawn = [link for link in page.links if link.startswith("data:image/png;base64,")]
    assert len(drawn) == images
    assert all(base64.b64decode(link.partition(",")[2]).startswith(b"\x89PNG") for link in drawn)
    anchors = [link for link in page.links if link not in drawn]
    assert all(anchor.startswith("#") for anchor in anchors)
    assert all(re.search(rf'id="{anchor.removeprefix("#")}"', html) for anchor in anchors)
    assert not re.search(r"url\(|@import", html)


def cells(markdown: str) -> list[set[int]]:
    """Return the numbers of cell borders in the lines of each Markdown table: one number a table if it is whole."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", markdown, re.MULTILINE)
    return [{len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().splitlines()} for block in blocks]
