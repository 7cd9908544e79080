// Sessions without a Python: the schedule's arithmetic, configurations that are refused, tokens nobody should believe.
#include "test.h"
#include "inside.h"
#include <math.h>

TEST(schedule_stays_inside_its_periods)
{
    pyprof__schedule s = { .rate = -1, .random = 42 };
    pyprof__tick tick;
    uint64_t missed = 0, low = 0, high = 0;
    pyprof__schedule_rate(&s, 1000);
    CHECK_INT(s.period, 1000000);
    for (uint64_t i = 0; i < 10000; i++) {
        uint64_t start = s.base + i * s.period;
        CHECK_INT(s.number, i);
        CHECK(s.deadline >= start && s.deadline < start + s.period);
        low += s.deadline - start < s.period / 4;
        high += s.deadline - start >= s.period / 4 * 3;
        pyprof__schedule_collect(&s, s.deadline + 10, &tick);
        CHECK_INT(tick.late, 10);
        missed += tick.count - 1;
    }
    CHECK(low > 2000 && low < 3000 && high > 2000 && high < 3000);   // spread evenly
    CHECK(missed <= 1);   // a deadline in the last 10 ns of its period
}

TEST(schedule_tells_all_that_was_due)
{
    pyprof__schedule s = { .rate = -1, .random = 1 };
    pyprof__tick tick;
    pyprof__schedule_rate(&s, 100);
    pyprof__schedule_collect(&s, s.base + s.period - 1, &tick);
    CHECK(tick.count == 1 && tick.skipped == 0 && s.number == 1);
    pyprof__schedule_collect(&s, s.base + 7 * s.period - 1, &tick);
    CHECK(tick.count == 6 && tick.skipped == 0 && s.number == 7);
    for (uint32_t i = 0; i < 6; i++) CHECK(tick.at[i] >= s.base + (i + 1) * s.period && tick.at[i] < s.base + (i + 2) * s.period);
    CHECK(s.deadline >= s.base + 7 * s.period && s.deadline < s.base + 8 * s.period);
    pyprof__schedule_collect(&s, s.base + 100000 * s.period, &tick);   // a long sleep: most are only counted
    CHECK(tick.count > 0 && tick.skipped + tick.count + 7 == s.number);
    CHECK(s.deadline > s.base + 100000 * s.period);
}

// ---- late ticks ----------------------------------------------------------------------------------------------------------
static pyprof_config wanted;
static const pyprof__target process = { .origin = { .proc = &pyprof__own_proc } };
static pyprof__recorder made = { .config = &wanted, .target = &process };
enum { US = 1000, MS = 1000 * 1000 };

static pyprof__told told_of(uint32_t state, uint64_t off, int elsewhere, uint64_t now, int stood)   // ticks at 10, 20, 30 ms; the look before was at 9
{
    static const pyprof__thread_account account = { .look_ns = 9 * MS };
    pyprof__thread thread;
    memset(&thread, 0, sizeof thread);
    thread.state = state;
    thread.off_ns = off;
    thread.elsewhere = elsewhere;
    for (made.due = 0; made.due < 3; made.due++) made.due_ns[made.due] = (made.due + 1) * 10 * MS;
    return pyprof__account_ticks(&made, &account, &thread, now, 0, stood);
}

static void tells(pyprof__told told, uint64_t stood, uint64_t ran, uint64_t late)
{
    CHECK_INT(told.ticks, 3);
    CHECK_INT(told.stood, stood);
    CHECK_INT(told.ran, ran);
    CHECK_INT(told.late, late);
}

TEST(ticks_looked_at_late)
{
    const uint32_t waits = PYPROF__IS_WAITING;
    const uint64_t now = 30 * MS + 50 * US, late = 35 * MS;
    tells(told_of(waits, 5 * MS, 0, now, 1), 3, 0, 2);            // it has waited all the while
    tells(told_of(waits, 15 * MS, 0, now, 1), 2, 0, 1);           // since the second; it ran at some time after the first
    tells(told_of(waits, 15 * MS, 0, late, 1), 2, 0, 2);
    tells(told_of(waits, 20 * MS + 10 * US, 0, late, 1), 1, 1, 2);   // the second took the CPU from it
    tells(told_of(waits, 20 * MS + 100 * US, 0, late, 1), 1, 0, 1);
    tells(told_of(0, now, 0, now, 0), 1, 0, 0);                   // it ran until now: only the last is known
    tells(told_of(0, late, 0, late, 0), 0, 0, 0);                 // and not if that is long ago
    tells(told_of(0, 32 * MS, 1, 32 * MS, 0), 1, 0, 0);           // unless it was on another CPU
    tells(told_of(waits, now + 1, 0, now, 0), 0, 0, 0);           // it ran while it was looked at
    tells(told_of(waits, now, 0, now, 0), 1, 0, 0);               // it waits; since when was not asked
}

// ---- time by clocks ----------------------------------------------------------------------------------------------------
// A thread that computes in a for 2 ms, in b for 1 ms and sleeps for 30: where it is at a time, and how long it has run by then.
static const char *place(uint64_t ns, uint64_t *cpu)
{
    uint64_t cycle = 33 * MS, at = ns % cycle;
    *cpu = ns / cycle * 3 * MS + (at < 3 * MS ? at : 3 * MS);
    return at < 2 * MS ? "a" : at < 3 * MS ? "b" : "sleep";
}

static uint32_t node_of(const char *name)
{
    return pyprof__model_node(&made.model, 0, pyprof__model_pseudo(&made.model, name, PYPROF_KIND_PSEUDO, 0));
}

static double ms_of(const char *name, pyprof_metric metric) { return (double)pyprof__model_value(&made.model, metric, node_of(name)) / MS; }

static void simulate(uint64_t end, uint64_t blind)   // blind: of so many ticks at which it runs only one is seen
{
    pyprof__thread_account *account;
    pyprof__followed_thread followed;
    pyprof__thread thread;
    uint64_t random = 7, ran = 0, number;
    memset(&followed, 0, sizeof followed);
    memset(&thread, 0, sizeof thread);
    pyprof__pool_init(&made.pool, NULL, UINT64_MAX);
    pyprof__array_init(&made.accounts, sizeof(pyprof__thread_account));
    pyprof__array_init(&made.followed, sizeof(pyprof__followed_thread));
    wanted.timeline_s = 60;
    CHECK(pyprof__recorder_clear(&made, 1));
    CHECK(pyprof__push(&made.pool, &made.model.threads));
    ((pyprof__recorded_thread *)made.model.threads.data)->wanted = 1;
    followed.native = thread.native = 99;
    followed.account = UINT32_MAX;
    thread.rival = UINT32_MAX;
    thread.known_ns = 1;
    for (number = 0; number < end / (10 * MS); number++) {
        pyprof__moment moment;
        uint64_t now = number * 10 * MS + pyprof__random(&random) % (10 * MS) + 2;
        const char *name = place(now, &thread.cpu_ns);
        int runs = *name != 's';
        account = pyprof__account_of(&made, &followed);
        thread.state = runs ? 0 : PYPROF__IS_WAITING;
        thread.off_ns = now;
        made.tick++;
        made.due_now = 1;
        made.due_ns[made.due++ % PYPROF__DUE] = now;
        pyprof__account_look(&made, account, &thread, now);
        made.last_ns = now;
        if (runs && ran++ % blind) continue;
        memset(&moment, 0, sizeof moment);
        moment.end_ns = now;
        moment.state = thread.state;
        moment.count = 1;
        moment.node = node_of(name);
        pyprof__record_sample(&made, account, &followed, &thread, &moment, 0);
    }
    pyprof__accounts_settle(&made);
}

TEST(cpu_time_goes_where_it_was_spent)
{
    for (uint64_t blind = 1; blind <= 4; blind *= 4) {
        uint64_t cpu, end = 2000000ull * MS;
        made = (pyprof__recorder){ .config = &wanted, .target = &process };
        simulate(end, blind);
        place(made.last_ns, &cpu);
        double a = ms_of("a", PYPROF_CPU_NS), b = ms_of("b", PYPROF_CPU_NS), clock = (double)cpu / MS;
        printf("of %.1f ms: a %.1f, b %.1f, sleep %.1f\n", clock, a, b, ms_of("sleep", PYPROF_CPU_NS));
        CHECK(a + b > 0.9999 * clock && a + b < 1.0001 * clock);                      // all of it, to the last ms
        CHECK_INT(pyprof__model_value(&made.model, PYPROF_CPU_NS, node_of("sleep")), 0);
        CHECK(a / (a + b) > 2 / 3.0 - 0.02 && a / (a + b) < 2 / 3.0 + 0.02);          // by the samples that found it running
        double waits = ms_of("sleep", PYPROF_WAIT_NS), wall = ms_of("a", PYPROF_WALL_NS) + ms_of("b", PYPROF_WALL_NS) + ms_of("sleep", PYPROF_WALL_NS);
        CHECK(waits > 0.9999 * ((double)made.last_ns / MS - clock) && wall < 1.0001 * (double)made.last_ns / MS);
    }
}

// ---- what sampling may cost ------------------------------------------------------------------------------------------------
// A sampler and its host by a made clock: a sweep takes so long, and the host has the CPU otherwise, or idles.
typedef struct {
    pyprof__schedule s;
    uint64_t now, own, host;       // ns
    uint64_t sweeps, periods, late;
    uint64_t quarters[4];          // deadlines by their place in a cycle of the host
    uint64_t cycle;
} pyprof__made;

static void made_begin(pyprof__made *m, double rate, double max_cpu)
{
    memset(m, 0, sizeof *m);
    m->s.rate = -1;
    m->s.random = 11;
    pyprof__schedule_rate(&m->s, rate);
    m->s.base = m->now = 1000 * (uint64_t)MS;
    pyprof__schedule_next(&m->s);
    m->s.max_cpu = max_cpu;
}

static void made_pass(pyprof__made *m, uint64_t until, double cpus)
{
    if (until <= m->now) return;
    m->host += (uint64_t)(cpus * (double)(until - m->now));
    m->now = until;
}

static void made_weigh(pyprof__made *m)
{
    if (m->now < m->s.governor.due) return;
    m->s.allowed = pyprof__governor_weigh(&m->s.governor, m->now, m->own, m->own + m->host, m->s.max_cpu);
    pyprof__schedule_choose(&m->s);
    m->s.governor.due = m->now + (m->s.allowed > 0 ? PYPROF__WEIGH_NS : PYPROF__WEIGH_NS / 10);
    pyprof__schedule_replan(&m->s, m->now);
}

static void made_run(pyprof__made *m, double seconds, uint64_t sweep_ns, double cpus)   // cpus: that the host uses
{
    uint64_t end = m->now + (uint64_t)(seconds * 1e9);
    pyprof__tick tick;
    while (m->now < end) {
        uint64_t until = pyprof__schedule_until(&m->s, 0);
        made_pass(m, until < end ? until : end, cpus);
        if (m->now < m->s.deadline) { made_weigh(m); continue; }
        m->quarters[m->s.deadline % (m->cycle ? m->cycle : 4) * 4 / (m->cycle ? m->cycle : 4)]++;
        pyprof__schedule_collect(&m->s, m->now, &tick);
        m->periods += tick.skipped_periods;
        for (uint32_t i = 0; i < tick.count; i++) m->periods += tick.periods[i];
        m->late += tick.count - 1 + tick.skipped;
        m->own += sweep_ns;
        m->now += sweep_ns;
        if (cpus > 1) m->host += (uint64_t)((cpus - 1) * (double)sweep_ns);
        m->sweeps++;
        m->s.governor.sweeps++;
        made_weigh(m);
    }
}

typedef struct { double own, share, rate; } pyprof__was;   // own of wall time and of the host's; sweeps a second

static pyprof__was made_span(pyprof__made *m, double seconds, uint64_t sweep_ns, double cpus)
{
    uint64_t own = m->own, host = m->host, sweeps = m->sweeps, begin = m->now;
    pyprof__was was;
    made_run(m, seconds, sweep_ns, cpus);
    was.own = (double)(m->own - own) / (double)(m->now - begin);
    was.share = m->host == host ? 0 : (double)(m->own - own) / (double)(m->host - host);
    was.rate = (double)(m->sweeps - sweeps) * 1e9 / (double)(m->now - begin);
    printf("%g s of %g us a sweep beside %g CPUs: %.2f Hz, %.4f of a CPU, %.4f of the host's\n", seconds, (double)sweep_ns / US, cpus, was.rate,
           was.own, was.share);
    return was;
}

TEST(governor_keeps_the_cost_down)
{
    pyprof__made m;
    pyprof__was was;
    made_begin(&m, 10000, 0.25);
    was = made_span(&m, 2, 15 * US, 1);         // cheap enough: nothing is left out
    CHECK(m.periods == m.sweeps + m.late && was.rate > 9900);
    was = made_span(&m, 0.1, 300 * US, 1);      // the load rises: that is noticed at once
    was = made_span(&m, 1, 300 * US, 1);
    CHECK(was.share < 0.255);
    was = made_span(&m, 5, 300 * US, 1);
    CHECK(was.share < 0.2525 && was.share > 0.24);
    CHECK_INT(m.periods, m.s.told);             // each period is a tick, or was left out with one
    made_run(&m, 0.4, 15 * US, 1);              // the load is gone
    was = made_span(&m, 1, 15 * US, 1);
    CHECK(was.rate > 9900);
    was = made_span(&m, 1, 40 * MS, 1);         // very many threads
    CHECK(was.own < 0.5);
    was = made_span(&m, 20, 40 * MS, 1);
    CHECK(was.share < 0.26 && was.rate > 4);
    made_run(&m, 1, 15 * US, 1);
    was = made_span(&m, 1, 15 * US, 1);
    CHECK(was.rate > 9900);
    was = made_span(&m, 5, 60 * US, 4);         // of four CPUs one counts: the thread that is sampled stands still
    CHECK(was.own < 0.206);
    was = made_span(&m, 5, 60 * US, 0);         // idle
    CHECK(was.own < 0.105 && was.own > 0.09);
}

TEST(governor_leaves_out_no_tick_while_sampling_is_cheap)
{
    static const struct { double rate; uint64_t sweep_ns; double cpus, max_cpu; } rows[] = {
        { 100, 30 * US, 1, 0.25 }, { 100, 30 * US, 0, 0.25 }, { 1000, 60 * US, 0, 0.25 }, { 1000, 150 * US, 1, 0.25 }, { 10000, 20 * US, 1, 0.3 },
        { 10000, 95 * US, 1, 1e6 }, { 0.1, 90 * MS, 0, 0.001 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pyprof__made m;
        made_begin(&m, rows[i].rate, rows[i].max_cpu);
        made_run(&m, 30, rows[i].sweep_ns, rows[i].cpus);
        CHECK_INT(m.periods, m.sweeps + m.late);
    }
}

TEST(governor_with_a_tiny_bound)
{
    pyprof__made m;
    pyprof__was was;
    made_begin(&m, 1000, 0.001);
    was = made_span(&m, 10, 30 * US, 1);
    CHECK(was.share < 0.00105 && was.rate > 28);
    made_begin(&m, 1000, 1e-9);                 // it is never blind for good
    made_run(&m, 1, 30 * US, 1);
    was = made_span(&m, 400, 30 * US, 1);
    CHECK(was.rate > 0.2 && was.rate < 0.3);
}

TEST(governor_chooses_the_rate)
{
    static const struct { uint64_t sweep_ns; double cpus, least, most; } rows[] = {   // of the rate, in Hz
        { 20 * US, 1, 480, 520 }, { 100 * US, 1, 95, 105 }, { 5 * US, 1, 1900, 2100 }, { 100 * US, 0, 38, 42 }, { 1, 1, 9900, 10001 },
        { 20 * MS, 1, 9, 11 },   // it costs more than it may, but 10 Hz is the least
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pyprof__made m;
        pyprof__was was;
        made_begin(&m, 10000, 0.01);
        m.s.chooses = 1;
        pyprof__schedule_choose(&m.s);
        CHECK(m.s.allowed <= 100 && m.s.allowed >= 100);   // before any cost is known
        made_run(&m, 2, rows[i].sweep_ns, rows[i].cpus);
        was = made_span(&m, 10, rows[i].sweep_ns, rows[i].cpus);
        CHECK(was.rate > rows[i].least && was.rate < rows[i].most);
    }
}

TEST(a_rate_that_is_chosen_leaves_no_tick_out)
{
    static pyprof__recorder r;
    static pyprof_config config = { .rate_hz = PYPROF_RATE_AUTO };
    static pyprof__tick tick;
    r.config = &config;
    pyprof__config_defaults(&config);
    CHECK(config.max_cpu < 0.0101 && config.max_cpu > 0.0099);
    tick.rate = 10000;
    for (uint32_t i = 0; i < 50; i++) {
        tick.at[0] = 1000 + i;
        tick.periods[0] = 1 + i % 7;   // of 0.1 ms each
        tick.count = 1;
        pyprof__record_due(&r, &tick);
    }
    CHECK_INT(r.due, 50);
    CHECK_INT(r.thinned, 0);
    pyprof__recorder_pace(&r, 500.4);
    pyprof__recorder_pace(&r, 20);
    pyprof__recorder_pace(&r, 300);
    CHECK_INT(r.model.stats.rate_now, 300);
    CHECK_INT(r.model.stats.rate_lowest, 20);
    CHECK_INT(r.model.stats.rate_highest, 500);
}

// A tick that stands for several periods falls anywhere in them: a host that repeats itself as often as ticks come is seen
// in all of its parts alike.
TEST(thinned_ticks_are_in_step_with_nothing)
{
    for (uint64_t cycle = 400 * US; cycle <= 3600 * US; cycle += 400 * US) {
        pyprof__made m;
        made_begin(&m, 10000, 0.25);
        m.cycle = cycle;
        made_run(&m, 20, 240 * US, 1);          // a tick stands for 12 periods, on average
        for (int i = 0; i < 4; i++) {
            double part = (double)m.quarters[i] / (double)m.sweeps;
            if (part < 0.235 || part > 0.265) printf("cycle %d us: quarter %d has %.3f of %d\n", (int)(cycle / US), i, part, (int)m.sweeps);
            CHECK(part > 0.235 && part < 0.265);
        }
    }
}

// Sessions beside each other: a slow one has a tick of its own as long as the sampler has so many.
TEST(thinned_ticks_are_counted_by_session)
{
    static const double rates[] = { 10000, 5000, 300, 100 };
    for (size_t i = 0; i < 4; i++) {
        pyprof__tick tick;
        uint64_t ticks = 0;
        made = (pyprof__recorder){ .config = &wanted, .target = &process };
        memset(&tick, 0, sizeof tick);
        wanted.rate_hz = rates[i];
        tick.rate = 10000;
        tick.count = 4;
        for (uint32_t n = 0; n < 1000; n++) {   // of 10 periods, on average
            for (uint32_t k = 0; k < 4; k++) ticks += tick.periods[k] = 4 + 4 * k;
            pyprof__record_due(&made, &tick);
        }
        CHECK_INT(ticks, 40000);
        CHECK_INT(made.due + made.thinned, (uint64_t)(rates[i] * 4));
        CHECK_INT(made.due, rates[i] > 1000 ? 4000 : (uint64_t)(rates[i] * 4));
        CHECK_INT(made.events != 0, rates[i] > 1000);
        tick.skipped = 2000;                    // very late: of these only their number is known
        tick.skipped_periods = 20000;
        tick.count = 0;
        pyprof__record_due(&made, &tick);
        CHECK_INT(made.due + made.thinned, (uint64_t)(rates[i] * 6));
        CHECK_INT(made.due, rates[i] > 1000 ? 6000 : (uint64_t)(rates[i] * 6));
    }
}

TEST(schedule_changes_its_rate)
{
    pyprof__schedule s = { .rate = -1, .random = 1 };
    pyprof__schedule_rate(&s, 0);
    CHECK(s.period >= 1000000000u);
    pyprof__schedule_rate(&s, 100000);
    CHECK_INT(s.period, 10000);
    uint64_t base = s.base;
    pyprof__schedule_rate(&s, 100000);
    CHECK_INT(s.base, base);   // the same rate changes nothing
}

static void refused(pyprof_config config, pyprof_result want, const char *word)
{
    pyprof *session = (pyprof *)&session;
    pyprof_result got = pyprof_start(&config, &session);
    if (got != want || !strstr(pyprof_last_error(), word)) printf("%s: %s\n", word, pyprof_last_error());
    CHECK_INT(got, want);
    CHECK(session == NULL && strstr(pyprof_last_error(), word));
}

static void *allocate(void *user, size_t size) { return (void)user, malloc(size); }

TEST(configurations_refused)
{
    char longer[300];
    memset(longer, 'a', sizeof longer);
    longer[299] = '\0';
    const double rates[] = { -2, -0.5, (double)NAN, (double)INFINITY, 100001, 1e-9 };
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) refused((pyprof_config){ .rate_hz = rates[i] }, PYPROF_ERR_ARGUMENT, "rate_hz");
    const double times[] = { -1, (double)NAN, (double)INFINITY, 1e10 };
    for (size_t i = 0; i < 4; i++) refused((pyprof_config){ .duration_s = times[i] }, PYPROF_ERR_ARGUMENT, "duration_s");
    const double shares[] = { -0.25, (double)NAN, (double)INFINITY, 1.1e6 };
    for (size_t i = 0; i < 4; i++) refused((pyprof_config){ .max_cpu = shares[i] }, PYPROF_ERR_ARGUMENT, "max_cpu");
    refused((pyprof_config){ .timeline_s = (double)NAN }, PYPROF_ERR_ARGUMENT, "timeline_s");
    refused((pyprof_config){ .capture = 9 }, PYPROF_ERR_ARGUMENT, "capture");
    refused((pyprof_config){ .heap = -1 }, PYPROF_ERR_ARGUMENT, "heap");
    refused((pyprof_config){ .paths = 3 }, PYPROF_ERR_ARGUMENT, "paths");
    refused((pyprof_config){ .allocator = { .alloc = allocate } }, PYPROF_ERR_ARGUMENT, "allocator");
    refused((pyprof_config){ .max_depth = UINT32_MAX }, PYPROF_ERR_ARGUMENT, "max_depth");
    refused((pyprof_config){ .thread_filter = longer }, PYPROF_ERR_ARGUMENT, "thread_filter");
    refused((pyprof_config){ .reserved = { 0, 0, 0, 1 } }, PYPROF_ERR_ARGUMENT, "reserved");
    refused((pyprof_config){ .max_bytes = 1000 }, PYPROF_ERR_BUDGET, "max_bytes");
    refused((pyprof_config){ .pid = -1 }, PYPROF_ERR_ARGUMENT, "pid");
    refused((pyprof_config){ .pid = 1, .heap = 1 }, PYPROF_ERR_ARGUMENT, "libpyprof.so");
    refused((pyprof_config){ .pid = 1, .capture = PYPROF_CAPTURE_SIGNAL }, PYPROF_ERR_ARGUMENT, "pid");
    refused((pyprof_config){ .heap = PYPROF_HEAP_EXACT }, PYPROF_ERR_NO_PYTHON, "_PyRuntime");
    refused((pyprof_config){ .native = 1 }, PYPROF_ERR_UNSUPPORTED, "native");
    refused((pyprof_config){ .children = 2 }, PYPROF_ERR_ARGUMENT, "children");
    refused((pyprof_config){ .rate_hz = 100000, .max_depth = 65000 }, PYPROF_ERR_NO_PYTHON, "_PyRuntime");   // nothing wrong with it
}

static void unknown(pyprof *token)
{
    pyprof_profile *profile = (pyprof_profile *)&profile;
    pyprof_stats stats;
    CHECK_INT(pyprof_stop(token, &profile), PYPROF_ERR_STATE);
    CHECK(profile == NULL);
    CHECK_INT(pyprof_snapshot(token, NULL, &profile), PYPROF_ERR_STATE);
    CHECK_INT(pyprof_pause(token), PYPROF_ERR_STATE);
    CHECK_INT(pyprof_resume(token), PYPROF_ERR_STATE);
    CHECK_INT(pyprof_reset(token), PYPROF_ERR_STATE);
    CHECK_INT(pyprof_get_stats(token, &stats), PYPROF_ERR_STATE);
}

TEST(rejects_invalid_tokens)
{
    uint64_t random = 3;
    int local;
    unknown((pyprof *)&local);
    for (uintptr_t i = 1; i < 3000; i++) unknown((pyprof *)i);
    for (int i = 0; i < 10000; i++) unknown((pyprof *)(uintptr_t)(pyprof__random(&random) >> i % 50 | 1));
}

static pyprof__sampler sampler = { .sweeper = { .target = { .origin = { .proc = &pyprof__own_proc } } } };   // its thread never began

TEST(tokens_of_sessions)
{
    pyprof_config config = { .rate_hz = 1 };
    pyprof *tokens[PYPROF__SESSIONS], *before;
    pyprof_stats stats;
    int slot;
    pyprof__config_defaults(&config);
    pyprof__g.pid = getpid();
    for (int i = 0; i < PYPROF__SESSIONS; i++) {
        CHECK_INT(pyprof__session_open(&sampler, &config, 0, &slot), PYPROF_OK);
        CHECK_INT(slot, i);
        tokens[i] = pyprof__token(slot);
    }
    CHECK_INT(pyprof__session_open(&sampler, &config, 0, &slot), PYPROF_ERR_BUSY);
    for (int i = 0; i < PYPROF__SESSIONS; i++) CHECK_INT(pyprof_get_stats(tokens[i], &stats), PYPROF_OK);
    for (int round = 0; round < 100; round++) {
        before = tokens[3];
        CHECK_INT(pyprof_stop(before, NULL), PYPROF_OK);
        unknown(before);
        CHECK_INT(pyprof__session_open(&sampler, &config, 0, &slot), PYPROF_OK);
        CHECK_INT(slot, 3);
        tokens[3] = pyprof__token(slot);
        CHECK(tokens[3] != before);
        unknown(before);   // the place is taken again, the token stays stale
    }
    if (fork() == 0) {     // a child has no sessions
        pyprof__after_fork();
        for (int i = 0; i < PYPROF__SESSIONS; i++) unknown(tokens[i]);
        _exit(0);
    }
    int status;
    CHECK(wait(&status) > 0 && status == 0);
}

TEST(a_thread_that_allocates_before_it_is_sampled)   // and may have begun to while the sample was on its way
{
    static const int64_t sampled_ms[] = { 5, 0, -5, 900, 2000 };   // after its first allocation
    for (size_t i = 0; i < sizeof sampled_ms / sizeof *sampled_ms; i++) {
        uint64_t first = pyprof__now();
        pyprof_config config = { .rate_hz = 1 };
        pyprof__thread_life life = { .tid = 4711, .first_ns = first };
        pyprof__thread thread = { .address = 4096, .serial = 7, .native = 4711, .ident = 12345, .name = "worker" };
        pyprof__followed_thread followed = { .recorded = UINT32_MAX };
        int slot;
        pyprof__config_defaults(&config);
        pyprof__g.pid = getpid();
        CHECK_INT(pyprof__session_open(&sampler, &config, 0, &slot), PYPROF_OK);
        pyprof__recorder *recorder = &pyprof__g.sessions[slot].recorder;
        uint32_t node = pyprof__life_node(recorder, &life);
        CHECK(node != 0);
        CHECK(pyprof__followed_take(recorder, &followed, &thread, first + (uint64_t)(sampled_ms[i] * 1000000)));
        CHECK_INT(recorder->model.threads.count, sampled_ms[i] < 1000 ? 1 : 2);   // an id can be given to another thread
        CHECK_INT(followed.recorded, recorder->model.threads.count - 1);
        const pyprof__recorded_thread *member = (const pyprof__recorded_thread *)recorder->model.threads.data + followed.recorded;
        CHECK_INT(member->node == node, sampled_ms[i] < 1000);
        CHECK_INT(member->ident, 12345);
        CHECK_STR(pyprof__string(&recorder->model.strings, member->name), "worker");
        CHECK(member->first_ns <= first + (uint64_t)(sampled_ms[i] * 1000000));
        CHECK_INT(pyprof_stop(pyprof__token(slot), NULL), PYPROF_OK);
    }
}

// What a producer that comes later has to do: here one that counts how often zones were entered.
TEST(another_producer_enters_the_model)
{
    static const pyprof_config all = { .thread_filter = "w*", .timeline_s = 60 };
    static pyprof__layout layout;
    pyprof__codes codes;
    pyprof__recorder recorder;
    pyprof__pool pool;
    pyprof__producer zones;
    pyprof__thread_key who = { 4711, 0, 12345, 7, "worker" }, same = { 4711, -1, 0, 0, "" }, other = { 4712, 0, 12346, 8, "main" };
    memset(&recorder, 0, sizeof recorder);
    memset(&zones, 0, sizeof zones);
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    CHECK(pyprof__codes_init(&codes, &pool, &layout));
    CHECK(pyprof__recorder_open(&recorder, &process, &all, UINT64_MAX));
    pyprof__array_init(&zones.locations, sizeof(uint32_t));
    zones.codes = &codes;
    uint64_t now = pyprof__now();
    uint32_t thread = pyprof__record_whose(&recorder, &who, now), node = 0;
    pyprof__recorded_thread *members = (pyprof__recorded_thread *)recorder.model.threads.data;
    members[thread].last_ns = now;
    CHECK_INT(pyprof__record_whose(&recorder, &who, now), thread);
    CHECK_INT(pyprof__record_whose(&recorder, &same, now), thread);   // by its kernel id alone
    for (int i = 0; i < 3; i++) {
        node = members[thread].node;
        node = pyprof__record_frame(&recorder, &zones, node, pyprof__named_spot(&codes, PYPROF_KIND_ZONE, "request"));
        node = pyprof__record_frame(&recorder, &zones, node, pyprof__named_spot(&codes, PYPROF_KIND_ZONE, i == 1 ? "parse" : "reply"));
        pyprof__model_add(&recorder.model, PYPROF_SAMPLES, node, 1);
    }
    CHECK_INT(recorder.model.nodes.count, 5);   // the root, the thread, 3 zones
    CHECK_INT(pyprof__model_value(&recorder.model, PYPROF_SAMPLES, node), 2);
    CHECK_INT(((pyprof__node *)recorder.model.nodes.data)[((pyprof__node *)recorder.model.nodes.data)[node].parent].parent, members[thread].node);
    thread = pyprof__record_whose(&recorder, &other, now);
    CHECK_INT(((pyprof__recorded_thread *)recorder.model.threads.data)[thread].wanted, 0);
    pyprof__array_free(&recorder.pool, &zones.locations);
    pyprof__recorder_close(&recorder);
    CHECK_INT(recorder.pool.used, 0);
    pyprof__codes_free(&codes);
}

static void number(const char *text, int good, double want)
{
    double value = -1;
    setenv("PYPROF_RATE", text, 1);
    CHECK_INT(pyprof__env_number("PYPROF_RATE", 0.5, 1000, &value), good);
    CHECK(good ? fabs(value - want) < 1e-9 : strstr(pyprof_last_error(), "PYPROF_RATE") != NULL);
}

TEST(environment_numbers)
{
    const char *bad[] = { "abc", "1e3", "-5", "5x", " 5", "0.4", "1001", "nan", "inf", ".", "1,5", "0x10" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) number(bad[i], 0, 0);
    number("", 1, -1);   // as if it were not set
    number("100", 1, 100);
    number("0.5", 1, 0.5);
    number("12.25", 1, 12.25);
    number("1000", 1, 1000);
}

static void from_env(const char *name, const char *value, pyprof_result want)
{
    pyprof *session = (pyprof *)&session;
    setenv("PROFILING", "1", 1);
    setenv(name, value, 1);
    CHECK_INT(pyprof_start_from_env(&session), want);
    CHECK(session == NULL && strstr(pyprof_last_error(), want == PYPROF_ERR_NO_PYTHON ? "_PyRuntime" : name));
    unsetenv(name);
}

TEST(environment_refused)
{
    from_env("PROFILING", "2", PYPROF_ERR_ARGUMENT);
    from_env("PROFILING", "perhaps", PYPROF_ERR_ARGUMENT);
    from_env("PROFILING", "No", PYPROF_ERR_DISABLED);
    from_env("PROFILING", "Yes", PYPROF_ERR_NO_PYTHON);
    from_env("PROFILING", "0", PYPROF_ERR_DISABLED);
    from_env("PROFILING", "", PYPROF_ERR_DISABLED);
    from_env("PYPROF_RATE", "abc", PYPROF_ERR_ARGUMENT);
    CHECK(strstr(pyprof_last_error(), "PYPROF_RATE=abc: neither auto nor a number") != NULL);
    from_env("PYPROF_FORMATS", "json,nonsense", PYPROF_ERR_ARGUMENT);
    from_env("PYPROF_FORMATS", "json,html", PYPROF_ERR_NO_PYTHON);
    from_env("PYPROF_FORMATS", "son", PYPROF_ERR_ARGUMENT);
    from_env("PYPROF_INTERVAL", "0", PYPROF_ERR_ARGUMENT);
    from_env("PYPROF_HEAP", "perhaps", PYPROF_ERR_ARGUMENT);
    from_env("PYPROF_HEAP", "exact", PYPROF_ERR_NO_PYTHON);
    from_env("PYPROF_FORMATS", "json,speedscope.json,pb.gz", PYPROF_ERR_NO_PYTHON);
}

TEST_MAIN
