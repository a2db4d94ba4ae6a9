"""The site that `make docs` builds from docs/: what mkdocs reads (mkdocs.yml), and the pages that no file has."""
