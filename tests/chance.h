// chance.h - recordings that chance made, the same in each run. Include it after model.h and written.h.
#ifndef CHANCE_H
#define CHANCE_H

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
static uint64_t seed;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

static const char *const functions[] = { "<module>", "App.run", "fib", "App.run.<locals>.<lambda>", "load", HOSTILE, "Event.wait", "parse" };
static const char *const files[] = { "hot.py", "/srv/app/main.py", "/srv/app/fib/__init__.py", "/usr/lib/python3/threading.py", HOSTILE, "" };
static const struct { const char *name; int kind; } leaves[] = {
    { "<native> zlib.compress", PYPROF_KIND_NATIVE }, { "[GIL]", PYPROF_KIND_WAIT }, { "[sleep]", PYPROF_KIND_WAIT },
    { "[read file data.bin]", PYPROF_KIND_WAIT }, { "<GC>", PYPROF_KIND_PSEUDO }, { "<between samples>", PYPROF_KIND_PSEUDO },
    { "<lost>", PYPROF_KIND_PSEUDO }, { "<truncated>", PYPROF_KIND_PSEUDO }, { "<malloc>", PYPROF_KIND_NATIVE },
};
static const uint32_t states[] = {
    0, PYPROF__IS_WAITING, PYPROF__HAS_GIL, PYPROF__IS_WAITING | PYPROF__WANTS_GIL, PYPROF__IS_WAITING | PYPROF__IS_IDLE,
    PYPROF__HAS_GIL | PYPROF__IS_NATIVE, PYPROF__IS_NATIVE | PYPROF__IS_NOGIL, PYPROF__IS_WAITING | PYPROF__WANTS_CPU,
    PYPROF__IS_WAITING | PYPROF__IS_UNKNOWN, PYPROF__HAS_GIL | PYPROF__IS_RAISING,
};

static void some_moments(recording *r, uint32_t member, const uint32_t *nodes, uint32_t count)
{
    uint32_t n = draw(40);
    uint64_t at = r->model.start_ns + draw(500) * ms;
    for (uint32_t i = 0; i < n; i++) {
        pyprof__moment moment;
        memset(&moment, 0, sizeof moment);
        moment.start_ns = at;
        moment.end_ns = at += (1 + draw(30)) * ms;
        moment.wall_ns = moment.end_ns - moment.start_ns;
        moment.state = states[draw(COUNT(states))];
        moment.cpu_ns = moment.state & PYPROF__IS_WAITING ? 0 : moment.wall_ns - draw(1000000);
        moment.block_ns = draw(5) ? 0 : moment.wall_ns / 2;
        moment.thread = member;
        moment.node = nodes[draw(count)];
        moment.count = 1 + draw(3);
        pyprof__model_columns(&r->model, &moment);
        pyprof__model_moment(&r->model, &moment, &r->last[member]);
        r->model.stats.asked += moment.count;
        r->model.stats.samples += moment.count;
        if (moment.end_ns > r->model.last_ns) r->model.last_ns = moment.end_ns;
    }
}

static void some_blocks(recording *r, const uint32_t *nodes, uint32_t count, int mode)
{
    for (uint32_t i = 0; i < count; i++) {
        if (draw(3)) continue;
        int64_t size = 1 + draw(100000), all = 1 + draw(3000), live = draw((uint32_t)all);
        add_blocks(r, nodes[i], size, all, live, draw((uint32_t)all));
        pyprof__model_add(&r->model, PYPROF_TEMP_BLOCKS, nodes[i], draw((uint32_t)(all - live)));
        if (mode == PYPROF_HEAP_SAMPLED) {
            pyprof__model_add(&r->model, PYPROF_ALLOC_DOUBT, nodes[i], size * all / 3);
            pyprof__model_add(&r->model, PYPROF_LIVE_DOUBT, nodes[i], size * live / 3);
        }
        if (draw(2)) continue;
        pyprof__marks *row = pyprof__model_history_row(&r->model, nodes[i]);
        for (int m = 0; m < 8; m++) row->bytes[m] = (float)(size * live) * (float)(m + 1) / 8;
    }
    r->model.heap.mode = mode;
    r->model.heap.interval = mode == PYPROF_HEAP_SAMPLED ? 524288 : 0;
    r->model.heap.peak_ns = r->model.start_ns + draw(900) * ms;
    r->model.heap.marks = 8;
    for (int m = 0; m < 8; m++) r->model.heap.mark_ns[m] = r->model.start_ns + (uint64_t)(m + 1) * 100 * ms;
    for (int d = 0; d < PYPROF_DOMAIN_COUNT; d++) r->model.heap.domains[d] = (pyprof_domain_total){ draw(1 << 20), draw(1000), draw(1 << 16), draw(100) };
    for (int s = 0; s < 12; s++) r->model.heap.sizes[4 + s] = draw(100000);
    r->model.stats.heap_state = PYPROF_HEAP_STATE_ON;
    r->model.stats.heap_samples = draw(10000);
}

static void some_stats(pyprof_stats *stats)
{
    stats->missed = draw(50);
    stats->asked += stats->missed;
    for (int i = 0; i < PYPROF_CAUSE_MEMORY; i++) {
        stats->rejected += stats->rejected_by_cause[i] = draw(4);
        stats->asked += stats->rejected_by_cause[i];
    }
    stats->retried = draw(100);
    stats->unfrozen = draw(10);
    stats->truncated = draw(3);
    stats->recovered = draw(20);
    stats->thinned = draw(2) * draw(500);
    stats->late_max_ns = draw(10000000);
    stats->late_mean_ns = draw(100000);
    stats->gap_ns = draw(3) ? 0 : draw(1000000000);
    stats->own_cpu_ns = draw(100000000);
    stats->own_bytes = draw(10000000);
    stats->interpreters = 1 + draw(2);
    if (draw(2)) snprintf(stats->degraded, sizeof stats->degraded, "the profiler may not move between CPUs");
}

// Threads, trees, moments, memory, pairs of the GIL, tasks, all by chance.
static pyprof_profile *some_profile(uint64_t number)
{
    static uint32_t nodes[400];
    recording r;
    uint32_t threads, count = 0, i, member = 0;
    seed = number / 2;   // two of each: one that goes on from the other, for differences
    recording_begin(&r, NULL);
    threads = 1 + draw(5);
    for (member = 0; member < threads; member++) {
        uint32_t first = count, more = 2 + draw(50);
        add_thread(&r, member == 0 ? "MainThread" : member == 3 ? HOSTILE : "worker", 100 + member);
        nodes[count++] = thread_node(&r, member);
        for (i = 0; i < more; i++, count++) {
            uint32_t parent = nodes[first + draw(count - first)], leaf = draw(COUNT(leaves));
            int line = 1 + (int)draw(20);
            if (draw(6)) nodes[count] = add_frame(&r, parent, files[draw(COUNT(files))], functions[draw(COUNT(functions))], line / 2 + 1, line);
            else nodes[count] = pyprof__model_node(&r.model, parent, pyprof__model_pseudo(&r.model, leaves[leaf].name, leaves[leaf].kind, 0));
        }
        if (number % 2) draw(7);
        some_moments(&r, member, nodes + first + 1, count - first - 1);
    }
    if (number % 3) some_blocks(&r, nodes, count, number % 3 == 1 ? PYPROF_HEAP_EXACT : PYPROF_HEAP_SAMPLED);
    for (i = 0; i < 6; i++) {
        pyprof__gauge *gauge = pyprof__push(&r.pool, &r.model.gauges);
        gauge->ns = r.model.start_ns + i * 100 * ms;
        gauge->facts = (pyprof_process){ draw(1 << 28), draw(1 << 24), i * 90 * (int64_t)ms, i * 4 * (int64_t)ms, i * 20, i, i * 300, i / 2, threads, i };
    }
    for (i = 1; i < threads; i++) {
        pyprof__rivals *pair = pyprof__push(&r.pool, &r.model.rivals);
        *pair = (pyprof__rivals){ i, draw(i), draw(1000) * ms };
        AT(pyprof__recorded_thread, r.model.threads, i).hold_ns = draw(300) * ms;
        AT(pyprof__recorded_thread, r.model.threads, i).hold_end_ns = r.model.start_ns + 400 * ms;
        AT(pyprof__recorded_thread, r.model.threads, i).hold_node = nodes[draw(count)];
    }
    if (number % 4 == 3) {
        uint32_t task = pyprof__model_node(&r.model, nodes[0], pyprof__model_pseudo(&r.model, "Task-1", PYPROF_KIND_TASK, 0));
        CHECK(pyprof__model_waited(&r.model, add_frame(&r, task, "/srv/app/main.py", "fetch", 3, 9), 700 * ms));
    }
    r.model.recorded_ns = r.model.last_ns - r.model.start_ns;
    some_stats(&r.model.stats);
    pyprof_profile *profile = seal(&r, number % 5 == 4 ? 300 * ms : 0);
    recording_end(&r);
    return profile;
}
#endif
