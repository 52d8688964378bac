"""What clients are told while the catalog's database is away."""

from app.api.errors import describe
from index.errors import CatalogAway


def test_a_database_that_is_away_is_no_fault_of_the_request() -> None:
    told, row, headers = describe(CatalogAway("the database does not answer; ask again"))
    assert (row.status, row.type, row.code) == (503, "server_error", "catalog_unavailable")
    assert told == "The database does not answer; ask again." and headers["x-should-retry"] == "true"
