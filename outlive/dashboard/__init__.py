"""`outlive dashboard`: a web page that shows one cluster, and acts on it when asked.

    browser  <-- HTTP, server-sent events -->  server  <-- lines of JSON -->  looker  <-- Ray -->  the cluster
    static/                                    server, feeds, rows            looker, in_ray

The server never loads Ray. A process of its own, the looker, asks the cluster: so the page goes on and says so if the
cluster is lost, and a looker that hangs or was ended by Ray is started anew.
"""
