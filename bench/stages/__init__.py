"""Stages: poison, purify, train. The only callers of plug-ins."""
