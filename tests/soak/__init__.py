"""What takes longer than a test run: fleets under load, fail-overs, thousands of histories. Run by
scripts/soak; tests run small ones.
"""
