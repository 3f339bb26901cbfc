"""Families of methods: what a family is (``family``), the list of them (``families``), and a module or folder for each.

``grn`` infers networks. Families never import each other; what they share is in ``packing`` and `numerics`.
"""
