"""The control plane: the JSON 1.1 API that boto speaks, held to botocore's own service model.

What it creates is at once live on the hosted pages, because both sides read the same pool.
"""
