"""Every metric that outlive exports, through Ray's own pipeline, and what is made of that list.

`table` declares each metric once. Keepers and the catalog measure (`outlive.cluster.measuring`), and `exporter` gives
the values to Ray. The page docs/metrics.md, the Grafana dashboard and the tests of the alert rules come from the table.
"""
