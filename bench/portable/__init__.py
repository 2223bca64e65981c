"""Exported folders: cells and manifests that travel without tensors, and their checks on another machine."""
