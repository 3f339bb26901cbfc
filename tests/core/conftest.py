"""What the tests of figures share."""

from collections.abc import Callable
from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

SMALLEST = 6  # pt
TOUCHING = 1.0  # pixels by which boxes of text may overlap: they have air of their own


@pytest.fixture
def legible(monkeypatch: pytest.MonkeyPatch) -> Callable[[Figure], Figure]:
    """Draw a figure, check that every text can be read, and return the figure.

    Texts are at least 6 pt, lie on the canvas, and no two overlap. Slanted ones are taken out of the last: the boxes
    around them overlap where they themselves do not.
    """
    seen: list[Text] = []
    draw = Text.draw

    def watched(self: Text, renderer: object, *others: object, **named: object) -> None:
        if self.get_visible() and self.get_text().strip():
            seen.append(self)
        draw(self, renderer, *others, **named)

    def render(figure: Figure) -> Figure:
        canvas = FigureCanvasAgg(figure)
        seen.clear()
        with monkeypatch.context() as patched:
            patched.setattr(Text, "draw", watched)
            canvas.draw()
        texts, renderer = list(dict.fromkeys(seen)), canvas.get_renderer()
        boxes = {text: text.get_window_extent(renderer) for text in texts}
        small = {text.get_text(): text.get_fontsize() for text in texts if text.get_fontsize() < SMALLEST}
        assert not small
        width, height = canvas.get_width_height()
        outside = [
            text.get_text() for text, box in boxes.items()
            if box.x0 < -TOUCHING or box.y0 < -TOUCHING or box.x1 > width + TOUCHING or box.y1 > height + TOUCHING
        ]  # fmt: skip
        assert not outside
        straight = [text for text in texts if text.get_rotation() % 90 == 0]
        overlapping = [
            (a.get_text(), b.get_text()) for a, b in combinations(straight, 2)
            if min(boxes[a].x1, boxes[b].x1) - max(boxes[a].x0, boxes[b].x0) > TOUCHING
            and min(boxes[a].y1, boxes[b].y1) - max(boxes[a].y0, boxes[b].y0) > TOUCHING
        ]  # fmt: skip
        assert not overlapping
        return figure

    return render
