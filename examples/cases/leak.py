"""A service that answers requests. Its memory grows until it is killed.

Slow:  each request leaves its session in a table, and nothing ever removes it.
Fixed: the session is removed when the request has been answered.
"""
import resource
import case

SESSIONS = {}


def remember(number, body):
    SESSIONS[number] = {"body": bytearray(body), "user": "user %d" % (number % 50)}


def answer(number):
    return "%s: %d bytes" % (SESSIONS[number]["user"], len(SESSIONS[number]["body"]))


def handle(number, fixed):
    remember(number, b"x" * 1500000)
    answer(number)
    if fixed:
        del SESSIONS[number]


def main():
    options = case.options(__doc__)
    number = 0
    for number in case.arrivals(options.seconds, 0.1):
        handle(number, options.fixed)
    held = sum(len(session["body"]) for session in SESSIONS.values())
    case.tell("%d requests, %d sessions left with %.1f MiB; resident at most %.1f MiB", number + 1, len(SESSIONS), held / 2**20,
              resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)


if __name__ == "__main__":
    main()
