"""The vector files: what is kept comes back, what is damaged never does, what is removed is nowhere."""

import os
from pathlib import Path

import numpy as np
import pytest

from index.blocks import HEADER, Block, rounded, widened
from index.errors import FolderFault
from index.types import Vectors
from index.vectors import VectorFiles


def vectors(seed: int, count: int) -> Vectors:
    return np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)


@pytest.fixture
def made(tmp_path: Path) -> VectorFiles:
    return VectorFiles(tmp_path / "vectors", 8, "an embedder")


def three(made: VectorFiles) -> dict[int, Block]:
    return {n: made.append("a", n, range(n * 10, n * 10 + n), vectors(n, n)) for n in (1, 2, 3)}


def whole(made: VectorFiles, blocks: dict[int, Block]) -> set[int]:
    """The documents that come back, each of them checked."""
    found = set()
    with made.reading("a") as read:
        for document, block in blocks.items():
            kept = read(document, block)
            if kept is not None:
                assert kept.chunks.tolist() == list(range(document * 10, document * 10 + document))
                assert np.array_equal(kept.vectors, rounded(vectors(document, document)))
                found.add(document)
    return found


def test_what_is_appended_comes_back_also_to_another_process(made: VectorFiles, tmp_path: Path) -> None:
    blocks = three(made)
    assert whole(made, blocks) == whole(VectorFiles(tmp_path / "vectors", 8, "an embedder"), blocks) == {1, 2, 3}
    assert all(block.at % 8 == 0 for block in blocks.values())
    with made.reading("a") as read:
        assert read(1, blocks[2]) is None and read(1, Block(10_000, 50)) is None and read(1, None) is None
    with made.reading("nothing") as read:
        assert read(1, blocks[1]) is None
    assert [path.name for path in (tmp_path / "vectors").iterdir()] == ["a"]


def test_a_wrong_shape_is_refused(made: VectorFiles) -> None:
    with pytest.raises(ValueError, match="2 chunks"):
        made.append("a", 1, [1, 2], vectors(0, 1))


def test_every_flipped_byte_is_noticed_and_harms_its_block_alone(made: VectorFiles, tmp_path: Path) -> None:
    blocks, path = three(made), tmp_path / "vectors" / "a"
    good = path.read_bytes()
    for at in range(HEADER, len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ (1 << at % 8)]) + good[at + 1 :])
        assert whole(made, blocks) == {n for n, block in blocks.items() if not block.at <= at < block.end}
    for at in (0, 17, 60, HEADER - 9, HEADER - 1):
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        assert whole(made, blocks) == {1, 2, 3} and path.read_bytes() == good


def test_a_file_cut_anywhere_keeps_what_is_whole(made: VectorFiles, tmp_path: Path) -> None:
    blocks, path = three(made), tmp_path / "vectors" / "a"
    good = path.read_bytes()
    for length in (0, 5, HEADER, *range(HEADER + 1, len(good), 7)):
        path.write_bytes(good[:length])
        assert whole(made, blocks) == {n for n, block in blocks.items() if block.end <= length}
        again = made.append("a", 9, [1], vectors(9, 1))
        with made.reading("a") as read:
            assert read(9, again) is not None


def test_rows_follow_the_file_as_it_grows_is_cut_and_goes(made: VectorFiles, tmp_path: Path) -> None:
    """They are read by a map: beyond the end of the file that would kill the process."""
    blocks, path = three(made), tmp_path / "vectors" / "a"
    places = np.concatenate([np.array([-1, 10**6]), *(block.rows(8) for block in blocks.values())])
    wanted = np.concatenate([np.zeros((2, 8)), *(rounded(vectors(n, n)) for n in blocks)])
    assert np.array_equal(made.rows("a", places), wanted)
    new = made.append("a", 4, range(40, 44), vectors(4, 4))
    assert np.array_equal(made.rows("a", new.rows(8)), rounded(vectors(4, 4)))
    for length in (new.end - 1, *range(new.at, HEADER, -5), 0):
        os.truncate(path, length)
        there = places + 16 <= length
        assert np.array_equal(made.rows("a", places), np.where(there[:, None], wanted, 0))
    made.drop("a")
    assert not made.rows("a", places).any()
    assert str(path) not in Path("/proc/self/maps").read_text()  # its room is given back


def test_each_finite_half_is_widened_exactly_and_no_other_can_pass_for_a_vector() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = np.isfinite(halves)
    assert np.array_equal(widened(halves)[finite].view(np.uint32), halves[finite].astype(np.float32).view(np.uint32))
    assert np.abs(widened(halves)[~finite]).min() >= 65536


def test_vectors_of_another_embedder_are_refused_and_left(made: VectorFiles, tmp_path: Path) -> None:
    blocks = three(made)
    before = (tmp_path / "vectors" / "a").read_bytes()
    for other in (VectorFiles(tmp_path / "vectors", 8, "another"), VectorFiles(tmp_path / "vectors", 4, "an embedder")):
        with pytest.raises(FolderFault, match=r"made by another embedder.*remove it"), other.reading("a"):
            pass
        with pytest.raises(FolderFault, match="made by another embedder"):
            other.sweep({"a": blocks})
    assert (tmp_path / "vectors" / "a").read_bytes() == before


def test_an_append_that_fails_leaves_nothing(made: VectorFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, size = three(made), made.size("a")
    with monkeypatch.context() as patch:
        patch.setattr("index.vectors.os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space")))
        with pytest.raises(OSError, match="no space"):
            made.append("a", 4, [1], vectors(4, 1))
    assert made.size("a") == size and whole(made, blocks) == {1, 2, 3}


def test_what_is_erased_and_what_nobody_names_is_overwritten(made: VectorFiles, tmp_path: Path) -> None:
    blocks, path = three(made), tmp_path / "vectors" / "a"
    made.append("left over", 4, [1], vectors(4, 1))
    marks = {n: rounded(vectors(n, n)).astype("<f2").tobytes() for n in blocks}
    assert all(mark in path.read_bytes() for mark in marks.values())
    made.erase("a", blocks[2])
    assert [mark in path.read_bytes() for mark in marks.values()] == [True, False, True]
    assert whole(made, blocks) == {1, 3}
    made.sweep({"a": {2: blocks[2]}})  # as if the catalog had forgotten the first and the last
    assert [path.name for path in path.parent.iterdir()] == ["a"]
    assert not any(path.read_bytes()[HEADER:]) and made.size("a") == blocks[2].end - HEADER
    made.sweep({"a": {}})
    assert made.size("a") == 0
