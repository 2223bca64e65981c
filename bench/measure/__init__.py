"""Measurements: costs of a stage, scores of a poison."""
