"""``gateway ingress doctor``: is there a way around the gateway? Asked from outside, of a live
ingress, without breaking anything.

Every probe is an ordinary request with a nonce in its query. What it led to is read from three
places: the answer, the record of the check, and the record of the test location, which stands where
an application would. A finding says what was sent, what arrived, and the line to change.
"""

from __future__ import annotations

from gateway.doctor.evidence import Finding, Severity
from gateway.doctor.findings import judge
from gateway.doctor.probes import shots
from gateway.doctor.run import Doctor, DoctorError, Target
from gateway.doctor.shot import Shot

__all__ = ["Doctor", "DoctorError", "Finding", "Severity", "Shot", "Target", "judge", "shots"]
