"""The layouts' words as plain integers, and the platform's constants: what compiled code takes as literals."""

from __future__ import annotations

import math

from warmline_toolkit.plan.simulate.layout import Count, Flow, Happening, Line, Outcome, Place, Strategy, Trigger

BUSY, IDLE, PARTIAL, PROVISIONED, RETIRED = (
    int(place) for place in (Place.BUSY, Place.IDLE, Place.PARTIAL, Place.PROVISIONED, Place.RETIRED)
)
PER_REQUEST, PROXY = int(Strategy.PER_REQUEST), int(Strategy.PROXY)
ASYNC, QUEUE = int(Trigger.ASYNC), int(Trigger.QUEUE)
READY, DONE, RELEASED, RETRY = (int(happening) for happening in Happening)
OK, REFUSED, BORROW_TIMEOUT = (int(outcome) for outcome in Outcome)
COUNT_ARRIVED, COUNT_INVOKED, COUNT_COLD = int(Count.ARRIVED), int(Count.INVOKED), int(Count.COLD)
COUNT_OK, COUNT_REFUSED, COUNT_BORROW_TIMEOUT = int(Count.OK), int(Count.REFUSED), int(Count.BORROW_TIMEOUT)
COUNT_CAP, COUNT_SCALE_OUT, COUNT_LOST = int(Count.THROTTLED_CAP), int(Count.THROTTLED_SCALE_OUT), int(Count.LOST)
COUNT_RETRIED, COUNT_OPENED = int(Count.RETRIED), int(Count.OPENED)
COUNT_REAPED, COUNT_RECONNECTED = int(Count.REAPED), int(Count.RECONNECTED)
LINE_ENVIRONMENTS, LINE_RUNNING, LINE_CONNECTIONS = int(Line.ENVIRONMENTS), int(Line.RUNNING), int(Line.CONNECTIONS)
LINE_WAITING, LINE_GHOSTS = int(Line.WAITING), int(Line.GHOSTS)
FLOW_ARRIVED, FLOW_COLD, FLOW_OPENED = int(Flow.ARRIVED), int(Flow.COLD), int(Flow.OPENED)
FLOW_FAILED, FLOW_THROTTLED = int(Flow.FAILED), int(Flow.THROTTLED)

NEVER = math.inf
ASYNC_RETRIES = 2
ASYNC_RETRY_AFTER_S = 60.0
"""Times the attempt: one minute before the second, two before the third (Lambda's asynchronous invocation)."""
THROTTLE_BACKOFF_MAX_S = 300.0
THROTTLE_MAX_AGE_S = 6 * 3600.0
