"""Transfer: bytes of files from one node to another, over TCP, for those who know the cluster's secret.

It knows sockets and open files, and nothing of arrays, Ray or NumPy: who serves says what a request may read, who asks
where the bytes go. Modules, from the bottom: `wire` (frames), `channel` (a connection, with a deadline for everything),
`proof` (both sides know the secret), `settings` (port, TLS), `server`, `client`.
"""
