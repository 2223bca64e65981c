"""Selections: from words, tables and presets to components with checked parameters."""
