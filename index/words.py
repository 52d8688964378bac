"""The words of a text, as it is compared with another that may say the same.

A number is one word, with its sign and what stands between its digits: 1,000 is not 1, nor 1.2.3 1.2. The marks of a
letter belong to it: in Hindi or Thai they are its vowels. Operators, units of money, arrows and other signs that mean
something are words. The rest of the punctuation says nothing, nor do the signs that begin a line of a list or a quote.
"""

import re
import unicodedata

BOUND = "\x1f"  # white space for str.split, and no space
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"))
_MARKS = "".join(char for char in map(chr, range(0x300, 0x10000)) if unicodedata.category(char)[0] == "M")
_MONEY = "$\xa2-\xa5\u20a0-\u20cf\uff04\uffe5"
_SHAPES = "\u25a0-\u25ff"
_WORD = rf"[\w{_MARKS}]+ (?: (?<=\d) [.,:/'\u2019\u066b\u066c-] (?=\d) [\w{_MARKS}]+ )*"
_TOKEN = re.compile(
    rf"""
    ( {_WORD} | (?<![\w)\]]) [+-]? (?<![\w.]) \.? (?<=[.+-]) (?=\d) {_WORD} ) [,;:]?[ ]?
    | ^ (?: \s | [>*+|#=~{_SHAPES}-]+ (?=\s|$) )+
    | ( [<>=%^&\xac\xb0\xb1\xd7\xf7\u2030\u2190-\u24ff\u2600-\u2bff\uff05\uff0b\uff1c-\uff1e\U0001f000-\U0001faff]
        | [{_MONEY}{_SHAPES}] | (?<![\w)\]]) [+-] (?=[{_MONEY}]) | ! (?=[\w=(]) | ~ (?=\.?\d)
        | (?<=[\w)\]]) (?: [+#]+ | [*/]+ (?=[\w(\[]) )  # C++ and a/b, not **bold**
        | (?<=\S[ ]) [*/+]+ (?=\s) )
    """,
    re.MULTILINE | re.VERBOSE,
)
_GROUPS = re.compile(rf"(?<=\d) (?=\d{{3}}[ {BOUND}])")


def words_of(text: str) -> list[str]:
    return spelled(text).split()


def spelled(text: str) -> str:
    """The words with a space around each, or BOUND: beside operators, and where a space may stand within a number.

    So ` 5 ` is not found in what is made of `5 %`, `x > 5` and `5 000`.
    """
    found = _TOKEN.findall(text.replace("_", " ").translate(_DASHES))
    joined = "".join([f" {word}" if word else sign and f"{BOUND}{sign}{BOUND}" for word, sign in found])
    return _GROUPS.sub(BOUND, f"{joined} ".replace(f"{BOUND} ", BOUND))
