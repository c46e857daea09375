"""Inner loops in numba: arrays and random numbers in, arrays out; no PyMC.

Genotypes are stored marker-major, ``(marker, individual)``, as int8 hard calls (0, 1, 2, and -1
for a missing one) or float32 dosages (negative = missing). A marker is centred when a tile of it is
copied into cache, so the matrix itself is never converted; a missing call becomes zero, which is
imputation by the marker mean.
"""
