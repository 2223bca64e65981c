"""Runs of a plan: executors, progress, results."""
