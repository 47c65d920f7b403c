"""Contracts only: what a state, an energy, a screen, a task, an instrument and a record are."""
