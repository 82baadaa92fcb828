"""How each number of a lab report is computed: the text beside the numbers."""

from __future__ import annotations

METHOD: tuple[tuple[str, str], ...] = (
    (
        "Median and range",
        (
            "Every number is computed for each trial; shown is the median over the trials, and its lowest and "
            "highest trial where they differ. Strategies take turns, so that a slow moment of the machine "
            "meets all of them."
        ),
    ),
    (
        "Connections opened",
        (
            "The server's own counter of granted sessions over the trial. The relay between each execution "
            "environment and the server counts them too; where the two differ, the run fails."
        ),
    ),
    (
        "Peak",
        (
            "Two witnesses. The relay sees every open and close, and counts a connection from when it reaches the "
            "server, its login included. The server is sampled: what it says is real, but a short peak may fall "
            "between two samples. The verdict takes the larger, the relay's no higher than the limit, which is the "
            "most sessions there can be. Behind a proxy only the server's samples count."
        ),
    ),
    (
        "Refused",
        (
            "Connections that the server answered with an error instead of a session, by its error code "
            "(1040: too many connections, MySQL and MariaDB; 53300: the same, PostgreSQL)."
        ),
    ),
    (
        "Ghosts",
        (
            "Server connections that environments left open when the platform reaped them during the trial, "
            "and how many of those the server still held at its end."
        ),
    ),
    (
        "Failed invocations",
        (
            "Invocations that ended in an error, a timeout or a crash, or answered with a status of 500 or "
            "more; by the database's error code where the error carries one."
        ),
    ),
    (
        "Handler latency",
        (
            "From handing the event to the runtime until its response, over all trials together, failed "
            "invocations included. Quantiles are by nearest rank: a value that was measured. The p99 of fewer "
            "than 100 values is their maximum."
        ),
    ),
    ("Caller waits", "From the arrival of the request until its response: a cold start's Init is in it."),
    ("Answers per busy second", "Successful invocations divided by the time that environments spent in handlers."),
    (
        "Round trips per invocation",
        (
            "A request direction followed by an answer, counted at the relay during invocations; connecting "
            "is in it, what happens during Init is not."
        ),
    ),
    (
        "Server CPU per invocation",
        (
            "User and system time of the server's processes over the trial, less what the server was measured to use "
            "idle, divided by the invocations. Where the trial is short and the load small, it is mostly noise."
        ),
    ),
)
