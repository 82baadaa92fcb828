"""Predict: the connections a fleet will hold, what breaks first, and what to change.

Nothing here runs a lab or opens a socket: facts about a live server or an account come in through functions and clients
that the command line passes in.
"""
