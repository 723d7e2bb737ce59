"""Several processes serve one CA: a supervisor starts them, and does nothing else."""
