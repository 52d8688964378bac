"""API keys: hashed at rest, told once, ended at once, also by another process; and the command that does it."""

import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app import keys as module
from app.__main__ import main
from app.audit import FILE as AUDIT
from app.keys import FILE, PREFIX, USED_SECONDS, Key, KeyNotFound, Keys
from app.main import is_new
from index.catalog.paging import Cut
from index.errors import FolderFault, InvalidRequest
from index.memory import Memory
from tests.fakes import HashedWords


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    with closing(Keys(tmp_path / "data" / FILE)) as opened:
        yield opened


def test_life_of_a_key(keys: Keys) -> None:
    assert not keys.exist() and keys.find(f"{PREFIX}x") is None and not keys.path.exists()
    made, secret = keys.create(Key("shop", "write", ("vs_1",), "acme", int(time.time()) + 60))
    assert secret.startswith(made.hint) and len(secret) == len(PREFIX) + 43
    found = keys.find(secret)
    assert found == made and keys.exist()
    assert (made.scope, made.stores, made.organisation) == ("write", ("vs_1",), "acme")
    assert keys.find(secret[:-1]) is None and keys.find(f" {secret}") is None
    assert keys.revoke(made.id).revoked_at is not None
    assert keys.find(secret) is None
    assert (keys.organisation_of(secret), keys.organisation_of(secret[:-1])) == ("acme", None)
    assert keys.exist(), "a server whose last key has gone must not stand open"
    assert [key.id for key in keys.page(Cut()).data] == [made.id]


def test_nothing_on_the_disk_opens_anything(keys: Keys) -> None:
    _, secret = keys.create(Key("shop"))
    assert secret[len(PREFIX) + 4 :].encode() not in b"".join(path.read_bytes() for path in keys.path.parent.iterdir())
    assert keys.path.stat().st_mode & 0o777 == 0o600


def test_an_expired_key_opens_nothing(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    end = int(time.time()) + 60
    _, secret = keys.create(Key("shop", expires_at=end))
    monkeypatch.setattr(time, "time", lambda: float(end))
    assert keys.find(secret) is None


def test_the_last_use_is_kept_to_the_hour(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    made, secret = keys.create(Key("shop"))
    began = int(time.time())
    for seconds, told in ((0, 0), (USED_SECONDS - 1, 0), (USED_SECONDS, USED_SECONDS)):
        monkeypatch.setattr(time, "time", lambda now=began + seconds: now)
        assert keys.find(secret) is not None
        assert keys.get(made.id).last_used_at == began + told


def test_another_process_makes_and_ends_keys(keys: Keys) -> None:
    with closing(Keys(keys.path)) as other:
        made, secret = other.create(Key("shop"))
        assert keys.find(secret) is not None
        other.revoke(made.id)
        assert keys.find(secret) is None
        assert keys.secret == other.secret and len(keys.secret) == 32


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (Key(""), "name"),
        (Key("a\nb"), "name"),
        (Key("a", organisation="a b"), "organisation"),
        (Key("a", expires_at=1), "expires_at"),
        (Key("a", stores=()), "stores"),
        (Key("a", "admin", ("vs_1",)), "stores"),
    ],
)
def test_what_no_key_can_be(keys: Keys, wanted: Key, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        keys.create(wanted)
    assert refused.value.field == field
    assert not keys.exist()


def test_uploads_belong_to_their_key_and_the_oldest_is_forgotten(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_UPLOADS", 2)
    one, other = (keys.create(Key(name, "write", ("vs_1",)))[0].id for name in ("one", "other"))
    keys.uploaded(other, "file-0")
    for n in range(1, 4):
        keys.uploaded(one, f"file-{n}")
    assert keys.uploads(one) == {"file-2", "file-3"} and keys.uploads(other) == {"file-0"}
    keys.forget_upload("file-2")
    assert keys.uploads(one) == {"file-3"}
    keys.revoke(one)
    assert not keys.uploads(one)


def test_a_file_that_is_no_database(keys: Keys) -> None:
    keys.path.parent.mkdir()
    keys.path.write_text("not one")
    with pytest.raises(FolderFault, match="API keys"):
        keys.exist()
    with pytest.raises(KeyNotFound), closing(Keys(keys.path.with_name("other"))) as other:
        other.revoke("key_none")


def run(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> tuple[int, str]:
    status = main(["key", *words, "--data-dir", str(folder)])
    told = capsys.readouterr()
    return status, told.out if status == 0 else told.err


def test_the_command_works_beside_whoever_owns_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    assert run(capsys, folder, "list") == (0, "") and not folder.exists()
    with closing(Memory(folder, HashedWords())) as memory:
        handbook = memory.create_store("handbook").id
        status, told = run(capsys, folder, "create", "shop", "--scope", "write", "--store", "handbook", "--days", "7")
        assert status == 0
        secret, line = told.splitlines()
        with closing(Keys(folder / FILE)) as keys:
            key = keys.find(secret)
            assert key is not None and key.stores == (handbook,) and key.expires_at is not None
            assert line.startswith(key.id) and secret not in line
            listed = run(capsys, folder, "list")[1]
            assert re.search(rf"{key.id}.*write.*{handbook}.*shop", listed) and secret not in listed
            assert "revoked" in run(capsys, folder, "revoke", key.id)[1]
            assert keys.find(secret) is None
        assert "there is no store 'nowhere'" in run(capsys, folder, "create", "x", "--store", "nowhere")[1]
        memory.create_store("later")  # the catalog was only read
    assert "there is no key 'key_none'" in run(capsys, folder, "revoke", "key_none")[1]


def test_keys_made_first_leave_the_folder_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, tmp_path, "create", "shop")[0] == 0
    assert is_new(tmp_path)
    assert "cannot be used" in run(capsys, tmp_path, "create", "x", "--store", "default")[1]


def test_a_log_that_cannot_be_written_loses_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / AUDIT).mkdir()
    assert main(["key", "create", "shop", "--data-dir", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    secret, line = out.splitlines()
    with closing(Keys(tmp_path / FILE)) as keys:
        assert keys.find(secret) is not None
    assert "cannot be written: Is a directory" in err
    assert main(["key", "revoke", line.split()[0], "--data-dir", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "revoked" in out and "cannot be written: Is a directory" in err
