"""What programs call: stores, handles, and how an array is put, read and deleted from any process of the cluster."""
