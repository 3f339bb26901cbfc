"""The lakehouse: tables and artefacts on disk, who made them from what, and SQL over them."""
