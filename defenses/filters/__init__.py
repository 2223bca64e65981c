"""Classical image filters as defenses, each applied once to every training image.

None of them comes from a paper on unlearnable examples in this form: their defaults are chosen here. The columns
"Gaussian" of published tables (kernel 3, sigma 0.1) are no measurement of `gaussian-blur`: with that kernel every image
stays as it is.
"""

from defenses.filters import local, spectral, variation

__all__ = ["local", "spectral", "variation"]
