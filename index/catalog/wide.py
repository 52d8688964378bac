"""The one type of whole numbers: 64 bits in every database. SQLite numbers rows in columns of type INTEGER only."""

import sqlalchemy

Integer = sqlalchemy.BigInteger().with_variant(sqlalchemy.Integer(), "sqlite")
