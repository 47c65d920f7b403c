"""One look a model, the same in every figure, table and legend of a page: colour, marker and dash.

Eight hues found by search near those of Okabe & Ito 2008: any two stay at least 20 apart (CIE 1976) for
normal, protanope, deuteranope and tritanope eyes (Machado et al. 2009), and each has a contrast of about 3 or
more with the page, white or dark (Okabe & Ito's own: 16 apart, contrast down to 1.3 on white). The marker
tells models apart in print, the dash beyond eight of them.
"""

from __future__ import annotations

from dataclasses import dataclass

LIGHT = ("#1d52e1", "#943908", "#224f36", "#d36e96", "#a29409", "#1aa0e3", "#740890", "#483558")
DARK = ("#9eb8ff", "#e0562c", "#65ea9c", "#c15cab", "#ecc335", "#e8e6f3", "#ba61fb", "#8d9485")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")
DASHES = ("solid", "dash", "dot", "dashdot")

# the same shapes in a 16 x 16 box, for legends outside the plots
OUTLINES = {
    "circle": "M8 3.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9z",
    "square": "M4 4h8v8h-8z",
    "diamond": "M8 2.5l5.5 5.5l-5.5 5.5l-5.5-5.5z",
    "triangle-up": "M8 3l5.5 9.5h-11z",
    "triangle-down": "M8 13l5.5-9.5h-11z",
    "cross": "M6.2 3h3.6v3.2h3.2v3.6h-3.2v3.2h-3.6v-3.2h-3.2v-3.6h3.2z",
    "x": "M5 2.6l3 3l3-3l2.4 2.4l-3 3l3 3l-2.4 2.4l-3-3l-3 3l-2.4-2.4l3-3l-3-3z",
    "star": "M8 2l1.8 4l4.2.4l-3.2 2.9l1 4.3l-3.8-2.3l-3.8 2.3l1-4.3l-3.2-2.9l4.2-.4z",
}
STROKES = {"solid": "", "dash": "5 3", "dot": "1.5 2.5", "dashdot": "6 2 1.5 2"}


@dataclass(frozen=True)
class Look:
    """hue: index of the colour, `var(--hue-N)` in the style sheet."""

    hue: int
    symbol: str
    dash: str

    @property
    def outline(self) -> str:
        return OUTLINES[self.symbol]

    @property
    def stroke(self) -> str:
        return STROKES[self.dash]


def look(index: int) -> Look:
    """The look of the model at this place; 256 different ones, the first eight with solid lines."""
    hues = len(LIGHT)
    turn = index // hues
    return Look(
        index % hues,
        SYMBOLS[(index + turn // len(DASHES)) % len(SYMBOLS)],
        DASHES[turn % len(DASHES)],
    )
