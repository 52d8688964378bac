"""The one type of whole numbers: 64 bits in every database. SQLite gives them to INTEGER alone, and numbers no other."""

import sqlalchemy

Integer = sqlalchemy.BigInteger().with_variant(sqlalchemy.Integer(), "sqlite")
