"""Markdown, MDX and reStructuredText: words without markup, and no word lost with it."""

import pytest

from index.parse import Parsed, parse

ROWS = "Plan: Free; Seats: 3; Price per month: 0 EUR.\nPlan: Pro; Seats: 25; Price per month: 49 EUR."


def kinds(parsed: Parsed) -> list[tuple[str, int]]:
    return [(block.kind, block.level) for block in parsed.blocks]


def test_markdown_becomes_words_without_markup() -> None:
    source = b"""---
title: Handbook
tags: [a, b]
---
# Prices **and** `plans`

A [link](https://example.org/x) and ![a chart](c.png), *wrapped*
over two lines, with `code_span` and 2 * 3.

| Plan | Seats | Price per month |
|------|------:|-----------------|
| Free | 3     | 0 EUR           |
| Pro  | 25    | **49 EUR**      |

1. first
   - nested
2. second

```python
x = "**kept**"
```
<!-- unseen --><p>Raw &amp; plain</p>
"""
    parsed = parse("a.md", source)
    assert parsed.text == (
        "Handbook\n\nPrices and plans\n\nA link and a chart, wrapped over two lines, with code_span and 2 * 3.\n\n"
        + ROWS
        + '\n\n1. first\n  - nested\n2. second\n\nx = "**kept**"\n\nRaw & plain'
    )
    assert kinds(parsed) == [
        ("heading", 1), ("heading", 1), ("paragraph", 0), ("table", 0), ("list", 0), ("code", 0), ("paragraph", 0),
    ]  # fmt: skip
    assert parsed.pages is None


def test_table_without_headers_and_with_gaps() -> None:
    parsed = parse("a.md", b"| | |\n|-|-|\n| Capital | Strelsau |\n\n| A | B |\n|---|---|\n| 1 | |\n| | 2! |\n")
    assert parsed.text == "Capital; Strelsau.\n\nA: 1.\nB: 2!"


def test_dialects_of_site_generators() -> None:
    source = b"""+++
title = "Distributed"
+++
(label)=
See [build]({{% relref "build" %}}) and {ref}`the page <page>`.

:::note[Mind]
The gap.
:::

!!! warning
    First.

    Second.

```
{{% kept %}}
```
"""
    parsed = parse("a.md", source)
    assert parsed.text.replace("\n\n", "|") == (
        "Distributed|See build and the page.|[Mind]|The gap.|First.|Second.|{{% kept %}}"
    )


def test_mdx_components_leave_their_text() -> None:
    source = b"""import X from './x'

<Tabs>
    <Tab title="npm">
        Run **this**:

        ```bash
        npm install <name>
        ```
    </Tab>
</Tabs>
{/* unseen */}
<Card icon="x" href={y} title="Go on" />
"""
    parsed = parse("a.mdx", source)
    assert parsed.text == "npm\n\nRun this:\n\nnpm install <name>\n\nGo on"
    assert kinds(parsed)[2] == ("code", 0)


def test_restructured_text() -> None:
    source = b""".. _target:

=====
Title
=====

Part
----

See :ref:`other <x>`, ``code`` and `a link <https://example.org>`__::

    literal *block*

.. note::

    Mind the gap.

.. tab:: YAML

    .. code-block:: yaml
        :caption: x

        key: value

.. comment that is long
   and wraps
"""
    parsed = parse("a.rst", source)
    assert parsed.text.replace("\n\n", "|") == (
        "Title|Part|See other, code and a link:|literal *block*|Mind the gap.|YAML|key: value"
    )
    assert kinds(parsed)[:2] == [("heading", 1), ("heading", 2)]
    assert [kind for kind, _ in kinds(parsed)].count("code") == 2


def test_notes_and_captions_are_text() -> None:
    source = b"""Text [1]_ and [#a]_, [CIT2002]_.

.. [1] The notice period
   is *six* weeks.

   Unless agreed.
.. [#a] Named.
.. [CIT2002] A book.
.. [TODO: check] hidden

.. figure:: a.png
   :alt: a drawing
      of two lines
   :width: 3

   The caption.

   The legend.
"""
    assert parse("a.rst", source).text.replace("\n\n", "|") == (
        "Text [1]_ and [#a]_, [CIT2002]_.|[1] The notice period\nis six weeks.|Unless agreed.|[#a] Named."
        "|[CIT2002] A book.|The caption.|The legend."
    )


@pytest.mark.parametrize(
    "settings",
    [
        "title: Handbook\ntags:\n- a\n\nmore: [b,\n  c\n]",
        "# made by hand\ndate created: 2026\ntitle: 'Handbook'",
        'title = "Handbook"\n[params]\nkeys = [\n  1,\n]\n[[menu.main]]\n"a b" = 1',
    ],
    ids=["YAML", "comment", "TOML"],
)
def test_front_matter_is_known_by_its_lines(settings: str) -> None:
    assert parse("a.md", f"---\n{settings}\n---\nBody.\n".encode()).text == "Handbook\n\nBody."


@pytest.mark.parametrize(
    "first",
    [
        "\n# Notice\n\nThe notice period is six weeks.\n\n",
        "# Notice\n- six weeks\n",
        "Note: the notice period\nis six weeks.\n\n",
        "\nNote: six weeks.\n\n",
        "[A link](https://example.org): six weeks\n\n",
        "---\nsix weeks\n\n",
    ],
)
def test_a_rule_that_opens_a_document_takes_nothing_with_it(first: str) -> None:
    parsed = parse("a.md", f"---\n{first}---\n\nLast words.\n".encode())
    assert "six weeks" in parsed.text and parsed.text.endswith("Last words.")


def test_html_has_no_front_matter() -> None:
    source = b"<hr><p>period: six weeks</p><hr><p>Last words.</p>"
    assert parse("a.html", source).text == "period: six weeks\n\nLast words."
