"""SnapStart: one initialised process, and the environments restored from it."""
