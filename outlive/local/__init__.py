"""The store of one machine, without Ray: what `outlive.open(local=True)` opens.

    client: Session --> connection --> peers ==(a Unix socket)==> server --> the keeper's process:
                           |                                                  house: keeper and catalog of one node
                           +--> jobs: a lock that says that this process is there <---- looks at it
                           +--> starting: the keeper's process, by the first that needs one

Shelf, keeper and catalog are those of a cluster with one node. `place` says where all of it is.
"""
