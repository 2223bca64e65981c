"""Defenses: one paper, one file or sub-package. They import `bench.api`, `bench.registry` and `bench.training`."""
