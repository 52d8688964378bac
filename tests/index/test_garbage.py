"""What is left out is garbage, and what is not is not: good documents, and damaged copies of them."""

import base64
import random
from collections import Counter
from pathlib import Path

import pytest

from app.sample import documents
from index.chunk import Passage, split
from index.garbage import flaw, sift, told, with_margins
from index.ingest import drafted
from index.memory import Memory
from index.parse import Block, BlockKind, Parsed, parse
from index.parse.document import Rendering, clean
from index.types import Chunking, Reason
from tests.fakes import HashedWords
from tests.index.conftest import Open
from tests.index.made import zipped

ROOT = Path(__file__).parents[2]
# Article 1 of the Universal Declaration of Human Rights, in words of several scripts.
LANGUAGES = {
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen "
    "begabt und sollen einander im Geist der Brüderlichkeit begegnen. Größere Vögel müssen früh ausfliegen.",
    "French": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "Portuguese": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. NÃO há exceção; as ações "
    "são dotadas de razão e de consciência, e devem agir em espírito de fraternidade.",
    "Polish": "Wszyscy ludzie rodzą się wolni i równi względem swej godności i swych praw. Są oni obdarzeni rozumem "
    "i sumieniem i powinni postępować wobec innych w duchu braterstwa.",
    "Czech": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem a svědomím. "
    "Strč prst skrz krk, vlk zmrzl, smrt, trn.",
    "Vietnamese": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi. Mọi con người đều "
    "được tạo hoá ban cho lý trí và lương tâm.",
    "Russian": "Все люди рождаются свободными и равными в достоинстве и правах. Они наделены разумом и совестью и "
    "должны поступать в отношении друг друга в духе братства.",
    "Greek": "Οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι με "
    "λογική και συνείδηση.",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की "
    "देन प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।",
    "Arabic": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق، وقد وهبوا عقلا وضميرا وعليهم أن يعامل بعضهم بعضا "
    "بروح الإخاء.",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม",
    "Chinese": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "Japanese": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
}  # fmt: skip
# What looks odd and is meant.
ODD = [
    "The checksum of release 4.2 is 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08; compare it.",
    "Solve x + y = z for y: y = z - x, so a + b = c and p / q = r where q > 0 and r < 1 hold for all of them.",
    "Contact: ann.lee@example.com, bob+tag@example.com, https://example.com/a?b=c&d=e#f, tel. +49 (0)30 123-456",
    "1. Introduction .......... 3\n2. Installation .......... 7\n3. Operation ......... 12\n4. Technical data ..... 31",
    "Exceptions\n- HTTPError\n- RequestError\n- TransportError\n- TimeoutException\n- ConnectTimeout\n- get()",
    "Call os.path.join(a, b) or foo_bar(baz=1) and then self._shelf.get(store) where x[0] == y[1] and z is None.",
    "The text `GrÃ¼ÃŸe` is what a mail program shows that reads UTF-8 as if it were windows-1252; set its encoding to "
    "UTF-8 and open the message again, or ask the sender to send it anew from the web page of the mail service.",
    "Yes.",
    "312 km",
]


def passages(filename: str, data: bytes) -> tuple[Parsed, list[Passage]]:
    parsed = parse(filename, data)
    return parsed, split(parsed, HashedWords().count_tokens, 128)


def good() -> list[tuple[str, bytes]]:
    own = [ROOT / name for name in ("README.md", "CHANGELOG.md", "DECISIONS.md", "index/garbage.py", "pyproject.toml")]
    return [(path.name, path.read_bytes()) for path in [*documents(), *own]]


@pytest.fixture(scope="module")
def prose() -> list[str]:
    """Passages of the sample, long enough to be judged."""
    found = [passage.text for path in documents() for passage in passages(path.name, path.read_bytes())[1]]
    return [text for text in found if len(text.split()) >= 25]


def test_good_documents_lose_next_to_nothing() -> None:
    total, left = 0, Counter[Reason]()
    for filename, data in good():
        parsed, found = passages(filename, data)
        total += len(found)
        left += sift(parsed, found, in_parts=False)[1]
    assert total > 400
    assert sum(left.values()) < 0.01 * total, told(left)


@pytest.mark.parametrize("text", [*LANGUAGES.values(), *ODD])
def test_other_languages_and_odd_passages_stay(text: str) -> None:
    assert flaw(clean(text), {"paragraph"}) is None


def dirt(text: str, dice: random.Random) -> str:
    """As OCR reads a coffee stain."""
    return "".join(dice.choice("|~^¦{};_'-.\\ ") if c.isalnum() and dice.random() < 0.4 else c for c in text)


def letters(text: str, dice: random.Random) -> str:
    """As OCR reads a page that lies on its head."""
    return "".join(dice.choice("bcdfghjklmnpqrstvwxz ") if c.isalpha() else c for c in text.lower())


def spaced(text: str, _: random.Random) -> str:
    """As a PDF says that places each letter by itself."""
    return " ".join(text)


def cut(text: str, dice: random.Random) -> str:
    return base64.b64encode(dice.randbytes(len(text) + 200)).decode()


@pytest.mark.parametrize(
    ("damage", "reason"), [(dirt, "garbled"), (letters, "garbled"), (spaced, "garbled"), (cut, "binary")]
)
def test_damage_is_seen(prose: list[str], damage: object, reason: str) -> None:
    assert callable(damage)
    dice = random.Random(3)
    seen = Counter(flaw(clean(damage(text, dice)), {"paragraph"}) for text in prose)
    assert seen[reason] >= 0.97 * len(prose), seen  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [(name, "cp1252") for name in ("German", "French", "Polish", "Czech", "Vietnamese", "Russian", "Greek", "Hindi")]
    + [(name, "latin-1") for name in ("German", "French", "Portuguese", "Russian")],
)
def test_a_wrong_encoding_is_seen(name: str, wrong: str) -> None:
    misread = LANGUAGES[name].encode().decode(wrong, "replace")
    assert flaw(clean(misread), {"paragraph"}) == "encoding", clean(misread)


def test_cyrillic_read_as_western_is_seen() -> None:
    assert flaw(LANGUAGES["Russian"].encode("cp1251").decode("cp1252"), {"paragraph"}) == "encoding"


def test_signs_alone_say_nothing() -> None:
    assert [flaw(text, {"paragraph"}) for text in ("* * *", "-----", "{}", "。", "🎉")] == ["empty"] * 5


def test_keys_and_checksums_are_no_garbage_in_tables_and_code() -> None:
    key = f"Key: {base64.b64encode(random.Random(1).randbytes(400)).decode()}."
    assert flaw(key, {"table"}) is None
    assert flaw("\n".join(f"--hash=sha256:{n:064x} \\" for n in range(9)), {"code"}) is None
    assert flaw("x = {(a, b): c for a in (b | c) if ~d & e ^ f}; " * 5, {"code"}) is None


# Duplicates


def document(*parts: tuple[BlockKind, str]) -> Parsed:
    out = Rendering(1_000_000)
    for kind, text in parts:
        out.add(kind, text, level=1)
    return out.done()


def kept(parsed: Parsed, in_parts: bool = False) -> tuple[list[str], Counter[Reason]]:
    found, left = sift(parsed, [_whole(parsed, block, i) for i, block in enumerate(parsed.blocks)], in_parts)
    return [passage.text for passage in found], left


def _whole(parsed: Parsed, block: Block, number: int) -> Passage:
    """A block as a passage, under the heading before it."""
    above = [parsed.text[b.start : b.end] for b in parsed.blocks[:number] if b.kind == "heading"]
    return Passage(block.start, block.end, parsed.text[block.start : block.end], None, tuple(above[-1:]))


NOTICE = (
    "This message and what is attached to it may hold secrets of the company. If it was not meant for you, tell the "
    "sender, delete it, and do not copy it or show it to others. The company is not liable for damage that comes from "
    "opening it, and nothing in this message is a contract unless a director has signed it by hand."
)


def test_what_is_said_again_is_left_out() -> None:
    again = NOTICE.upper().replace(".", " -").replace(", ", "\n> ")
    shorter = NOTICE.replace("for damage ", "")
    texts, left = kept(document(*[("paragraph", text) for text in (NOTICE, "Hello!", again, NOTICE, shorter, "Hello")]))
    assert texts == [NOTICE, "Hello!"] and left == {"duplicate": 4}


@pytest.mark.parametrize(("old", "new"), [("director", "clerk"), ("a director", "no director"), ("hand", "30 hands")])
def test_a_near_copy_with_a_word_of_its_own_stays(old: str, new: str) -> None:
    assert len(kept(document(("paragraph", NOTICE), ("paragraph", NOTICE.replace(old, new))))[0]) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [("By night it has 5 degrees", "By night it has -5 degrees"), ("It costs 1.25", "It costs 1, 25"), ("गया", "गयी")],
)
def test_another_number_or_vowel_is_no_duplicate(one: str, other: str) -> None:
    for text in ("{}", NOTICE + " {}"):
        assert len(kept(document(("paragraph", text.format(one)), ("paragraph", text.format(other))))[0]) == 2


def test_the_same_under_another_heading_or_in_rows_and_code_stays() -> None:
    parsed = document(
        ("heading", "Desk hours"), ("paragraph", NOTICE), ("heading", "Phone hours"), ("paragraph", NOTICE),
        ("table", "Day: Monday; Open: 9 to 5."), ("table", "Day: Monday; Open: 9 to 5."),
        ("code", "return None"), ("code", "return None"),
    )  # fmt: skip
    assert len(kept(parsed)[0]) == 8


def test_in_an_archive_a_copy_of_a_file_is_a_duplicate() -> None:
    parsed = document(("heading", "a.txt"), ("paragraph", NOTICE), ("heading", "old/a.txt"), ("paragraph", NOTICE))
    assert kept(parsed, in_parts=True)[1] == {"duplicate": 1} and not kept(parsed)[1]
    archive = parse("both.zip", zipped({"a.txt": NOTICE, "b.txt": NOTICE}))
    read = drafted("both.zip", archive, Chunking(), HashedWords(), filtered=True)
    assert len(read.drafts) == 1 and read.left_out == {"duplicate": 1}
    assert read.text.count(NOTICE) == 2


# Headers and footers


def paged(*pages: tuple[str, ...]) -> Parsed:
    out = Rendering(1_000_000)
    for number, page in enumerate(pages, 1):
        for text in page:
            out.add("paragraph", text, page=number)
    return out.done(len(pages))


def left_standing(parsed: Parsed) -> tuple[list[str], int]:
    body, count = with_margins(parsed)
    assert body.text == parsed.text
    return [parsed.text[block.start : block.end] for block in body.blocks if block.kind != "margin"], count


def test_headers_and_footers_are_left_out_but_for_the_first() -> None:
    pages = [("Ann & Co, Harbour Street 4", f"Body{' and body' * n}.", f"Page {n} of 9") for n in range(1, 10)]
    standing, count = left_standing(paged(*pages))
    assert count == 16
    assert standing == [*pages[0], *[page[1] for page in pages[1:]]]


def test_what_only_looks_like_a_footer_stays() -> None:
    totals = [(f"Invoice {n * 17}", "Thanks.", f"Total: {n * n + 5} EUR") for n in range(1, 8)]
    standing, _ = left_standing(paged(*totals))
    assert [text for text in standing if "Total" in text] == [page[2] for page in totals]
    two = [("Same title", f"body {n}") for n in range(2)]
    assert left_standing(paged(*two))[1] == 0
    again = ["Same line"] * 9
    assert left_standing(document(*[("paragraph", line) for line in again]))[1] == 0


def test_a_sentence_over_the_end_of_a_page_is_not_torn() -> None:
    pages = [(f"so {'on ' * n}it goes", f"and {'on ' * n}until the", f"Page {n}") for n in range(1, 6)]
    assert left_standing(paged(*pages)) == ([text for page in pages[:-1] for text in page] + [*pages[-1][:2]], 1)


def test_tables_and_code_have_no_margins() -> None:
    out = Rendering(10_000)
    for page in range(1, 6):
        out.add("table", "Part: bolt; Price: 1 EUR.", page=page)
    assert left_standing(out.done(5))[1] == 0


# In the memory


def attach(memory: Memory, name: str, data: str) -> str:
    file = memory.add_file(name, data.encode())
    memory.attach("default", file.id)
    return file.id


def test_it_is_told_and_not_found_and_the_text_stays(open_memory: Open) -> None:
    memory = open_memory()
    bad = dirt("the marmot sleeps below the snow until the spring comes " * 4, random.Random(1))
    text = f"{NOTICE}\n\nThe marmot is awake.\n\n{NOTICE}"
    file_id = attach(memory, "a.txt", text)
    done = memory.wait("default", file_id, 30)
    assert done.status == "completed"
    spoilt = memory.wait("default", attach(memory, "b.txt", bad), 30)
    assert spoilt.status == "failed" and spoilt.last_error is not None
    assert spoilt.last_error.code == "invalid_file" and "1 garbled" in spoilt.last_error.message
    assert memory.text(spoilt.id).split() == clean(bad).split() and memory.content(spoilt.id) == bad.encode()
    assert memory.text(file_id) == text


# As much as fills a passage.
SLEEP, WAKE = (" ".join(f"Sentence number {n} says that marmots {do}." for n in range(36)) for do in ("sleep", "wake"))


def test_a_document_tells_what_was_left_out_of_it_and_so_does_its_twin(open_memory: Open) -> None:
    memory = open_memory()
    file_id = attach(memory, "a.txt", "\n\n".join([SLEEP, WAKE, SLEEP, WAKE, SLEEP]))
    done = memory.wait("default", file_id, 30)
    assert done.left_out == {"duplicate": 3} and memory.stats().chunks == 2
    assert len(memory.search("default", "marmots")) == 2
    other = memory.create_store("other")
    memory.attach(other.id, file_id)
    assert memory.wait(other.id, file_id, 30).left_out == done.left_out
    memory.close()
    memory = open_memory(filtered=False)
    third = memory.create_store("third")
    memory.attach(third.id, file_id)
    assert memory.wait(third.id, file_id, 30).left_out is None
    assert memory.stats().chunks == 2 * 2 + 5
