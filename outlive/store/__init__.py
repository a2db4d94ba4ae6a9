"""Programs call this: stores, handles, and how any process of the cluster puts, reads and deletes an array."""
