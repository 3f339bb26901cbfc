"""The ``scmagnify`` command."""
