// Sessions without a Python: the schedule's arithmetic, configurations that are refused, tokens nobody should believe.
#include "test.h"
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"
#include <math.h>

TEST(schedule_stays_inside_its_periods)
{
    pyprof__schedule s = { .rate = -1, .random = 42 };
    uint64_t missed = 0, low = 0, high = 0;
    pyprof__schedule_rate(&s, 1000);
    CHECK_INT(s.period, 1000000);
    for (uint64_t i = 0; i < 10000; i++) {
        uint64_t start = s.base + i * s.period;
        CHECK_INT(s.number, i);
        CHECK(s.deadline >= start && s.deadline < start + s.period);
        low += s.deadline - start < s.period / 4;
        high += s.deadline - start >= s.period / 4 * 3;
        missed += pyprof__schedule_advance(&s, s.deadline + 10);
    }
    CHECK(low > 2000 && low < 3000 && high > 2000 && high < 3000);   // spread evenly
    CHECK(missed <= 1);   // a deadline in the last 10 ns of its period
}

TEST(schedule_counts_what_it_missed)
{
    pyprof__schedule s = { .rate = -1, .random = 1 };
    pyprof__schedule_rate(&s, 100);
    CHECK_INT(pyprof__schedule_advance(&s, s.base + s.period / 2), 0);
    CHECK_INT(s.number, 1);
    CHECK_INT(pyprof__schedule_advance(&s, s.base + 7 * s.period + 1), 5);   // periods 2 to 6 had none; 7 can still have
    CHECK_INT(s.number, 7);
    CHECK(s.deadline >= s.base + 7 * s.period && s.deadline < s.base + 8 * s.period);
    CHECK_INT(pyprof__schedule_advance(&s, s.base + 7 * s.period + 2), 0);   // early is fine
    CHECK_INT(s.number, 8);
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
    const double rates[] = { -1, (double)NAN, (double)INFINITY, 100001, 1e-9 };
    for (size_t i = 0; i < 5; i++) refused((pyprof_config){ .rate_hz = rates[i] }, PYPROF_ERR_ARGUMENT, "rate_hz");
    const double times[] = { -1, (double)NAN, (double)INFINITY, 1e10 };
    for (size_t i = 0; i < 4; i++) refused((pyprof_config){ .duration_s = times[i] }, PYPROF_ERR_ARGUMENT, "duration_s");
    refused((pyprof_config){ .timeline_s = (double)NAN }, PYPROF_ERR_ARGUMENT, "timeline_s");
    refused((pyprof_config){ .capture = 9 }, PYPROF_ERR_ARGUMENT, "capture");
    refused((pyprof_config){ .heap = -1 }, PYPROF_ERR_ARGUMENT, "heap");
    refused((pyprof_config){ .paths = 3 }, PYPROF_ERR_ARGUMENT, "paths");
    refused((pyprof_config){ .allocator = { .alloc = allocate } }, PYPROF_ERR_ARGUMENT, "allocator");
    refused((pyprof_config){ .max_depth = UINT32_MAX }, PYPROF_ERR_ARGUMENT, "max_depth");
    refused((pyprof_config){ .thread_filter = longer }, PYPROF_ERR_ARGUMENT, "thread_filter");
    refused((pyprof_config){ .reserved = { 0, 0, 0, 0, 0, 0, 1 } }, PYPROF_ERR_ARGUMENT, "reserved");
    refused((pyprof_config){ .max_bytes = 1000 }, PYPROF_ERR_BUDGET, "max_bytes");
    refused((pyprof_config){ .pid = 1 }, PYPROF_ERR_UNSUPPORTED, "pid");
    refused((pyprof_config){ .heap = PYPROF_HEAP_EXACT }, PYPROF_ERR_NO_PYTHON, "_PyRuntime");
    refused((pyprof_config){ .native = 1 }, PYPROF_ERR_UNSUPPORTED, "native");
    refused((pyprof_config){ .children = 1 }, PYPROF_ERR_UNSUPPORTED, "children");
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

TEST(tokens_that_are_none)
{
    uint64_t random = 3;
    int local;
    unknown((pyprof *)&local);
    for (uintptr_t i = 1; i < 3000; i++) unknown((pyprof *)i);
    for (int i = 0; i < 10000; i++) unknown((pyprof *)(uintptr_t)(pyprof__random(&random) >> i % 50 | 1));
}

TEST(tokens_of_sessions)   // opened without a sampler
{
    pyprof_config config = { .rate_hz = 1 };
    pyprof *tokens[PYPROF__SESSIONS], *before;
    pyprof_stats stats;
    int slot;
    pyprof__config_defaults(&config);
    pyprof__g.pid = getpid();
    for (int i = 0; i < PYPROF__SESSIONS; i++) {
        CHECK_INT(pyprof__session_open(&config, &slot), PYPROF_OK);
        CHECK_INT(slot, i);
        tokens[i] = pyprof__token(slot);
    }
    CHECK_INT(pyprof__session_open(&config, &slot), PYPROF_ERR_BUSY);
    for (int i = 0; i < PYPROF__SESSIONS; i++) CHECK_INT(pyprof_get_stats(tokens[i], &stats), PYPROF_OK);
    for (int round = 0; round < 100; round++) {
        before = tokens[3];
        CHECK_INT(pyprof_stop(before, NULL), PYPROF_OK);
        unknown(before);
        CHECK_INT(pyprof__session_open(&config, &slot), PYPROF_OK);
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
        pyprof__life life = { .tid = 4711, .first_ns = first };
        pyprof__thread thread = { .address = 4096, .serial = 7, .native = 4711, .ident = 12345, .name = "worker" };
        pyprof__seat seat = { .member = UINT32_MAX };
        int slot;
        pyprof__config_defaults(&config);
        pyprof__g.pid = getpid();
        CHECK_INT(pyprof__session_open(&config, &slot), PYPROF_OK);
        pyprof__session *session = &pyprof__g.sessions[slot];
        uint32_t node = pyprof__heap_root(session, &life);
        CHECK(node != 0);
        CHECK(pyprof__seat_take(session, &seat, &thread, first + (uint64_t)(sampled_ms[i] * 1000000)));
        CHECK_INT(session->model.members.count, sampled_ms[i] < 1000 ? 1 : 2);   // an id can be given to another thread
        CHECK_INT(seat.member, session->model.members.count - 1);
        const pyprof__member *member = (const pyprof__member *)session->model.members.data + seat.member;
        CHECK_INT(member->node == node, sampled_ms[i] < 1000);
        CHECK_INT(member->ident, 12345);
        CHECK_STR(pyprof__string(&session->model.strings, member->name), "worker");
        CHECK(member->first_ns <= first + (uint64_t)(sampled_ms[i] * 1000000));
        CHECK_INT(pyprof_stop(pyprof__token(slot), NULL), PYPROF_OK);
    }
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
    from_env("PROFILING", "yes", PYPROF_ERR_ARGUMENT);
    from_env("PROFILING", "0", PYPROF_ERR_DISABLED);
    from_env("PROFILING", "", PYPROF_ERR_DISABLED);
    from_env("PYPROF_RATE", "abc", PYPROF_ERR_ARGUMENT);
    from_env("PYPROF_FORMATS", "json,nonsense", PYPROF_ERR_ARGUMENT);
    from_env("PYPROF_FORMATS", "json,html", PYPROF_ERR_ARGUMENT);   // not yet
    from_env("PYPROF_FORMATS", "son", PYPROF_ERR_ARGUMENT);
    from_env("PYPROF_INTERVAL", "0", PYPROF_ERR_ARGUMENT);
    from_env("PYPROF_HEAP", "perhaps", PYPROF_ERR_ARGUMENT);
    from_env("PYPROF_HEAP", "exact", PYPROF_ERR_NO_PYTHON);
    from_env("PYPROF_FORMATS", "json,speedscope.json,pb.gz", PYPROF_ERR_NO_PYTHON);
}

TEST_MAIN
