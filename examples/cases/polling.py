"""A worker waits for jobs. One CPU is always busy, although there is hardly anything to do.

Slow:  it asks again and again whether there is a job.
Fixed: it lets the queue wake it up.
"""
import queue
import threading
import time
import case

JOBS = queue.Queue()


def next_job():
    while JOBS.empty():
        time.sleep(0)
    return JOBS.get()


def next_job_fixed():
    return JOBS.get()


def work(take, spent):
    while take() is not None:
        pass
    spent.append(time.thread_time())


def main():
    options = case.options(__doc__)
    spent = []
    worker = threading.Thread(target=work, args=(next_job_fixed if options.fixed else next_job, spent), name="worker")
    worker.start()
    jobs = 0
    for jobs in case.arrivals(options.seconds, 0.1):
        JOBS.put(jobs)
    JOBS.put(None)
    worker.join()
    case.tell("%d jobs; the worker, which does nothing, used %.2f s of CPU time", jobs + 1, spent[0])


if __name__ == "__main__":
    main()
