// test_findings.c - the findings: recordings made by hand that meet a rule, and others that just do not.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"

// ---- recordings of 10 s: samples are 10 ms apart, one thread after the other --------------------------------------------
typedef struct { recording r; uint32_t thread, main; uint64_t at; } scene;

static const char *source = "/srv/app/shop.py";

static void scene_thread(scene *s, const char *name)   // the following samples are its own
{
    s->thread = add_thread(&s->r, name, 100 + s->r.model.threads.count);
    s->main = add_frame(&s->r, thread_node(&s->r, s->thread), source, "main", 20, 30);
    s->at = 10;
}

static void scene_begin(scene *s)
{
    recording_begin(&s->r, NULL);
    scene_thread(s, "MainThread");
}

static uint32_t frame(scene *s, const char *name, int line) { return add_frame(&s->r, s->main, source, name, line - 1, line); }

static uint32_t leaf(scene *s, uint32_t parent, const char *name, pyprof_kind kind)
{
    return pyprof__model_node(&s->r.model, parent, pyprof__model_pseudo(&s->r.model, name, kind, 0));
}

static void run(scene *s, uint32_t node, int samples)
{
    if (samples <= 0) return;
    add_samples(&s->r, s->thread, node, s->at, samples, 0);
    s->at += 10 * (uint64_t)samples;
}

// metric: the state beside waiting; 0 = only waiting
static void wait_in(scene *s, uint32_t node, int samples, pyprof_metric metric)
{
    if (samples <= 0) return;
    add_samples(&s->r, s->thread, node, s->at, samples, 1);
    if (metric) pyprof__model_add(&s->r.model, metric, node, samples * 10 * (int64_t)ms);
    s->at += 10 * (uint64_t)samples;
}

static void wait_for(scene *s, const char *name, const char *what, int samples)
{
    wait_in(s, leaf(s, frame(s, name, 5), what, PYPROF_KIND_WAIT), samples, (pyprof_metric)0);
}

static void idle(scene *s, int samples) { wait_in(s, leaf(s, frame(s, "idle", 90), "[epoll]", PYPROF_KIND_WAIT), samples, PYPROF_IDLE_NS); }

static void spread(scene *s, int samples)   // over ten functions: none of them is hot
{
    static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j" };
    for (int i = 0; i < 10; i++) run(s, frame(s, names[i], 50 + 2 * i), samples / 10 + (i < samples % 10));
}

typedef struct { pyprof_profile *profile; pyprof__findings f; } result;

static result scene_end(scene *s)
{
    static pyprof__findings f;
    result got;
    got.profile = seal(&s->r, 0);
    CHECK(got.profile != NULL);
    recording_end(&s->r);
    CHECK(pyprof__findings_make(&f, got.profile, NULL));
    got.f = f;
    for (size_t i = 0; i < f.found.count; i++) {
        const pyprof__finding *one = &AT(pyprof__finding, f.found, i);
        printf("%s (%.3f): %s\n    %s\n    %s\n", pyprof__finding_names[one->kind], one->weight, one->title, one->evidence, one->advice);
    }
    return got;
}

static void result_free(result *got)
{
    pyprof__findings_free(&got->f);
    pyprof_profile_free(got->profile);
}

static const pyprof__finding *find(const result *got, int kind)
{
    for (size_t i = 0; i < got->f.found.count; i++)
        if (AT(pyprof__finding, got->f.found, i).kind == kind) return &AT(pyprof__finding, got->f.found, i);
    return NULL;
}

// Is there such a finding, with this title? NULL = there must be none.
static void ends(scene *s, int kind, const char *title)
{
    result got = scene_end(s);
    const pyprof__finding *one = find(&got, kind);
    if (!title) CHECK(one == NULL);
    else {
        CHECK(one != NULL);
        CHECK_STR(one->title, title);
    }
    result_free(&got);
}

static void verdict_is(result *got, size_t i, const char *want)
{
    char text[2000];
    pyprof__verdict(&got->f, i, text, sizeof text);
    CHECK_STR(text, want);
}

// ---- running ---------------------------------------------------------------------------------------------------------
static void hot(int samples, int idles, const char *title)
{
    scene s;
    scene_begin(&s);
    run(&s, frame(&s, "unique", 9), samples);
    spread(&s, 1000 - samples);
    idle(&s, idles);
    ends(&s, PYPROF_FINDING_HOT, title);
}

TEST(a_hot_function)
{
    hot(300, 0, "MainThread runs in unique (shop.py:9) for 30 % (+-3) of its running time");
    hot(299, 0, NULL);
    hot(500, 9000, "MainThread runs in unique (shop.py:9) for 50 % (+-3) of its running time");   // 5 % of the recorded time
    hot(499, 9000, NULL);
}

static void spreads(int samples, int waits, int idles, const char *title)
{
    scene s;
    scene_begin(&s);
    spread(&s, samples);
    for (int i = 0; i < 10; i++) { char name[] = { 'a', (char)('a' + i), 0 }; wait_for(&s, name, "[open /x]", waits / 10 + (i < waits % 10)); }
    idle(&s, idles);
    ends(&s, PYPROF_FINDING_SPREAD, title);
}

TEST(running_that_is_spread)
{
    const char *title = "MainThread runs all the time, in many functions: none has more than 10 %";
    spreads(900, 100, 0, title);
    spreads(899, 101, 0, NULL);
    spreads(1000, 0, 1000, "MainThread runs all the time, in many functions: none has more than 10 %");
    spreads(1000, 0, 1001, NULL);
}

TEST(a_c_function_of_a_library)
{
    scene s;
    scene_begin(&s);
    uint32_t library = add_frame(&s.r, frame(&s, "pack", 7), "/usr/lib/python3.12/gzip.py", "compress", 600, 612);
    uint32_t node = leaf(&s, library, "<native> zlib.compress", PYPROF_KIND_NATIVE);
    run(&s, node, 900);
    pyprof__model_add(&s.r.model, PYPROF_NATIVE_NS, node, 9000 * (int64_t)ms);
    pyprof__model_add(&s.r.model, PYPROF_NOGIL_NS, node, 8000 * (int64_t)ms);
    run(&s, s.main, 100);
    result got = scene_end(&s);
    const pyprof__finding *one = find(&got, PYPROF_FINDING_HOT);
    CHECK(one && one->line == 7 && strcmp(one->name, "pack") == 0 && one->saved == 9000 * (int64_t)ms);
    CHECK_STR(one->title, "MainThread runs in compress (gzip.py:612) for 90 % of its running time, called from pack (shop.py:7), "
              "most of it in zlib.compress");
    CHECK_STR(one->evidence, "9.00 s of the 10.0 s that the thread was busy. Line 612 has 100 % of that. "
              "The C function zlib.compress runs for 9.00 s, without the GIL.");
    CHECK_STR(one->advice, "Most of it runs without the GIL: several threads can share the work.");
    verdict_is(&got, 0, "MainThread 10.0 s: 100 % running: zlib.compress 90 %, main :30 10 %.");
    result_free(&got);
}

// A function of a library that calls many others: the call is what takes the time.
static void calls(int own, int each, const char *title)
{
    static const char *const names[] = { "deepcopy", "_deepcopy_dict", "_deepcopy_list", "_keep_alive" };
    scene s;
    scene_begin(&s);
    uint32_t node = frame(&s, "request", 7);
    for (int i = 0; i < 4; i++) {
        node = add_frame(&s.r, node, "/usr/lib/python3.12/copy.py", names[i], 100 * (i + 1), 100 * (i + 1) + 5);
        run(&s, node, each);
    }
    run(&s, frame(&s, "unique", 9), own);
    spread(&s, 1000 - 4 * each - own);
    result got = scene_end(&s);
    const pyprof__finding *one = find(&got, PYPROF_FINDING_HOT);
    CHECK((one != NULL) == (title != NULL));
    if (one) CHECK_STR(one->title, title);
    if (one) CHECK(one->line == 7 && strcmp(one->name, "request") == 0 && one->saved == each * 40 * (int64_t)ms);
    result_free(&got);
}

TEST(a_call_of_a_library)
{
    calls(0, 240, "MainThread runs in and below deepcopy (copy.py) for 96 % of its running time, called from request (shop.py:7)");
    calls(0, 75, "MainThread runs in and below deepcopy (copy.py) for 30 % (+-3) of its running time, called from request (shop.py:7)");
    calls(0, 74, NULL);
}

// ---- waiting ---------------------------------------------------------------------------------------------------------
static void waits(const char *what, int samples, int kind, const char *title)
{
    scene s;
    scene_begin(&s);
    wait_for(&s, "price", what, samples);
    spread(&s, 1000 - samples);
    ends(&s, kind, title);
}

TEST(waits_by_what_they_are_for)
{
    waits("[recv 127.0.0.1:45811]", 100, PYPROF_FINDING_PEER, "MainThread waits 10 % of its time for recv 127.0.0.1:45811 in price (shop.py:5)");
    waits("[recv 127.0.0.1:45811]", 99, PYPROF_FINDING_PEER, NULL);
    waits("[read file /a/b.bin]", 500, PYPROF_FINDING_FILE, "MainThread waits 50 % (+-3) of its time for read file /a/b.bin in price (shop.py:5)");
    waits("[open]", 500, PYPROF_FINDING_FILE, "MainThread waits 50 % (+-3) of its time for open in price (shop.py:5)");
    waits("[futex]", 500, PYPROF_FINDING_LOCK, "MainThread waits 50 % (+-3) of its time for a lock in price (shop.py:5)");
    waits("[flock file /a]", 500, PYPROF_FINDING_LOCK, "MainThread waits 50 % (+-3) of its time for flock file /a in price (shop.py:5)");
    waits("[wait child]", 500, PYPROF_FINDING_CHILD, "MainThread waits 50 % (+-3) of its time for a child process in price (shop.py:5)");
    waits("[getrandom]", 500, PYPROF_FINDING_WAIT, "MainThread waits 50 % (+-3) of its time for getrandom in price (shop.py:5)");
    waits("[read pipe]", 1000, PYPROF_FINDING_PEER, "MainThread waits 100 % of its time for read pipe in price (shop.py:5)");
}

TEST(a_thread_that_reads_one_pipe_waits_for_work)
{
    for (int busy = 20; busy <= 21; busy++) {
        scene s;
        scene_begin(&s);
        idle(&s, 1000);
        scene_thread(&s, "reader");
        wait_for(&s, "price", "[read pipe]", 1000 - busy);
        run(&s, s.main, busy);
        ends(&s, PYPROF_FINDING_PEER, busy == 20 ? NULL : "reader waits 98 % of its time for read pipe in price (shop.py:5)");
    }
}

TEST(a_child_process_whose_output_is_read)
{
    for (int library = 0; library <= 1; library++) {
        scene s;
        scene_begin(&s);
        uint32_t node = add_frame(&s.r, frame(&s, "convert", 5), library ? "/usr/lib/python3.12/subprocess.py" : "/srv/app/subprocess.py", "run", 500, 548);
        wait_in(&s, leaf(&s, node, "[read pipe]", PYPROF_KIND_WAIT), 500, (pyprof_metric)0);
        spread(&s, 500);
        ends(&s, PYPROF_FINDING_CHILD, library ? "MainThread waits 50 % (+-3) of its time for a child process, by read pipe, in convert (shop.py:5)" : NULL);
    }
}

// A task of an event loop that sleeps, or waits for a peer; the loop itself waits in its selector.
static void loops(const char *file, const char *what, int idles, int samples, int kind, const char *title)
{
    scene s;
    scene_begin(&s);
    uint32_t node = add_frame(&s.r, s.main, "/usr/lib/python3.12/asyncio/base_events.py", "BaseEventLoop._run_once", 1900, 1950);
    wait_in(&s, leaf(&s, add_frame(&s.r, node, "/usr/lib/python3.12/selectors.py", "EpollSelector.select", 440, 468), "[epoll]", PYPROF_KIND_WAIT),
            1000 - samples, PYPROF_IDLE_NS);
    node = add_frame(&s.r, add_frame(&s.r, node, file, "Handle._run", 80, 84), source, "price", 4, 5);
    wait_in(&s, leaf(&s, node, what, PYPROF_KIND_WAIT), samples, idles ? PYPROF_IDLE_NS : (pyprof_metric)0);
    ends(&s, kind, title);
}

TEST(an_event_loop_that_stands_still)
{
    const char *file = "/usr/lib/python3.12/asyncio/events.py";
    loops(file, "[sleep]", 1, 100, PYPROF_FINDING_WAIT, "MainThread: its event loop stands still for 10 % of the time: it waits for sleep in price (shop.py:5)");
    loops(file, "[futex]", 1, 100, PYPROF_FINDING_WAIT, "MainThread: its event loop stands still for 10 % of the time: it waits for a lock in price (shop.py:5)");
    loops(file, "[sleep]", 1, 99, PYPROF_FINDING_WAIT, NULL);
    loops(file, "[epoll]", 1, 500, PYPROF_FINDING_WAIT, NULL);   // a loop within the loop
    loops("/srv/app/events.py", "[sleep]", 1, 500, PYPROF_FINDING_WAIT, NULL);
    loops(file, "[recv 10.0.0.1:1]", 0, 500, PYPROF_FINDING_PEER,
          "MainThread waits 100 % of its time for recv 10.0.0.1:1 in price (shop.py:5): its event loop stands still");
}

static void starved(int samples, const char *title)
{
    scene s;
    scene_begin(&s);
    wait_in(&s, frame(&s, "price", 5), samples, PYPROF_CPU_WAIT_NS);
    spread(&s, 1000 - samples);
    ends(&s, PYPROF_FINDING_STARVED, title);
}

TEST(waits_for_a_cpu)
{
    starved(150, "MainThread waits 15 % of its time for a CPU: the machine is busy, not the program");
    starved(149, NULL);
}

static void gil(int samples, const char *title)
{
    scene s;
    scene_begin(&s);
    uint32_t sorts = leaf(&s, frame(&s, "load", 6), "<native> sorted", PYPROF_KIND_NATIVE);
    run(&s, sorts, 1000);
    pyprof__model_add(&s.r.model, PYPROF_GIL_BLOCK_NS, sorts, samples * 10 * (int64_t)ms);
    scene_thread(&s, "worker");
    wait_in(&s, leaf(&s, frame(&s, "price", 5), "[GIL]", PYPROF_KIND_WAIT), samples, PYPROF_GIL_WAIT_NS);
    spread(&s, 1000 - samples);
    pyprof__rivals *pair = pyprof__push(&s.r.pool, &s.r.model.rivals);
    CHECK(pair != NULL);
    *pair = (pyprof__rivals){ 1, 0, (uint64_t)samples * 10 * ms };
    ends(&s, PYPROF_FINDING_GIL, title);
}

TEST(waits_for_the_gil)
{
    gil(150, "worker waits 15 % of its time for the GIL: MainThread holds it in sorted, called in load (shop.py:6)");
    gil(149, NULL);
}

// One thread holds a lock for 10 s; two others wait for it, but for a while.
static void serial(int held, int both, const char *title)
{
    scene s;
    scene_begin(&s);
    run(&s, frame(&s, "save", 41), held);
    idle(&s, 1000 - held);
    scene_thread(&s, "one");
    wait_for(&s, "price", "[futex]", 1000);
    scene_thread(&s, "two");
    if (both) wait_for(&s, "price", "[futex]", 1000);
    ends(&s, PYPROF_FINDING_SERIAL, title);
}

TEST(one_place_goes_on_while_threads_wait_for_locks)
{
    serial(700, 1, "Threads wait for locks, and one at a time goes on: in save (shop.py:40)");
    serial(699, 1, NULL);
    serial(1000, 0, NULL);
    scene s;   // two places go on: which one has the lock?
    scene_begin(&s);
    run(&s, frame(&s, "save", 41), 1000);
    scene_thread(&s, "three");
    run(&s, frame(&s, "draw", 61), 1000);
    scene_thread(&s, "one");
    wait_for(&s, "price", "[futex]", 1000);
    scene_thread(&s, "two");
    wait_for(&s, "price", "[futex]", 1000);
    ends(&s, PYPROF_FINDING_SERIAL, NULL);
}

TEST(a_place_that_always_goes_on_has_no_lock)
{
    scene s;
    scene_begin(&s);
    run(&s, frame(&s, "save", 41), 1000);
    for (int i = 0; i < 2; i++) {
        scene_thread(&s, i ? "two" : "one");
        wait_for(&s, "price", "[futex]", 300);
        idle(&s, 700);
    }
    ends(&s, PYPROF_FINDING_SERIAL, NULL);
}

// The thread that has the lock sleeps while it has it; a thread that sleeps elsewhere has none.
TEST(a_lock_that_is_held_asleep)
{
    for (int there = 0; there <= 1; there++) {
        scene s;
        scene_begin(&s);
        wait_in(&s, leaf(&s, frame(&s, there ? "price" : "tick", 5), "[sleep]", PYPROF_KIND_WAIT), 1000, PYPROF_IDLE_NS);
        for (size_t i = 0; i < s.r.model.moments.count; i++) MOMENT(s.r.model, i).state |= PYPROF__IS_IDLE;
        for (int i = 0; i < 2; i++) {
            scene_thread(&s, i ? "two" : "one");
            wait_for(&s, "price", "[futex]", 1000);
        }
        ends(&s, PYPROF_FINDING_SERIAL, there ? "Threads wait for locks, and one at a time goes on: in price (shop.py:4)" : NULL);
    }
}

// ---- polling, many small calls ------------------------------------------------------------------------------------------
static void switches(scene *s, int64_t count)   // in the 10 s
{
    add_gauge(&s->r, 0, 1 << 20, 0);
    add_gauge(&s->r, 10000, 1 << 20, 0);
    AT(pyprof__gauge, s->r.model.gauges, 1).facts.voluntary_switches = count;
}

static void polls(int asleep, int elsewhere, int64_t sleeps, int other, const char *title)
{
    scene s;
    scene_begin(&s);
    uint32_t poll = frame(&s, "poll", 12);
    wait_in(&s, leaf(&s, poll, "[sleep]", PYPROF_KIND_WAIT), asleep, PYPROF_IDLE_NS);
    run(&s, poll, 40 - elsewhere);
    run(&s, frame(&s, "work", 19), elsewhere);
    wait_for(&s, "price", "[recv 10.0.0.1:1]", 960 - asleep);
    switches(&s, sleeps);
    if (other) scene_thread(&s, "other");
    run(&s, frame(&s, "price", 15), other);
    ends(&s, PYPROF_FINDING_POLL, title);
}

TEST(polling_asleep)
{
    const char *title = "MainThread polls in poll (shop.py:12): it sleeps and wakes up some 20 times a second";
    polls(500, 0, 200, 0, title);
    polls(499, 0, 200, 0, NULL);
    polls(500, 0, 199, 0, NULL);
    polls(500, 8, 200, 0, title);
    polls(500, 9, 200, 0, NULL);
    polls(500, 0, 200, 4, title);   // 90 % of the CPU time
    polls(500, 0, 200, 5, NULL);
}

static void asks(int samples, const char *title)
{
    scene s;
    scene_begin(&s);
    uint32_t poll = frame(&s, "next_job", 17);
    run(&s, add_frame(&s.r, poll, "/usr/lib/python3.12/queue.py", "Queue.get_nowait", 190, 199), samples / 2);
    run(&s, leaf(&s, poll, "<native> select.select", PYPROF_KIND_NATIVE), samples - samples / 2);
    spread(&s, 1000 - samples);
    ends(&s, PYPROF_FINDING_POLL, title);
}

TEST(polling_awake)
{
    asks(150, "MainThread polls in next_job (shop.py:17): it asks again and again, by select.select");
    asks(149, NULL);
    asks(401, "MainThread polls in next_job (shop.py:17): it asks again and again, by select.select");
}

// A function that returns at once is known by its file or, if it is a C function, by how the program calls it.
TEST(questions)
{
    static const struct { const char *file, *name; int asks; } rows[] = {
        { NULL, "<native> select.select", 1 }, { NULL, "<native> select", 1 }, { NULL, "<native> frame.select", 0 },
        { NULL, "<native> lock.acquire", 1 }, { NULL, "<native> monotonic", 1 }, { NULL, "<native> np.empty", 0 }, { NULL, "<native>", 0 },
        { "/usr/lib/python3.12/queue.py", "Queue.empty", 1 }, { "/usr/lib/python3.8/queue.py", "empty", 1 },
        { "/usr/lib/python3.8/threading.py", "is_set", 1 }, { "/usr/lib/python3.12/queue.py", "Queue.get", 0 },
        { "/usr/lib/python3.12/threading.py", "Semaphore.acquire", 1 },
        { "/usr/lib/python3/dist-packages/frames/frame.py", "Frame.select", 0 }, { "/usr/lib/python3/dist-packages/frames/frame.py", "empty", 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        scene s;
        scene_begin(&s);
        uint32_t at = frame(&s, "next_job", 17);
        run(&s, rows[i].file ? add_frame(&s.r, at, rows[i].file, rows[i].name, 10, 11) : leaf(&s, at, rows[i].name, PYPROF_KIND_NATIVE), 800);
        spread(&s, 200);
        result got = scene_end(&s);
        if ((find(&got, PYPROF_FINDING_POLL) != NULL) != rows[i].asks) printf("%s:\n", rows[i].name);
        CHECK((find(&got, PYPROF_FINDING_POLL) != NULL) == rows[i].asks);
        result_free(&got);
    }
}

static uint32_t loop_of(scene *s)
{
    return add_frame(&s->r, add_frame(&s->r, s->main, source, "serve", 30, 31), "/usr/lib/python3.12/asyncio/base_events.py",
                     "BaseEventLoop._run_once", 1900, 1950);
}

static uint32_t task_of(scene *s, uint32_t loop)
{
    return add_frame(&s->r, add_frame(&s->r, loop, "/usr/lib/python3.12/asyncio/events.py", "Handle._run", 80, 84), source, "drain", 40, 42);
}

static uint32_t sleep_of(scene *s, uint32_t task) { return add_frame(&s->r, task, "/usr/lib/python3.12/asyncio/tasks.py", "sleep", 640, 656); }

// A task that does little but sleep for no time: the event loop, which is code of others, takes the CPU.
static void loop_spins(int asks, int works, int others, int idles, const char *title)
{
    scene s;
    scene_begin(&s);
    uint32_t once = loop_of(&s), task = task_of(&s, once);
    run(&s, sleep_of(&s, task), asks);
    run(&s, task, works);
    run(&s, frame(&s, "report", 60), others);
    run(&s, once, 1000 - asks - works - others - idles);
    wait_in(&s, leaf(&s, once, "[epoll]", PYPROF_KIND_WAIT), idles, PYPROF_IDLE_NS);
    result got = scene_end(&s);
    const pyprof__finding *poll = find(&got, PYPROF_FINDING_POLL);
    CHECK((poll != NULL) == (title != NULL));
    if (poll && title) CHECK_STR(poll->title, title);
    if (poll) CHECK(!find(&got, PYPROF_FINDING_HOT) && poll->saved == (1000 - others - idles) * 10 * (int64_t)ms);
    result_free(&got);
}

TEST(an_event_loop_that_spins)
{
    const char *title = "MainThread polls in drain (shop.py:42): it asks again and again, by sleep";
    loop_spins(40, 60, 200, 0, title);
    loop_spins(40, 61, 200, 0, NULL);   // it works
    loop_spins(40, 60, 201, 0, NULL);   // so does other code
    loop_spins(40, 60, 0, 200, title);
    loop_spins(40, 60, 0, 201, NULL);   // the loop waits
}

TEST(a_task_that_asks_and_sleeps_is_one_finding)
{
    scene s;
    scene_begin(&s);
    uint32_t once = loop_of(&s), task = task_of(&s, once);
    run(&s, add_frame(&s.r, task, "/usr/lib/python3.12/queue.py", "Queue.empty", 100, 108), 400);
    run(&s, sleep_of(&s, task), 100);
    run(&s, once, 500);
    result got = scene_end(&s);
    int polls = 0;
    for (size_t i = 0; i < got.f.found.count; i++) polls += AT(pyprof__finding, got.f.found, i).kind == PYPROF_FINDING_POLL;
    CHECK(polls == 1 && find(&got, PYPROF_FINDING_POLL)->saved == 10000 * (int64_t)ms);
    CHECK(find(&got, PYPROF_FINDING_POLL)->others == 0);   // not of two threads
    result_free(&got);
}

// Work between the questions is no polling; a function that polls is not hot, too.
TEST(a_function_that_asks_and_works)
{
    for (int asked = 399; asked <= 400; asked++) {
        scene s;
        scene_begin(&s);
        uint32_t poll = frame(&s, "next_job", 17);
        run(&s, leaf(&s, poll, "<native> time.monotonic", PYPROF_KIND_NATIVE), asked);
        run(&s, poll, 1000 - asked);
        result got = scene_end(&s);
        CHECK((find(&got, PYPROF_FINDING_POLL) != NULL) == (asked == 400) && (find(&got, PYPROF_FINDING_HOT) != NULL) == (asked == 399));
        if (asked == 400) CHECK(find(&got, PYPROF_FINDING_POLL)->saved == 10000 * (int64_t)ms);
        result_free(&got);
    }
}

// A worker that waits for a condition wakes up for work.
TEST(a_worker_that_often_gets_work)
{
    scene s;
    scene_begin(&s);
    uint32_t worker = frame(&s, "worker", 12);
    wait_in(&s, leaf(&s, worker, "[futex]", PYPROF_KIND_WAIT), 900, PYPROF_IDLE_NS);
    run(&s, worker, 100);
    switches(&s, 1000);
    ends(&s, PYPROF_FINDING_POLL, NULL);
}

static void small(int64_t waits, const char *title)
{
    scene s;
    scene_begin(&s);
    wait_for(&s, "price", "[recv 10.0.0.1:5432]", 600);
    spread(&s, 400);
    switches(&s, waits);
    ends(&s, PYPROF_FINDING_SMALL, title);
}

TEST(many_small_waits)
{
    small(10000, "MainThread waits many times for a short time: recv 10.0.0.1:5432 in price (shop.py:5)");
    small(9999, NULL);
}

static void allocates(int64_t blocks, int64_t size, int64_t freed, int64_t peak, int samples, int kind, const char *title)
{
    scene s;
    scene_begin(&s);
    uint32_t node = frame(&s, "brighter", 17);
    s.r.model.heap.mode = PYPROF_HEAP_EXACT;
    run(&s, node, samples);
    spread(&s, 1000 - samples);
    add_blocks(&s.r, add_native(&s.r, node), size, blocks, 0, 0);
    pyprof__model_add(&s.r.model, PYPROF_TEMP_BLOCKS, node, freed);
    pyprof__model_add(&s.r.model, PYPROF_PEAK_BYTES, s.main, peak);
    ends(&s, kind, title);
}

TEST(many_small_blocks)
{
    const char *title = "brighter (shop.py:17) allocates many small blocks";
    allocates(1000000, 64, 0, 1, 100, PYPROF_FINDING_SMALL, title);
    allocates(999999, 64, 0, 1, 100, PYPROF_FINDING_SMALL, NULL);
    allocates(1000000, 65, 0, 1, 100, PYPROF_FINDING_SMALL, NULL);
    allocates(1000000, 64, 0, 1, 99, PYPROF_FINDING_SMALL, NULL);
}

TEST(memory_that_is_freed_at_once)
{
    const char *title = "brighter (shop.py:17) allocates 10.0 MiB a second, and frees most of it at once";
    allocates(100, 1 << 20, 50, 10 << 20, 100, PYPROF_FINDING_CHURN, title);
    allocates(100, 1 << 20, 49, 10 << 20, 100, PYPROF_FINDING_CHURN, NULL);
    allocates(100, 1 << 20, 50, (10 << 20) + 1, 100, PYPROF_FINDING_CHURN, NULL);
}

// ---- imports, garbage -----------------------------------------------------------------------------------------------------
static void apart(const char *name, int samples, int kind, const char *title)
{
    scene s;
    scene_begin(&s);
    uint32_t node = leaf(&s, frame(&s, "load", 3), name, PYPROF_KIND_PSEUDO);
    run(&s, add_frame(&s.r, node, "<frozen importlib._bootstrap_external>", "get_data", 1, 2), samples);
    spread(&s, 1000 - samples);
    ends(&s, kind, title);
}

TEST(imports_and_garbage)
{
    apart("<import numpy.core>", 100, PYPROF_FINDING_IMPORT, "MainThread imports modules for 10 % of its time");
    apart("<import numpy.core>", 99, PYPROF_FINDING_IMPORT, NULL);
    apart("<import numpy.core>", 900, PYPROF_FINDING_HOT, NULL);
    apart("<GC>", 50, PYPROF_FINDING_GC, "MainThread collects garbage for 5 % of its time");
    apart("<GC>", 49, PYPROF_FINDING_GC, NULL);
}

TEST(imports_by_package)
{
    scene s;
    scene_begin(&s);
    uint32_t outer = leaf(&s, frame(&s, "load", 3), "<import pandas>", PYPROF_KIND_PSEUDO);
    uint32_t inner = leaf(&s, outer, "<import numpy.core>", PYPROF_KIND_PSEUDO), other = leaf(&s, inner, "<import numpy>", PYPROF_KIND_PSEUDO);
    run(&s, outer, 200);
    run(&s, inner, 250);
    run(&s, other, 50);
    spread(&s, 500);
    result got = scene_end(&s);
    const pyprof__finding *one = find(&got, PYPROF_FINDING_IMPORT);
    CHECK(one != NULL);
    CHECK_STR(one->evidence, "5.00 s of the 10.0 s that the thread was busy. By package, without what it imports: numpy 3.00 s, pandas 2.00 s.");
    CHECK(one->line == 3 && strcmp(one->name, "load") == 0);
    result_free(&got);
}

// ---- memory -----------------------------------------------------------------------------------------------------------------
// node grows, or grows and stops, through marks that are ms_each apart; whole: the memory at the peak
static void grows_at(scene *s, uint32_t node, uint64_t ms_each, int64_t bytes, int64_t whole, int stops)
{
    uint32_t other = frame(s, "base", 99);
    idle(s, (int)(17 * ms_each / 10));
    s->r.model.heap.mode = PYPROF_HEAP_EXACT;
    s->r.model.heap.marks = 16;
    for (uint32_t i = 0; i < 16; i++) {
        s->r.model.heap.mark_ns[i] = s->r.model.start_ns + (i + 1) * ms_each * ms;
        pyprof__marks *row = pyprof__model_history_row(&s->r.model, node);
        CHECK(row != NULL);
        row->bytes[i] = (float)(stops ? i < 6 ? bytes / 6 * i : bytes : bytes / 16 * i);
    }
    pyprof__model_add(&s->r.model, PYPROF_LIVE_BYTES, node, bytes);
    pyprof__model_add(&s->r.model, PYPROF_LIVE_BLOCKS, node, 100);
    pyprof__model_add(&s->r.model, PYPROF_PEAK_BYTES, node, bytes);
    pyprof__model_add(&s->r.model, PYPROF_PEAK_BYTES, other, whole - bytes);
}

static void grows(int64_t bytes, int64_t whole, int stops, int kind, const char *title)
{
    scene s;
    scene_begin(&s);
    grows_at(&s, frame(&s, "remember", 14), 1000, bytes, whole, stops);
    ends(&s, kind, title);
}

TEST(memory_that_grows)
{
    const int64_t mib = 1 << 20;
    grows(mib, 20 * mib, 0, PYPROF_FINDING_LEAK, "Memory from remember (shop.py:14) grows by 3.75 MiB a minute");
    grows(mib - 16, mib, 0, PYPROF_FINDING_LEAK, NULL);
    grows(mib, 20 * mib + 1, 0, PYPROF_FINDING_LEAK, NULL);
    grows(mib, 20 * mib, 1, PYPROF_FINDING_CACHE, "Memory from remember (shop.py:14) grew by 1.00 MiB and stopped growing: a cache or a pool");
    grows(mib, 20 * mib, 1, PYPROF_FINDING_LEAK, NULL);
}

// The memory of a start grows to its end, too: of the first second, and of the modules that are loaded, no growth is told,
// neither as a finding nor in the verdict.
TEST(a_start_is_no_leak)
{
    static const struct { const char *file; uint64_t ms_each; int told; } cases[] = {
        { "/srv/app/shop.py", 60, 1 }, { "/srv/app/shop.py", 58, 0 }, { "<frozen importlib._bootstrap_external>", 1000, 0 },
        { "/usr/lib/python3.11/importlib/_bootstrap_external.py", 1000, 0 }, { "/srv/importlib/_bootstrap.py", 1000, 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scene s;
        char text[300];
        scene_begin(&s);
        run(&s, s.main, 1);
        grows_at(&s, add_frame(&s.r, s.main, cases[i].file, "load", 13, 14), cases[i].ms_each, 16 << 20, 20 << 20, 0);
        result got = scene_end(&s);
        CHECK_INT(find(&got, PYPROF_FINDING_LEAK) != NULL, cases[i].told);
        CHECK(pyprof__verdict(&got.f, 0, text, sizeof text));
        CHECK_INT(strstr(text, " Growing: load :14, ") != NULL, cases[i].told);
        result_free(&got);
    }
}

static void peaks(int64_t peak, int64_t usual, int gauges, int stays, const char *title)
{
    scene s;
    scene_begin(&s);
    idle(&s, 1000);
    s.r.model.heap.mode = PYPROF_HEAP_EXACT;
    pyprof__model_add(&s.r.model, PYPROF_PEAK_BYTES, frame(&s, "whole_file", 14), peak);
    for (int i = 0; i < gauges; i++) add_gauge(&s.r, (uint64_t)i * 100, 0, i == 3 || (stays && i > 7) ? peak : usual);
    ends(&s, PYPROF_FINDING_PEAK, title);
}

TEST(a_high_water_mark)
{
    const int64_t mib = 1 << 20;
    const char *title = "At its peak the program had 32.0 MiB, half of the time and at the end less than 16.0 MiB: 32.0 MiB of the peak is from whole_file (shop.py:14)";
    peaks(32 * mib, 16 * mib, 10, 0, title);
    peaks(32 * mib, 16 * mib, 9, 0, NULL);
    peaks(32 * mib, 16 * mib, 10, 1, NULL);
    peaks(32 * mib - 2, 16 * mib - 1, 10, 0, NULL);
    peaks(64 * mib, 32 * mib + 1, 10, 0, NULL);
}

// ---- the recording itself ---------------------------------------------------------------------------------------------------
TEST(too_few_samples)
{
    for (int samples = 49; samples <= 50; samples++) {
        scene s;
        scene_begin(&s);
        run(&s, s.main, samples);
        ends(&s, PYPROF_FINDING_FEW, samples == 50 ? NULL : "49 samples are too few to say much: 50 are needed");
    }
    scene s;   // 4 of 9 samples in one function: it may be chance
    scene_begin(&s);
    run(&s, frame(&s, "unique", 9), 4);
    for (int i = 0; i < 5; i++) run(&s, frame(&s, i % 2 ? "a" : "b", 50 + 2 * i), 1);
    ends(&s, PYPROF_FINDING_HOT, NULL);
}

TEST(lost_samples)
{
    for (int lost = 49; lost <= 50; lost++) {
        scene s;
        scene_begin(&s);
        run(&s, s.main, 950);
        s.r.model.stats.asked = 1000;
        s.r.model.stats.missed = (uint64_t)lost;
        ends(&s, PYPROF_FINDING_LOST, lost == 49 ? NULL : "5.0 % of the samples are lost: the shares may be wrong");
    }
}

// ---- all of them ------------------------------------------------------------------------------------------------------------
static void make_shop(scene *s)
{
    scene_begin(s);
    uint32_t price = frame(s, "price", 5), recv = add_frame(&s->r, price, "/usr/lib/python3.12/socket.py", "SocketIO.readinto", 700, 707);
    wait_in(s, leaf(s, recv, "[recv 127.0.0.1:45811]", PYPROF_KIND_WAIT), 830, (pyprof_metric)0);
    run(s, frame(s, "unique", 9), 71);
    run(s, leaf(s, s->main, "<native> zlib.compress", PYPROF_KIND_NATIVE), 61);
    run(s, s->main, 38);
    scene_thread(s, "helper");
    wait_for(s, "price", "[read file /home/" "anna/data.bin]", 500);
    idle(s, 500);
    scene_thread(s, "sleeper");
    idle(s, 1000);
}

TEST(verdicts_and_order)
{
    scene s;
    make_shop(&s);
    result got = scene_end(&s);
    verdict_is(&got, 0, "MainThread 10.0 s: 83 % waiting for recv 127.0.0.1:45811 in price (shop.py:5); "
               "17 % running: unique :9 42 %, zlib.compress 36 %, main :30 22 %.");
    verdict_is(&got, 1, "helper 5.00 s, and 5.00 s idle: 100 % waiting for read file /home/" "anna/data.bin in price (shop.py:5).");
    char none[100];
    CHECK(!pyprof__verdict(&got.f, 2, none, sizeof none));
    CHECK(got.f.found.count >= 3 && AT(pyprof__finding, got.f.found, 0).kind == PYPROF_FINDING_PEER);
    for (size_t i = 1; i < got.f.found.count; i++)
        CHECK(AT(pyprof__finding, got.f.found, i - 1).weight >= AT(pyprof__finding, got.f.found, i).weight);
    result_free(&got);
}

TEST(the_same_of_several_threads_is_one_finding)
{
    scene s;
    scene_begin(&s);
    idle(&s, 1000);
    for (int i = 0; i < 3; i++) {
        scene_thread(&s, i == 1 ? "most" : "other");
        wait_for(&s, "price", "[recv 10.0.0.1:1]", i == 1 ? 900 : 300);
        idle(&s, i == 1 ? 100 : 700);
    }
    result got = scene_end(&s);
    CHECK_INT(got.f.found.count, 1);
    const pyprof__finding *one = find(&got, PYPROF_FINDING_PEER);
    CHECK(one->others == 2 && one->thread == 2 && one->saved == 10000 * (int64_t)ms);
    CHECK(strstr(one->evidence, "The same is true of 2 more threads.") != NULL);
    result_free(&got);
}

// Forty threads of one request each, and one that takes the requests: each of the forty is busy for little of the time.
static void requests(scene *s, int threads, int samples)
{
    scene_begin(s);
    idle(s, 1000);
    for (int i = 0; i < threads; i++) {
        char name[40];
        snprintf(name, sizeof name, "Thread-%d (serve)", i * 7 + 2);
        scene_thread(s, name);
        run(s, frame(s, "answer", 12), samples);
        idle(s, 10);
    }
}

TEST(threads_of_one_request_each_are_one)
{
    scene s;
    requests(&s, 40, 20);
    result got = scene_end(&s);
    const pyprof__finding *one = find(&got, PYPROF_FINDING_HOT);
    CHECK(one != NULL);
    CHECK_STR(one->title, "Thread-* (serve) (40 threads) runs in answer (shop.py:12) for 100 % of its running time");
    CHECK(one->saved == 40 * 200 * (int64_t)ms);
    char text[400];
    CHECK(pyprof__verdict(&got.f, 0, text, sizeof text));
    CHECK_STR(text, "Thread-* (serve) (40 threads) 8.00 s, and 4.00 s idle: 100 % running: answer :12 100 %.");
    CHECK(!pyprof__verdict(&got.f, 1, text, sizeof text));
    result_free(&got);
}

TEST(busy_threads_and_threads_of_other_names_stay_alone)
{
    scene s;
    requests(&s, 2, 100);   // 10 % of the recording each: busy enough
    scene_thread(&s, "reader-1");
    run(&s, frame(&s, "read", 14), 60);
    scene_thread(&s, "writer-1");
    run(&s, frame(&s, "write", 15), 50);
    scene_thread(&s, "Thread-99 (serve)");
    run(&s, frame(&s, "answer", 12), 40);
    result got = scene_end(&s);
    const char *names[] = { "Thread-2 (serve) 1.00 s", "Thread-9 (serve) 1.00 s", "reader-1 0.60 s", "writer-1 0.50 s", "Thread-99 (serve) 0.40 s" };
    char text[400];
    for (size_t i = 0; i < 5; i++) {
        CHECK(pyprof__verdict(&got.f, i, text, sizeof text));
        CHECK_INT(strncmp(text, names[i], strlen(names[i])), 0);
    }
    result_free(&got);
}

TEST(threads_of_other_processes_stay_alone)
{
    scene s;
    requests(&s, 2, 50);
    AT(pyprof__recorded_thread, s.r.model.threads, 2).process = AT(pyprof__recorded_thread, s.r.model.threads, 1).process + 1;
    result got = scene_end(&s);
    char text[400];
    for (size_t i = 0; i < 2; i++) {
        CHECK(pyprof__verdict(&got.f, i, text, sizeof text));
        CHECK(strstr(text, i ? "Thread-9 (serve) 0.50 s" : "Thread-2 (serve) 0.50 s") == text);
    }
    result_free(&got);
}

// While a thread waited for the GIL for 5 s, the main thread had it for `ms_main`, and each of three that come and go for `ms_each`.
static void held_by_three(int ms_main, int ms_each, const char *holder, const char *evidence, const char *verdict)
{
    char title[200];
    scene s;
    requests(&s, 3, 50);
    scene_thread(&s, "taker");
    wait_in(&s, leaf(&s, frame(&s, "take", 5), "[GIL]", PYPROF_KIND_WAIT), 500, PYPROF_GIL_WAIT_NS);
    spread(&s, 500);
    for (uint32_t i = 0; i < 4; i++) {
        pyprof__rivals *pair = pyprof__push(&s.r.pool, &s.r.model.rivals);
        CHECK(pair != NULL);
        *pair = (pyprof__rivals){ s.thread, i, (uint64_t)(i ? ms_each : ms_main) * ms };
    }
    result got = scene_end(&s);
    const pyprof__finding *one = find(&got, PYPROF_FINDING_GIL);
    CHECK(one != NULL);
    snprintf(title, sizeof title, "taker waits 50 %% (+-3) of its time for the GIL: %s", holder);
    CHECK_STR(one->title, title);
    CHECK(strstr(one->evidence, evidence) != NULL);
    char text[400];
    CHECK(pyprof__verdict(&got.f, 0, text, sizeof text));
    CHECK(strstr(text, verdict) != NULL);
    result_free(&got);
}

TEST(the_holders_of_the_gil_are_summed)
{
    held_by_three(1500, 1000, "Thread-* (serve) (3 threads) holds it", " Thread-* (serve) (3 threads) had it for 3.00 s of that.",
                  "50 % waiting for the GIL, held by Thread-* (serve) (3 threads)");
    held_by_three(3500, 500, "MainThread holds it", " MainThread had it for 3.50 s of that.", "50 % waiting for the GIL, held by MainThread");
    held_by_three(500, 700, "Thread-* (serve) (3 threads) holds it for 42 % of that", " Thread-* (serve) (3 threads) had it for 2.10 s of that.",
                  "50 % waiting for the GIL, held by several, most by Thread-* (serve) (3 threads)");
}

TEST(healthy_programs_have_none)   // they wait for work, or what they do takes little of the time
{
    for (int i = 0; i < 5; i++) {
        scene s;
        scene_begin(&s);
        if (i == 0) idle(&s, 1000);
        if (i == 1) { run(&s, frame(&s, "handle", 9), 40); idle(&s, 960); }
        if (i == 2) { wait_for(&s, "price", "[recv 10.0.0.1:1]", 40); idle(&s, 960); }
        if (i == 3) { run(&s, leaf(&s, s.main, "<import json>", PYPROF_KIND_PSEUDO), 30); spread(&s, 200); idle(&s, 770); }
        if (i == 4) for (int k = 0; k < 4; k++) { if (k) scene_thread(&s, "pool"); spread(&s, 100); idle(&s, 900); }
        result got = scene_end(&s);
        CHECK_INT(got.f.found.count, 0);
        output_text text = written_as(got.profile, PYPROF_FORMAT_PROMPT);
        CHECK(strstr(text.data, "Findings: nothing holds it back\n") != NULL);
        result_free(&got);
    }
}

static pyprof_profile *shop_profile(const char *file)
{
    scene s;
    source = file;
    make_shop(&s);
    pyprof_profile *profile = seal(&s.r, 0);
    recording_end(&s.r);
    return profile;
}

TEST(hostile_names)
{
    pyprof_profile *profile = shop_profile("/home/" HOSTILE "/" HOSTILE);
    output_text text = written_as(profile, PYPROF_FORMAT_PROMPT);
    for (const char *at = text.data; *at; at++) CHECK((unsigned char)*at >= ' ' || *at == '\n');
    CHECK(text.size < 10000 && !strstr(text.data, "/home/"));
}

TEST(a_loaded_recording_has_the_same_findings)
{
    char folder[] = "/tmp/pyprof-findings-XXXXXX", path[100];
    pyprof_profile *profile = shop_profile("/srv/app/shop.py"), *again;
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/a.json", folder);
    CHECK_INT(pyprof_save(profile, path, NULL), PYPROF_OK);
    CHECK_INT(pyprof_load(path, &again), PYPROF_OK);
    CHECK_INT(unlink(path), 0);
    CHECK_INT(rmdir(folder), 0);
    CHECK_STR(written_as(again, PYPROF_FORMAT_PROMPT).data, written_as(profile, PYPROF_FORMAT_PROMPT).data);
}

static int see(void *user, const pyprof_item *item)
{
    output_text *to = (output_text *)user;
    if (item->kind != PYPROF_ITEM_FINDING) return 0;
    char line[600];
    snprintf(line, sizeof line, "%s %s %d: %s\n", item->thread ? item->thread->name : "-", item->finding->key, item->finding->metric, item->finding->title);
    return append(to, line, strlen(line));
}

TEST(a_visit_has_them)
{
    output_text got = { calloc(1, 1), 0 };
    CHECK_INT(pyprof_visit(shop_profile("/srv/app/shop.py"), &(pyprof_query){ .findings = 1 }, see, &got), PYPROF_OK);
    CHECK_STR(got.data, "MainThread peer 2: MainThread waits 83 % of its time for recv 127.0.0.1:45811 in price (shop.py:5)\n"
              "helper file 2: helper waits 100 % of its time for read file /home/" "anna/data.bin in price (shop.py:5)\n"
              "MainThread hot-function 2: MainThread runs in main (shop.py:30) for 58 % (+-8) of its running time\n"
              "MainThread hot-function 2: MainThread runs in unique (shop.py:9) for 42 % (+-8) of its running time\n");
}

TEST(golden_prompt) { golden("shop.prompt.txt", shop_profile("/srv/app/shop.py"), (pyprof_output){ .format = PYPROF_FORMAT_PROMPT }); }

static void masked(const char *line, const char *want)
{
    char out[200];
    pyprof__prompt_mask(out, sizeof out, line);
    CHECK_STR(out, want);
}

TEST(what_looks_like_a_secret_is_masked)
{
    masked("return zlib.compress(data) + bytes(sorted(data, key=len))", "return zlib.compress(data) + bytes(sorted(data, key=len))");
    masked("password = 'hunter2'", "password=<masked>");
    masked("connect(host, db_password=\"x y\", port=1)", "connect(host, db_password=<masked>");
    masked("{'api_key': 'abc', 'a': 1}", "{'api_key=<masked>");
    masked("    key = 'abc'", "    key=<masked>");
    masked("if token == other:", "if token == other:");
    masked("open('https://anna:geheim@example.org/x')", "open('https://<masked>@example.org/x')");
    masked("f('ghp_16C7e42F292c6912E7710c838347Ae178B4a')", "f('<masked>')");
    masked("h = '0123456789abcdef0123456789abcdef'", "h = '<masked>'");
    masked("a_rather_long_name_of_a_function_2(x)", "a_rather_long_name_of_a_function_2(x)");
}

TEST(without_memory)
{
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    scene s;
    recording_begin(&s.r, &allocator);
    scene_thread(&s, "MainThread");
    wait_for(&s, "price", "[recv 127.0.0.1:45811]", 500);
    run(&s, s.main, 500);
    s.r.model.heap.mode = PYPROF_HEAP_EXACT;
    add_blocks(&s.r, s.main, 100, 100, 50, 100);
    for (uint64_t i = 0; i < 20; i++) add_gauge(&s.r, i * 100, 1, 1);
    pyprof_profile *profile = seal(&s.r, 0);
    pyprof_output output = { .format = PYPROF_FORMAT_PROMPT };
    failures f = { &c, 0, 0 };
    output_text out = { calloc(1, 1), 0 };
    for (pyprof_result got = PYPROF_OK; fails_next(&f, got, 10);) got = pyprof_write(profile, &output, append, &out);
    pyprof_profile_free(profile);
    recording_end(&s.r);
    CHECK_INT(c.live, 0);
}

TEST_MAIN
