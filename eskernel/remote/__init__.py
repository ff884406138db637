"""What kernels have in common that span processes: a front, a host in each worker, and the wire."""
