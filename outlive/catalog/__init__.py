"""The catalog: which key is which array, and who holds it. Plain data: no Ray, file, thread, lock or clock."""
