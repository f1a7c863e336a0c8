"""Names of the ways to compute, which command lines check before PyTorch is loaded."""

DTYPES = ("auto", "float32", "bfloat16")  # of matrix products: see `precision`
DECODINGS = ("auto", "eager", "graph")  # see `generate`
