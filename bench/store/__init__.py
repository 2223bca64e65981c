"""Store: artifacts with their manifests, cells, and the locks between processes."""
