"""D-VAE, its ablations `vae` and `ae` (Yu et al., ICML 2024, arXiv:2405.01460), and `dvae-auto`, ours."""

from defenses.dvae.ablations import PlainAutoencoder as PlainAutoencoder
from defenses.dvae.ablations import RateLimitedVae as RateLimitedVae
from defenses.dvae.auto import DvaeAuto as DvaeAuto
from defenses.dvae.purify import Dvae as Dvae
