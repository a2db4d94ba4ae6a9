"""Calls: short questions to another process, over TCP, for those who know the cluster's secret.

It knows sockets, and nothing of arrays or Ray: who serves says which functions may be called, who asks what to do if
the answer is lost. Modules, from the bottom: `wire` (frames), `server`, `line` (a connection to a server).
"""
