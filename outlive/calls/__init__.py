"""Calls: short questions to another process, over TCP, for those who know the cluster's secret.

This package knows sockets, and nothing of arrays or Ray. The server's owner says which functions may be called. The
caller decides what to do if an answer is lost. Modules, from the bottom: `wire` (frames), `server`, `line` (the way of
one process to a server).
"""
