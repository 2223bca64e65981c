"""How jobs reach a device: in this process, in processes of their own (also Slurm), on a Ray cluster."""
