import pytest

from index.checks import check_filename, check_store_name
from index.errors import InvalidRequest


@pytest.mark.parametrize(
    "name",
    [
        "第1回\u3000議事録.md",
        "می\u200cخواهم.md",
        "क्\u200dष.md",
        "Bildschirmfoto um 9.41\u202fAM.png",
        "10\u00a0%.md",
        "\U000f0001.md",
    ],
)
def test_a_name_may_be_of_any_script(name: str) -> None:
    assert check_filename(name) == check_store_name(name) == name


@pytest.mark.parametrize("char", ["\n", "\0", "\x1b", "\x85", "\udc80", "\u2028", "\u2029", "\u202e", "\u2066"])
def test_a_name_neither_ends_its_line_nor_looks_like_another(char: str) -> None:
    for check in (check_filename, check_store_name):
        with pytest.raises(InvalidRequest, match="direction"):
            check(f"a{char}fdp.md")
