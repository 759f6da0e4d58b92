"""``gateway ingress doctor``: is there a way around the gateway? Asked from outside, of a live
ingress, without breaking anything.

Every probe is an ordinary request with a nonce in its query. What it led to is read from three
places: the answer, the record of the check, and the record of the test location, which stands where
an application would. A finding says what was sent, what arrived, and the line to change.

``gateway doctor cognito`` is the other examination: of the user pool (``cognito_findings``).
"""
