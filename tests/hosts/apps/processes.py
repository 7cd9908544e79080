"""Child processes in every way of Python: processes.py fork | forkserver | spawn | futures"""
import concurrent.futures
import multiprocessing
import os
import sys

import work

SECONDS = float(os.environ['HOSTS_WORK'])


def main(method):
    if method == 'futures':
        with concurrent.futures.ProcessPoolExecutor(2) as pool:
            print(len(list(pool.map(work.mixture, [SECONDS / 3] * 6))))
        return
    context = multiprocessing.get_context(method)
    alone = [context.Process(target=work.mixture) for _ in range(2)]
    for process in alone:
        process.start()
    for process in alone:
        process.join()
    print([process.exitcode for process in alone])
    pool = context.Pool(2)
    print(len(pool.map(work.mixture, [SECONDS / 3] * 6, 1)))
    pool.close()
    pool.join()
    with context.Pool(2) as pool:   # leaving it ends the workers by SIGTERM
        print(len(pool.starmap(work.mixture, [(SECONDS / 3, 'killed')] * 6, 1)))


if __name__ == '__main__':
    main(sys.argv[1])
    work.mixture()
    print('done')
