"""Contract tests of plug-ins, and scaffolds for new ones."""
