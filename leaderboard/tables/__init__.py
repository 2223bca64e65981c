"""Tables: a row per cell, a row per defense, with ranks and intervals."""
