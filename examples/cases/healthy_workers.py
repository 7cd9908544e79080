"""Healthy: workers that wait in queue.SimpleQueue for jobs, which are small and come ten times a second."""
import queue
import threading
import time
import case


def work(jobs):
    while True:
        number = jobs.get()
        if number is None:
            return
        sum(range(number))


def main():
    options = case.options(__doc__)
    jobs, begin = queue.SimpleQueue(), time.process_time()
    workers = [threading.Thread(target=work, args=(jobs,), name="worker %d" % i) for i in range(3)]
    for worker in workers:
        worker.start()
    for _ in case.arrivals(options.seconds, 0.1):
        jobs.put(1000)
    for _ in workers:
        jobs.put(None)
    for worker in workers:
        worker.join()
    case.tell("the process used %.2f s of CPU time", time.process_time() - begin)


if __name__ == "__main__":
    main()
