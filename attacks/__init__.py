"""Availability poisons: one paper, one file. They import `bench.api` and `bench.registry`, never each other."""
