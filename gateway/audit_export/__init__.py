"""The audit log for a SIEM: each record at least once, as OCSF, to one destination; and how long
records are kept here.
"""
