"""Arrays as files on one machine, without Ray. See `segment` for the file, `shelf` for the folder."""
