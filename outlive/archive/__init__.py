"""Archives: arrays and other values as plain files in a folder or in object storage, and one manifest of them.

Nothing here knows of Ray or of stores. docs/howto/save-and-load.md describes the files, which others may read.
"""
