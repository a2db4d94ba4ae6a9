"""What lines are called that the tables look for, where a row and a table would both have to spell it. No Ray."""

BARE_CALL = "a bare call of the catalog: whether a key exists"
WORST_SOURCE = "put 256 MiB, the slowest source beside the fastest"
COPIED_AGAIN = "arrays of a lost node, copied again from when the catalog knows"
KEEPERS_GROWTH = "growth of a keeper's own memory"
