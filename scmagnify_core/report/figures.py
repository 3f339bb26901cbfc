"""Matplotlib figures as parts of a page: the same figure gives the same bytes, on any day.

Figures go in as SVG, whose text a browser can search and print sharply, or as PNG at twice the resolution of a screen
where the SVG would be large (many dots). Text stays text: it is set in the fonts of the reader's system, which run
narrower than the one that the layout was computed with.
"""

import base64
import io
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from scmagnify_core.plots.style import lay_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_SVG_BYTES = 300_000
PNG_DPI = 192  # twice a CSS pixel
_SIZE = re.compile(r'<svg [^>]*?viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>')
_REFERENCE = re.compile(r'(\bid="|xlink:href="#|url\(#)')


@dataclass(frozen=True)
class Drawing:
    """A figure ready for the page: ``content`` is an ``svg`` or ``img`` element, ``width_pt`` its natural width."""

    content: Markup
    width_pt: float
    caption: str


def draw(name: str, make: "Callable[[], Figure]", alt: str, caption: str = "", names: Iterable[str] = ()) -> Drawing:
    """Draw a figure and embed it.

    Parameters
    ----------
    name
        Identifier of the figure on the page: its parts are named after it, so that no two figures share a name.
    make
        Called to draw, because settings of matplotlib count when text is made.
    alt
        What is to be seen, for those who cannot see it.
    names
        Names from the data that the figure may write. Matplotlib would read ``$...$`` in them as a formula.
    """
    with _settings(name, is_plain=any("$" in one for one in names)):
        figure = lay_out(make())
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
        if len(stream.getvalue()) > MAX_SVG_BYTES:
            return _png(figure, alt, caption)
    return _svg(name, stream.getvalue().decode(), alt, caption)


def _settings(name: str, *, is_plain: bool) -> AbstractContextManager[None]:
    from matplotlib import rc_context

    changes: dict[str, object] = {"svg.fonttype": "none", "svg.hashsalt": name}
    return rc_context(changes | ({"text.parse_math": False} if is_plain else {}))  # type: ignore[arg-type]


def _svg(name: str, text: str, alt: str, caption: str) -> Drawing:
    size = _SIZE.search(text)
    assert size is not None, "matplotlib no longer writes a viewBox"
    width, height = float(size[1]), float(size[2])
    body = re.sub(r"<metadata>.*?</metadata>", "", text[size.end() :], flags=re.DOTALL)
    body = _REFERENCE.sub(rf"\g<1>{name}-", body)
    # xlink is bound in an HTML page anyway.
    head = Markup('<svg role="img" aria-label="{}" viewBox="0 0 {} {}">').format(alt, f"{width:g}", f"{height:g}")
    return Drawing(head + Markup(body.rstrip()), width, caption)


def _png(figure: "Figure", alt: str, caption: str) -> Drawing:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=PNG_DPI, metadata={"Software": None})
    content = stream.getvalue()
    width, height = (int.from_bytes(content[at : at + 4]) for at in (16, 20))  # of the header chunk, in pixels
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    image = Markup('<img src="{}" alt="{}" width="{}" height="{}">').format(source, alt, width // 2, height // 2)
    return Drawing(image, width * 72 / PNG_DPI, caption)
