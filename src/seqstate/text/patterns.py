"""How text falls into pieces before tokens: one regular expression for words, one for BPE, one for spaces.

Classes are explicit ranges, so a pattern means the same to Python's `re` and to the tokenizers library
(Oniguruma), and never moves with a Unicode version. All patterns are total: the pieces of a text joined are
the text. No piece holds whitespace after something else, which makes it safe to cut before whitespace.
"""

from __future__ import annotations

import re

SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

# letters and marks of scripts that put spaces between words; their own punctuation is left out
SPACED = (
    "A-Za-z\xaa\xb5\xba\xc0-\xd6\xd8-\xf6\xf8-\u037d\u037f-\u0386\u0388-\u05bd\u05bf\u05c1\u05c2"
    "\u05c4-\u060b\u060d-\u061a\u061c-\u061e\u0620-\u06d3\u06d5-\u0963\u0966-\u0dff\u10a0-\u167f"
    "\u1681-\u177f\u1800-\u1fff\u20d0-\u20ff\u2c00-\u2dff\ua4d0-\uabff\uac00-\ud7ff\ufb00-\ufdff"
    "\ufe00-\ufe0f\ufe20-\ufe2f\ufe70-\ufefe"
)
# Han, kana, Thai, Lao, Tibetan, Burmese, Khmer and all beyond the basic plane (also emoji)
UNSPACED = (
    "\u0e00-\u109f\u1780-\u17ff\u2e80-\u2fff\u3005-\u3007\u3021-\u302f\u3031-\u303c\u3040-\u30fa"
    "\u30fc-\ua4cf\uf900-\ufaff\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff66-\uffdc"
    "\U00010000-\U0010ffff"
)

# A word takes the one space before it along ("the cat" is "the", " cat"), as in GPT-2's tokeniser, so
# nothing has to be guessed when words are joined again. Apostrophes stay inside words; a digit, a sign, an
# emoji and a character of a script without spaces is a word each; runs of spaces are words (indentation).
WORD = f" ?[{SPACED}]+(?:['’][{SPACED}]+)*| ?[^{SPACE}{SPACED}]| {{2,8}}|[{SPACE}]"

# GPT-2's pattern (Radford et al. 2019) with digits in threes, as later byte-level BPEs have them; no piece is
# longer than 65 characters, since the library's merging is quadratic in them
BPE = (
    "'(?:[sdmt]|ll|ve|re)"
    f"| ?[{SPACED}{UNSPACED}]{{1,64}}"
    "| ?[0-9]{1,3}"
    f"| ?[^{SPACE}{SPACED}{UNSPACED}0-9]{{1,64}}"
    f"|[{SPACE}]{{1,64}}(?![^{SPACE}])"
    f"|[{SPACE}]"
)

# For text that is cut into words already (treebanks, WikiText): what stands between spaces, with the one
# space before it. Punctuation of scripts without spaces is apart: text may be cut into blocks there (below).
BETWEEN = "，。、；：？！「」《》"
STRETCH = f" ?[^{SPACE}{BETWEEN}]+| ?[{BETWEEN}]|[{SPACE}]"

# Places where no pattern has a piece on both sides: before whitespace, and, for scripts without spaces,
# between a Han character or kana and the punctuation after it
SAFE_CUT = re.compile(
    f"(?<=[^{SPACE}])(?=[{SPACE}])|(?<=[\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5])(?=[{BETWEEN}])"
)
