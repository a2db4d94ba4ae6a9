"""Programs call this: stores, handles, and how any process of the cluster puts, reads and deletes an array.

Nothing here loads Ray before it is used: a local store needs none.
"""
