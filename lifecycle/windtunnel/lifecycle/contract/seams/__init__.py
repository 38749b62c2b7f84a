"""The seams of the house: every kind of thing that can be added, one registry each, one row a thing.

A row is a few texts: its name, what it is for, and where its parts are (``module:attribute``), so that knowing all rows imports nothing.
What is added once is known everywhere: to the problem file's check, the stages, the server's compiler and the documentation.

A package of somebody else's adds a row by an entry point of the registry's group, which names a row object:

.. code-block:: toml

    [project.entry-points."windtunnel.learners"]
    nearest = "their_package.rows:NEAREST"

`windtunnel.lifecycle.contract.seams.catalogue` lists all registries; `windtunnel.lifecycle.contract.seams.testing` holds the conformance
test that their authors subclass.
"""
