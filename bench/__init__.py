"""purify-bench: accuracy versus cost of defenses against unlearnable examples."""

__version__ = "0.1.0"
