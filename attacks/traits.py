"""Traits of this repository's attacks: `bench list attacks` shows them, and `--attacks class-wise` selects by them.

Not in the attacks' own files, where a new word would change the keys of all poisons.
"""

from bench.registry import Traits, attacks

_TABLE = {
    "em": Traits("sample-wise", bounded=True, surrogate=True),
    "rem": Traits("sample-wise", bounded=True, surrogate=True, against="at"),
    "tap": Traits("sample-wise", bounded=True, surrogate=True),
    "hypo": Traits("sample-wise", bounded=True, surrogate=True),
    "sep": Traits("sample-wise", bounded=True, surrogate=True),
    "dc": Traits("sample-wise", bounded=True, surrogate=True),
    "ntga": Traits("sample-wise", bounded=True, surrogate=True),
    "pil": Traits("sample-wise", bounded=True, surrogate=True),
    "lsp": Traits("sample-wise", bounded=True, surrogate=False),
    "ar": Traits("sample-wise", bounded=True, surrogate=False),
    "ops": Traits("class-wise", bounded=True, surrogate=False, against="at"),
    "cuda": Traits("class-wise", bounded=False, surrogate=False, against="at"),
    "class-random": Traits("class-wise", bounded=True, surrogate=False),
    "regions": Traits("class-wise", bounded=True, surrogate=False),
    "patches": Traits("class-wise", bounded=True, surrogate=False),
    "class-color": Traits("class-wise", bounded=True, surrogate=False, against="iss-jpeg"),
    "adaptive": Traits("sample-wise", bounded=True, surrogate=True, against="the defense in through"),
    "from-file": Traits("any noise", bounded=None, surrogate=None),
}

for _name, _traits in _TABLE.items():
    attacks.describe(_name, _traits)
