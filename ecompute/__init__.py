"""The Python client of the Compute API: small cloud machines that you create with one call."""
