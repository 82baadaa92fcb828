"""A discrete-event model of a fleet of execution environments and the database behind it."""
