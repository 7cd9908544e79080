"""Healthy: a pool of threads that take small jobs from a queue as they come, and rest in between."""
import concurrent.futures
import json
import time
import case


def job(number):
    text = json.dumps({"number": number, "squares": [i * i for i in range(50)]})
    return len(json.loads(text)["squares"])


def main():
    options = case.options(__doc__)
    jobs, begin = 0, time.process_time()
    with concurrent.futures.ThreadPoolExecutor(4, "pool") as pool:
        for number in case.arrivals(options.seconds, 0.1):
            pool.submit(job, number)
            jobs += 1
    case.tell("%d jobs, for which the process used %.2f s of CPU time", jobs, time.process_time() - begin)


if __name__ == "__main__":
    main()
