"""From result files to tables and pages. Never imports torch: publishing works on a laptop."""
