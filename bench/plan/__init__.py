"""Plans of a matrix: jobs, keys, obstacles, expected times."""
