"""Native memory, with BUILD/libpyprof.so in front of malloc and mmap: what counts, to the byte; what cannot be counted is told."""
import glob
import os
import re
import resource
import shutil
import subprocess
import sys

import bind

MIB = 1 << 20
PRELOAD = os.path.join(bind.BUILD, 'libpyprof.so')

# Calls of C's own functions, as a program's libraries make them. Functions that start with f_ are looked at by name.
CALLS = '''
import ctypes, os, random, sys, threading, time
C = ctypes.CDLL(None, use_errno=True)
POINTER, SIZE, INT, LONG = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_long
def declare(name, result, *arguments):
    function = getattr(C, name)
    function.restype, function.argtypes = result, arguments
    return function
mmap = declare('mmap', POINTER, POINTER, SIZE, INT, INT, INT, LONG)
munmap = declare('munmap', INT, POINTER, SIZE)
mprotect = declare('mprotect', INT, POINTER, SIZE, INT)
mremap = declare('mremap', POINTER, POINTER, SIZE, SIZE, INT, POINTER)
malloc, realloc = declare('malloc', POINTER, SIZE), declare('realloc', POINTER, POINTER, SIZE)
calloc, free = declare('calloc', POINTER, SIZE, SIZE), declare('free', None, POINTER)
valloc, pvalloc = declare('valloc', POINTER, SIZE), declare('pvalloc', POINTER, SIZE)
memalign, aligned_alloc = declare('memalign', POINTER, SIZE, SIZE), declare('aligned_alloc', POINTER, SIZE, SIZE)
FAILED = ctypes.c_void_p(-1).value
NONE, READ, WRITE, RW = 0, 1, 2, 3
ANON, FIXED, NORESERVE = 0x22, 0x32, 0x4022
M, PAGE = 1 << 20, os.sysconf('SC_PAGESIZE')
def map(size, protection=RW, flags=ANON, at=None):
    made = mmap(at, size, protection, flags, -1, 0)
    assert made != FAILED, ctypes.get_errno()
    return made
def fails(result, error):
    assert result in (-1, FAILED, None) and ctypes.get_errno() == error, (result, ctypes.get_errno())
    ctypes.set_errno(0)
'''


def run(folder, body, **variables):
    """What CALLS and body print."""
    if not os.path.exists(PRELOAD):
        bind.skip('no %s (it is built from examples/preload.c)' % PRELOAD)
    script = os.path.join(folder, 'app.py')
    with open(script, 'w') as file:
        file.write(CALLS + body + '\ntime.sleep(0.15)\n')
    environment = {name: value for name, value in os.environ.items() if name != 'PROFILING' and not name.startswith('PYPROF_')}
    process = subprocess.run([sys.executable, script], env=dict(environment, **variables), timeout=60, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said = process.stderr.decode()
    if 'RLIMIT_AS' in body:   # a checkpoint may meet the moment at which there is no memory
        said = re.sub('^pyprof: no memory for .*\n', '', said, flags=re.M)
    bind.equal((process.returncode, said), (0, ''), 'exit code and messages; output %r' % process.stdout)
    return process.stdout.decode()


def recorded(body, heap='exact', preload=PRELOAD):
    """The JSON, and what body printed."""
    with bind.folder() as folder:
        out = run(folder, body, LD_PRELOAD=preload, PROFILING='1', PYPROF_QUIET='1', PYPROF_HEAP=heap, PYPROF_OUT=folder + '/run', **bind.length({}, {'PYPROF_FORMATS': 'json'}))
        with open(folder + '/run_profile.json', 'rb') as file:
            return bind.strict_json(file.read()), out


def record(body, heap='exact', preload=PRELOAD):
    """(live bytes, live blocks) of each function of body by name, the stats, and what body printed."""
    document, out = recorded(body, heap, preload)
    live = {name[4:]: (entry['live_bytes'], entry['live_blocks']) for name, entry in document['functions'].items()
            if name.startswith('app.f_')}
    return live, document['stats'], out


def mib(live, name):
    return round(live[name][0] / MIB, 2)


@bind.test
def mappings_that_move_and_change_their_size():
    live, stats, _ = record('''
def f_grown():
    at = map(M)
    for i in range(2, 65): at = mremap(at, (i - 1) * M, i * M, 1, None)
    return at
def f_shrunk():
    return mremap(map(32 * M), 32 * M, 3 * M, 0, None)
def f_to_a_place():
    target = map(8 * M)                      # is replaced
    return mremap(map(5 * M), 5 * M, 5 * M, 3, target)
def f_part():                                # the middle third becomes another mapping
    at = map(9 * M)
    return mremap(at + 3 * M, 3 * M, 4 * M, 1, None)
def f_closed():
    for i in range(10):
        at, hinders = map(8 * M), map(M)
        at = mremap(at, 8 * M, 24 * M, 1, None)
        munmap(at, 24 * M); munmap(hinders, M)
def f_failed():
    at = map(2 * M)
    fails(mremap(at, 2 * M, 4 * M, 2, at + 1), 22)      # MREMAP_FIXED without MAYMOVE
    fails(mremap(at, 2 * M, 2 * M, 3, at + M), 22)      # onto itself
    fails(mremap(at + 1, M, 2 * M, 1, None), 22)
def f_file():                                # not anonymous: grows uncounted
    fd = os.open(sys.argv[0], os.O_RDONLY)
    at = mmap(None, PAGE, READ, 2, fd, 0)
    assert mremap(at, PAGE, 16 * PAGE, 1, None) != FAILED
f_grown(); f_shrunk(); f_to_a_place(); f_part(); f_closed(); f_failed(); f_file()
''')
    bind.equal([mib(live, name) for name in ('f_grown', 'f_shrunk', 'f_to_a_place', 'f_part', 'f_failed')], [64, 3, 8, 10, 2])
    bind.check(live['f_closed'][0] < MIB and live.get('f_file', (0, 0))[0] < MIB, 'left: %r', live)
    bind.check(not stats['degraded'] or stats['degraded'].startswith('max_cpu: '), 'degraded: %s', stats['degraded'])


@bind.test
def mappings_that_go():
    live, stats, _ = record('''
def f_middle():
    at = map(9 * M)
    assert munmap(at + 3 * M, 3 * M) == 0
def f_piece_by_piece():
    at = map(16 * M)
    for i in random.sample(range(16), 16): assert munmap(at + i * M, M) == 0
def f_several():                             # one call takes the ends and the middle of three that are neighbours
    at = map(12 * M, NONE)
    for i in range(3): map(4 * M, RW, FIXED, at + i * 4 * M)
    assert munmap(at + M, 10 * M) == 0
def f_replaced():
    at = map(8 * M)
    map(2 * M, RW, FIXED, at + 3 * M)
def f_failed():
    at = map(4 * M)
    ctypes.set_errno(0)
    fails(munmap(at + 1, M), 22)
    fails(munmap(at, 0), 22)
    fails(mmap(at + 1, M, RW, FIXED, -1, 0), 22)
def f_twice():
    at = map(4 * M)
    assert munmap(at, 4 * M) == 0 and munmap(at, 4 * M) == 0
    ctypes.set_errno(77)
    assert munmap(map(M), M) == 0 and ctypes.get_errno() == 77
munmap(map(M), M)
f_middle(); f_piece_by_piece(); f_several(); f_replaced(); f_failed(); f_twice()
''')
    bind.equal([mib(live, name) for name in ('f_middle', 'f_several', 'f_replaced', 'f_failed')], [6, 2, 8, 4])
    bind.equal((live['f_middle'][1], live['f_replaced'][1]), (2, 3), 'a part is a block')
    for name in 'f_piece_by_piece', 'f_twice':
        bind.check(live.get(name, (0, 0))[0] < MIB // 2, '%s: %r', name, live)


USED_UP = '''
def f_kept():
    return map(6 * M)
def fill():
    at = map(PAGE * %d, NONE)
    for i in range(0, %d, 2):
        if mprotect(at + i * PAGE, PAGE, READ) != 0: return at
at = f_kept()
filled = fill()
'''


def used_up():
    with open('/proc/sys/vm/max_map_count') as file:
        most = int(file.read())
    if most > 300000:
        bind.skip('max_map_count is %d' % most)
    return USED_UP % (most + 1000, most + 1000)


@bind.test
def a_munmap_that_the_system_refuses():
    """With the number of mappings used up a hole cannot be made: what the failed call was about still counts."""
    live, _, _ = record(used_up() + '''
ctypes.set_errno(0)
fails(munmap(at + M, M), 12)
fails(munmap(at + 3 * M, M), 12)
assert munmap(filled, PAGE * 20000) == 0   # so that there is memory to write files
''')
    bind.equal(mib(live, 'f_kept'), 6)


@bind.test
def no_memory_at_the_end_is_told():
    """The process ends while the number of mappings is used up: the files are there, or a message says that they are not."""
    if not os.path.exists(PRELOAD):
        bind.skip('no %s (it is built from examples/preload.c)' % PRELOAD)
    with bind.folder() as folder:
        script = os.path.join(folder, 'app.py')
        with open(script, 'w') as file:
            file.write(CALLS + used_up() + 'munmap(at + M, M)\ntime.sleep(0.15)\n')
        environment = {name: value for name, value in os.environ.items() if name != 'PROFILING' and not name.startswith('PYPROF_')}
        process = subprocess.run([sys.executable, script], timeout=60, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env=dict(environment, LD_PRELOAD=PRELOAD, PROFILING='1', PYPROF_QUIET='1', PYPROF_HEAP='exact',
                                          PYPROF_OUT=folder + '/run'))
        said = process.stderr.decode()
        written = os.path.exists(folder + '/run_profile.json')
    bind.check(written or 'no memory' in said, 'no file and no message: exit code %d, %r' % (process.returncode, said))


@bind.test
def reservations_are_not_memory():
    live, stats, out = record('''
def f_reserve():
    return map(64 << 30, NONE, NORESERVE)
def f_commit(at):
    assert mprotect(at + (1 << 30), 5 * M, RW) == 0
    assert mprotect(at + (1 << 30), 5 * M, RW) == 0          # once more: nothing new
    assert mprotect(at + (1 << 30), M, READ) == 0            # what was written stays
    map(3 * M, RW, FIXED, at + (2 << 30))                    # the other way to get at it
def f_decommit(at):
    assert mprotect(at + (1 << 30) + 4 * M, M, NONE) == 0
    map(M, NONE, FIXED, at + (2 << 30))
def f_lavish():
    return map(8 << 30, RW, NORESERVE)
def f_guarded():
    at = map(8 * M)
    assert mprotect(at, PAGE, NONE) == 0
at = f_reserve(); f_commit(at); f_decommit(at); f_lavish(); f_guarded()
closed = map(1 << 30, NONE); munmap(closed, 1 << 30)
''')
    bind.check(all(live.get(name, (0, 0))[0] < 4096 for name in ('f_reserve', 'f_lavish')), 'reserved: %r', live)
    bind.equal(mib(live, 'f_commit'), 6)
    bind.equal(mib(live, 'f_guarded'), 8)
    reserved = (64 << 30) + (8 << 30) - 6 * MIB + os.sysconf('SC_PAGESIZE')
    bind.check(0 <= stats['heap_reserved_bytes'] - reserved < MIB, 'reserved: %d, not %d', stats['heap_reserved_bytes'], reserved)


COURSES = '''
def f_leaks(turn): mmap(None, M, RW, ANON, -1, 0)
def f_caches(turn, cache={}): cache[turn % 20] = cache.get(turn % 20) or mmap(None, M, RW, ANON, -1, 0)
def f_replaces(turn, kept={}):
    if turn % 10 in kept: munmap(kept[turn % 10], M)
    kept[turn % 10] = mmap(None, M, RW, ANON, -1, 0)
def f_reserves(turn): mmap(None, 64 * M, NONE, NORESERVE, -1, 0)
def f_commits(turn, at=map(1 << 30, NONE)): assert mprotect(at + turn * M, M, RW) == 0
begin = time.monotonic()
for turn in range(60):
    f_leaks(turn), f_caches(turn), f_replaces(turn), f_reserves(turn), f_commits(turn)
    time.sleep(max(0, begin + 0.05 * (turn + 1) - time.monotonic()))
'''


@bind.test
def mappings_that_leak():
    """Sampled, too, each counts for itself: their growth is certain, and only memory grows."""
    for heap in bind.several('sampled', 'exact'):
        document = recorded(COURSES, heap)[0]
        told = {leak['function'][2:]: (leak['growth'], leak['error_bytes']) for leak in document['memory']['leaks']
                if leak['function'].startswith('f_')}
        growth = {name: told[name][0] for name in told if name != 'replaces'}   # in time: on a busy machine turns come late
        bind.enough(growth == {'leaks': 'growing', 'caches': 'plateau', 'commits': 'growing'}, '%s: %r', heap, told)
        bind.check(told.get('replaces', ('steady', 0))[0] in ('steady', 'plateau', 'unsure'), '%s: %r', heap, told)
        bind.enough(all(error < MIB // 4 for _, error in told.values()), 'errors, %s: %r', heap, told)
        if heap == 'sampled':
            bind.near(document['memory']['live_bytes'], 150 * MIB, 0, 8 * MIB, 'live')


@bind.test
def reallocs_and_rare_functions():
    live, _, _ = record('''
def f_to_nothing():
    for i in range(50): free(realloc(malloc(M), 0))
def f_failed():
    kept = malloc(3 * M)
    for i in range(20): fails(realloc(kept, 1 << 60), 12)
def f_grown():
    at = malloc(M)
    for i in range(2, 51): at = realloc(at, i * M)
def f_pvalloc():
    assert pvalloc(7 * M - PAGE + 1) % PAGE == 0
    fails(pvalloc(2 ** 64 - 5), 12)
def f_aligned():
    assert memalign(65536, M) % 65536 == 0 and valloc(M) % PAGE == 0 and aligned_alloc(64, M) % 64 == 0
    fails(aligned_alloc(64, 1 << 62), 12)
def f_freed():
    for function in (valloc, pvalloc): free(function(M))
    free(memalign(64, M)); free(aligned_alloc(64, M)); free(calloc(4, M))
ctypes.set_errno(0)
f_to_nothing(); f_failed(); f_grown(); f_pvalloc(); f_aligned(); f_freed()
''')
    bind.equal([mib(live, name) for name in ('f_failed', 'f_grown', 'f_pvalloc', 'f_aligned')], [3, 50, 7, 3])
    for name in 'f_to_nothing', 'f_freed':
        bind.check(live.get(name, (0, 0))[0] < MIB // 2, '%s: %r', name, live)


@bind.test(limit=120)
def twenty_thousand_mappings():
    live, stats, _ = record('''
def f_many():
    return [map(4 * PAGE) for i in range(20000)]
def f_more():
    for at in [map(4 * PAGE) for i in range(20000)]: munmap(at, 4 * PAGE)
kept = f_many(); f_more()
for at in random.sample(kept, 5000): munmap(at + PAGE, PAGE)
''')
    page = os.sysconf('SC_PAGESIZE')
    bind.near(live['f_many'][0], (20000 * 4 - 5000) * page, 0.02, 0, 'bytes')
    bind.check(live['f_more'][0] < MIB, 'unmapped: %r', live)
    bind.equal(stats['heap_dropped'], 0)
    bind.check(not stats['degraded'].strip() or stats['degraded'].startswith('max_cpu:'), 'degraded: %r', stats['degraded'])


@bind.test(limit=120)
def any_order_of_calls():
    """Random calls, against an account of each page."""
    for seed in bind.length((0, 1, 2), (0, 2)):
        live, stats, out = record('''
random.seed(%d)
COUNT = 256
state = [None] * COUNT      # of each page: None, False = reserved, True = memory
def f_any(base):
    for step in range(1500):
        first = random.randrange(COUNT); count = random.randint(1, min(40, COUNT - first))
        at, size, span = base + first * PAGE, count * PAGE, range(first, first + count)
        what = random.randrange(4)
        if what == 0:
            protection, flags = random.choice((NONE, READ, RW)), random.choice((FIXED, FIXED | 0x4000))
            map(size, protection, flags, at)
            for i in span: state[i] = protection == RW and flags == FIXED
        elif what == 1:
            assert munmap(at, size) == 0
            for i in span: state[i] = None
        elif what == 2:
            if any(state[i] is None for i in span): continue
            protection = random.choice((NONE, READ, RW))
            assert mprotect(at, size, protection) == 0
            for i in span: state[i] = protection == RW or (protection == READ and state[i])
        else:
            target = random.randrange(COUNT - count + 1)
            if abs(target - first) < count or len({state[i] for i in span}) > 1: continue
            moved = mremap(at, size, size, 3, base + target * PAGE) != FAILED
            if not moved and ctypes.get_errno() == 22: continue
            for i in range(count):      # the target is unmapped, also when it fails then
                state[target + i] = state[first + i] if moved else None
                if moved: state[first + i] = None
f_any(1 << 40)              # where nobody else is given memory
print(state.count(True), state.count(False))
''' % seed, 'sampled' if seed == 2 else 'exact')
        memory, reserved = (int(word) * os.sysconf('SC_PAGESIZE') for word in out.split())
        if seed == 2:
            bind.near(live['f_any'][0], memory, 0, 0.6 * MIB, 'memory, sampled')
        else:
            bind.check(0 <= live['f_any'][0] - memory < 60000, 'memory, seed %d: %d, not %d', seed, live['f_any'][0], memory)
        bind.check(0 <= stats['heap_reserved_bytes'] - reserved < MIB, 'reserved, seed %d: %r, not %d', seed, stats, reserved)


@bind.test(limit=120)
def threads_that_map_and_unmap():
    live, stats, _ = record('''
def f_storm(seed):
    chance = random.Random(seed)
    kept = []
    for step in range(4000):
        size = chance.randint(1, 30) * PAGE
        if len(kept) < 50: kept.append((map(size), size))
        else:
            at, size = kept.pop(chance.randrange(50))
            wanted = chance.randint(1, 30) * PAGE
            if step % 3 == 0: kept.append((mremap(at, size, wanted, 1, None), wanted))
            else: assert munmap(at, size) == 0
    for at, size in kept: assert munmap(at, size) == 0
threads = [threading.Thread(target=f_storm, args=(i,)) for i in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
''')
    bind.check(live['f_storm'][0] < MIB // 4, 'left: %r', live)


def library(name):
    found = sorted(glob.glob('/usr/lib/*/%s' % name) + glob.glob('/usr/lib/%s' % name))
    if not found:
        bind.skip('no %s here' % name)
    return found[0]


def with_another_malloc(path, ours_first):
    both = [PRELOAD, path] if ours_first else [path, PRELOAD]
    live, stats, _ = record('''
def f_python(): return bytearray(20 * M)
def f_small(): return [malloc(100) for i in range(100000)]
def f_big(): return [malloc(5 * M) for i in range(4)]
def f_aligned(): return memalign(64, 10 * M)
def f_mapped(): return map(7 * M)
kept = [f_python(), f_small(), f_big(), f_aligned(), f_mapped()]
''', preload=':'.join(both))
    bind.near(live['f_python'][0], 20 * MIB, 0.01, 0, 'of Python')
    if ours_first:
        bind.near(live['f_mapped'][0], 7 * MIB, 0.01, 0, 'mapped')
        bind.equal([mib(live, 'f_big'), mib(live, 'f_aligned')], [20, 10])
        bind.near(live['f_small'][0], 100000 * 140, 0.1, 0, 'small')
        bind.check('operator new of lib' in stats['degraded'], 'degraded: %r', stats['degraded'])
    else:
        bind.check(live['f_big'][0] < MIB and live['f_aligned'][0] < MIB, 'not by our malloc: %r', live)
        bind.check('stands in front of ours: native memory is not counted' in stats['degraded'], 'degraded: %r', stats['degraded'])


@bind.test
def jemalloc_in_front_and_behind():
    for ours_first in True, False:
        with_another_malloc(library('libjemalloc.so.2'), ours_first)


@bind.test
def tcmalloc_in_front_and_behind():
    for ours_first in True, False:
        with_another_malloc(library('libtcmalloc_minimal.so.4'), ours_first)


@bind.test
def a_library_with_a_malloc_of_its_own():
    """RTLD_DEEPBIND: what it allocates cannot be seen, and that is told; without it all is seen."""
    compiler = shutil.which(os.environ.get('CC', 'cc'))
    if not compiler:
        bind.skip('no compiler')
    with bind.folder() as folder:
        source, made = os.path.join(folder, 'deep.c'), os.path.join(folder, 'libdeep.so')
        with open(source, 'w') as file:
            file.write('#include <stdlib.h>\nvoid *take(size_t size) { return malloc(size); }\n')
        subprocess.check_call([compiler, '-shared', '-fPIC', source, '-o', made])
        for flag in 'os.RTLD_DEEPBIND', '0':
            live, stats, _ = record('''
take = ctypes.CDLL(%r, mode=os.RTLD_LAZY | %s).take
take.restype, take.argtypes = POINTER, [SIZE]
def f_taken(): return [take(M) for i in range(10)]
kept = f_taken()
''' % (made, flag))
            degraded = '' if stats['degraded'].startswith('max_cpu: ') else stats['degraded']   # a busy machine
            bind.equal((mib(live, 'f_taken'), degraded), (10, '') if flag == '0' else (0, degraded))
            bind.equal('libdeep.so calls malloc of libc' in stats['degraded'], flag != '0', stats['degraded'])


FILL = '''
import resource
kept = []
def f_fill():
    try:
        while True: kept.append(bytearray(100000))
    except MemoryError:
        return len(kept) * 100000 >> 20
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
got = f_fill()
del kept[len(kept) // 2:]
print(got)
'''


@bind.test(limit=120)
def a_limit_on_address_space():
    """The tables take little of it; a session that begins under a small limit works, or says what it lacks."""
    os.environ['MALLOC_ARENA_MAX'] = '1'   # glibc takes 64 MiB for each arena, and more arenas the more threads meet in malloc
    with bind.folder() as folder:
        plain = int(run(folder, FILL))
    live, stats, out = record(FILL)
    print('without a profiler %d MiB of 400, with it %s' % (plain, out))
    bind.enough(int(out) > plain - 40, 'MemoryError after %s MiB; without a profiler after %d', out, plain)
    bind.near(live['f_fill'][0], int(out) * MIB // 2, 0.05, 0, 'what lives')
    for limit in 160, 250:
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit << 20, before[1]))
        try:
            live, stats, out = record('def f_few(): return [malloc(1000) for i in range(1000)]\nkept = f_few()\n')
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
        bind.check(live['f_few'][0] >= 1000000 or 'heap: ' in stats['degraded'], '%d MiB: %r, %r', limit, live, stats)


if __name__ == '__main__':
    bind.run()
