"""What test_attach_matrix.py records: threads that stand still, and the calls of known_calls.py. Any CPython since 3.8; it
needs no library. It tells as one line of JSON what can be seen of it, and then works for as long as each line of its input says.
"""
import json
import os
import sys
import threading
import time
import types

HERE = os.path.dirname(os.path.abspath(__file__))


def name_of(code):
    return getattr(code, 'co_qualname', code.co_name)


class running:
    def __init__(self, target):
        self.thread = threading.Thread(target=target)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.thread.join()


def known_calls():
    """The module, without the library that its other functions use."""
    for name, values in ('bind', {'SAMPLES': 0}), ('recording', {'name_of': name_of, 'running': running}):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(values)
    sys.path.insert(0, HERE)
    import known_calls as module
    return module


def park(depth, lock):
    if depth:
        return park(depth - 1, lock)
    lock.acquire()   # parked


def parked(item, lock):
    for _ in [item for item in (park(n, lock) for n in (item,))]:
        pass


PARKED = park.__code__.co_firstlineno + 3


def stacks():
    """Of the other threads."""
    found = {}
    for ident, frame in sys._current_frames().items():
        stack = []
        if ident == threading.get_ident():
            continue
        while frame:
            code = frame.f_code
            stack.insert(0, [code.co_filename, name_of(code), code.co_firstlineno, frame.f_lineno])
            frame = frame.f_back
        found[ident] = stack
    return found


def main():
    known = known_calls()
    steps = known.trace_run()
    lock = threading.Lock()
    lock.acquire()
    threads = [threading.Thread(target=target, args=(depth, lock), daemon=True)
               for target, depth in ((park, 3), (park, 60), (parked, 5))]
    for thread in threads:
        thread.start()
    seen = None
    while seen is None or seen != stacks() or any(seen[thread.ident][-1][3] != PARKED for thread in threads):
        seen = stacks()
        time.sleep(0.05)
    print(json.dumps({'pid': os.getpid(), 'version': sys.version.split()[0], 'stacks': seen,
                      'churn': known.where(known.churn_main.__code__), 'steps': [list(step) for step in steps],
                      'lines': [[place, sorted(line for line in lines if line is not None)] for place, lines in known.known_lines().items()]}),
          flush=True)
    for line in sys.stdin:
        with running(lambda: known.churn_main(0, float(line))):
            pass
        print('done', flush=True)


if __name__ == '__main__':
    main()
