"""What no event told: directories and logs of identity providers, read on a schedule and after
every gap.
"""
