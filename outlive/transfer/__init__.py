"""Transfer: bytes of files from one node to another, over TCP, for those who know the cluster's secret.

This package knows sockets and open files, and nothing of arrays, Ray or NumPy. The server's owner opens the file that a
request asks for. The client's owner says where the bytes go. Modules, from the bottom: `wire` (frames), `channel` (a
connection, with a deadline for everything), `proof` (both sides know the secret), `settings` (port, TLS), `door` (who
comes in), `server`, `client`.
"""
