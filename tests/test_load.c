// pyprof_load: what is loaded and saved again has the same bytes in every format; everything else is refused with its place
// and a reason, and nothing leaks.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include "chance.h"
#include <fcntl.h>
#include <sys/stat.h>

// ---- loading from memory ---------------------------------------------------------------------------------------------
typedef struct { const char *data; size_t size, step; } memory_source;   // step: bytes at a time, 0 = all

static ssize_t from_memory(void *user, char *to, size_t room)
{
    memory_source *from = (memory_source *)user;
    size_t n = from->size < room ? from->size : room;
    if (from->step && n > from->step) n = from->step;
    memcpy(to, from->data, n);
    from->data += n;
    from->size -= n;
    return (ssize_t)n;
}

static pyprof_result load_text(output_text text, size_t step, const pyprof_allocator *allocator, pyprof_profile **profile)
{
    memory_source from = { text.data, text.size, step };
    *profile = NULL;
    return pyprof__load(from_memory, &from, "a.json", allocator, profile);
}

static output_text as_json(const pyprof_profile *profile, int compact)
{
    return written(profile, (pyprof_output){ .format = PYPROF_FORMAT_JSON, .compact = compact });
}

// ---- the same bytes again --------------------------------------------------------------------------------------------
static const pyprof_query by_thread = { .thread = "w*" }, by_file = { .file = "*main.py" }, idle = { .include_idle = 1 };
static const pyprof_output options[] = {
    { .title = NULL }, { .compact = 1 }, { .lines = 1 }, { .split_threads = 1 }, { .filter = &by_thread }, { .filter = &by_file, .lines = 1 },
    { .filter = &idle }, { .paths = PYPROF_PATHS_BASE, .sources = 1 }, { .paths = PYPROF_PATHS_HASHED, .title = HOSTILE }, { .sources = -1 },
    { .metric = PYPROF_CPU_NS }, { .metric = PYPROF_GIL_WAIT_NS }, { .metric = PYPROF_SAMPLES }, { .metric = PYPROF_LIVE_BYTES },
    { .metric = PYPROF_ALLOC_BLOCKS, .split_threads = 1 }, { .metric = PYPROF_PEAK_BYTES }, { .metric = PYPROF_UNKNOWN_NS }, { .python = 0x0308 },
};

static void same_text(output_text a, output_text b, const char *what)
{
    size_t same = 0, from;
    while (same < a.size && same < b.size && a.data[same] == b.data[same]) same++;
    if (same == a.size && same == b.size) return;
    from = same > 60 ? same - 60 : 0;
    printf("%s: differs at byte %zu:\n%.160s\nis not\n%.160s\n", what, same, a.data + from, b.data + from);
    CHECK(!"the same");
}

// In every format, with every option, also with a table of growth against another profile.
static void same_outputs(const pyprof_profile *one, const pyprof_profile *two, uint64_t number)
{
    char what[80];
    for (int format = 1; format < PYPROF_FORMAT_COUNT; format++)
        for (uint32_t i = 0; i < COUNT(options); i++) {
            pyprof_output output = options[i];
            if (number % 4 != i % 4 && !test_long()) continue;   // each option on some recordings
            output_text a = { calloc(1, 1), 0 }, b = { calloc(1, 1), 0 };
            output.format = format;
            pyprof_result result = pyprof_write(one, &output, append, &a);
            snprintf(what, sizeof what, "recording %u, format %d, option %u", (unsigned)number, format, i);
            CHECK_INT(pyprof_write(two, &output, append, &b), result);
            same_text(b, a, what);
            free(a.data);
            free(b.data);
        }
}

// Through both shapes, in small and large steps.
static void same_again(pyprof_profile *profile, uint64_t number)
{
    pyprof_profile *again[2];
    for (int compact = 0; compact < 2; compact++) {
        output_text text = as_json(profile, compact);
        CHECK_INT(load_text(text, compact ? 1 : 0, NULL, &again[compact]), PYPROF_OK);
        same_text(as_json(again[compact], compact), text, "JSON");
        free(text.data);
    }
    same_outputs(profile, again[0], number);
    same_text(as_json(again[1], 0), as_json(profile, 0), "compact to JSON");
    pyprof_profile_free(again[0]);
    pyprof_profile_free(again[1]);
}

TEST_LIMIT(chance_recordings_come_back, 300)
{
    pyprof_profile *before = NULL, *delta;
    for (uint64_t number = 0; number < (test_long() ? 24 : 8); number++) {
        pyprof_profile *profile = some_profile(number);
        same_again(profile, number);
        if (number % 2) {
            pyprof_diff_options how = { .group = (int)number / 2 % (PYPROF_GROUP_THREAD + 1) };
            CHECK_INT(pyprof_diff(before, profile, &how, &delta), PYPROF_OK);
            same_again(delta, number + 1000);
            pyprof_profile_free(delta);
            pyprof_profile_free(before);
            pyprof_profile_free(profile);
        } else before = profile;
    }
}

// What chance.h leaves out: children, a checkpoint, a thread that the filter left out, functions that only their content or
// column tells apart, opcodes, births of sampled memory, times that are no whole milliseconds, rates that are no whole number.
static void record_everything(recording *r, const char *name)
{
    static const pyprof__source_range place = { 7, 9, 4, 17 };
    uint32_t first = add_thread(r, "MainThread", 100), other = add_thread(r, name, 101), last = add_thread(r, "w", 102);
    uint32_t nodes[4];
    pyprof__function function;
    memset(&function, 0, sizeof function);
    function.name = function.qualname = pyprof__model_string(&r->model, name);
    function.file = pyprof__model_path(&r->model, "/srv/app/main.py");
    function.first_line = 7;
    for (uint32_t i = 0; i < 4; i++) {
        function.column = i < 2 ? (int32_t)i + 3 : 0;
        function.content = i < 2 ? 0 : 0x01020300u + i * 0x10101010u;
        uint32_t opcode = i ? pyprof__model_string(&r->model, "LOAD_ATTR_SLOT") : 0;
        nodes[i] = pyprof__model_node(&r->model, thread_node(r, first), pyprof__model_instruction(&r->model, &function, &place, opcode));
        add_samples(r, i % 2 ? last : first, nodes[i], 10 + 50 * i, 3, (int)i % 2);
        add_blocks(r, nodes[i], 3000, 50 + i, 20 + i, 30);
        pyprof__model_add(&r->model, PYPROF_LIVE_DOUBT, nodes[i], 33333);
        pyprof__marks *marks = pyprof__model_history_row(&r->model, nodes[i]);
        CHECK(marks && pyprof__births_make(&r->model));
        pyprof__births *births = pyprof__model_births(&r->model, nodes[i]);
        for (int m = 0; m <= 12; m++) {
            if (m < 12) marks->bytes[m] = (float)(m * 1000) + 0.1f * (float)i;
            if (m < 12) births->doubt[m] = 12345.678f / (float)(m + 1);
            births->born[m] = 3.4e9f * (float)m;
            births->born_doubt[m] = m % 3 ? 1e-6f : 0;
        }
    }
    pyprof__recorded_thread *threads = r->model.threads.data;
    threads[other].wanted = 0;
    for (uint32_t i = 0; i < 3; i++) {
        threads[i].started = 987654 + i;
        threads[i].serial = i + 1;
        threads[i].interp_id = i;
        threads[i].first_ns += 123 * i;
        threads[i].ident = UINT64_MAX - i;
    }
    pyprof__rivals *pair = pyprof__push(&r->pool, &r->model.rivals);
    CHECK(pair != NULL);
    *pair = (pyprof__rivals){ last, other, 123456789 };
    threads[last].hold_ns = 7654321;
    threads[last].hold_end_ns = r->model.start_ns + 99999999;
    threads[last].hold_node = nodes[2];
    for (int i = 0; i < 3; i++) add_gauge(r, 7 + 100 * (uint64_t)i, 1 << 20, 1 << 10);
    r->model.heap.mode = PYPROF_HEAP_SAMPLED;
    r->model.heap.interval = 4096;
    r->model.heap.peak_ns = r->model.start_ns + 12345678;
    r->model.heap.marks = 12;
    for (unsigned m = 0; m < 12; m++) r->model.heap.mark_ns[m] = r->model.start_ns + m * 1234567;
    MOMENT(r->model, 1).taken_ns = 54321;
    MOMENT(r->model, 2).block_ns = 999;
    MOMENT(r->model, 2).wall_ns -= 77;
    MOMENT(r->model, 2).state |= PYPROF__IS_RAISING | PYPROF__IS_UNKNOWN;
    AT(pyprof__recorded_process, r->model.processes, 0).started = 4711;
    r->model.rate_hz = 100.0 / 3;
    r->model.timeline_s = 0.1;
    r->model.last_ns += 200 * ms + 1;
    r->model.recorded_ns += 1;
    r->model.stats.late_max_ns = INT64_MAX;
    snprintf(r->model.stats.degraded, sizeof r->model.stats.degraded, "%.200s", name);
}

static pyprof_profile *everything(const pyprof_allocator *allocator)
{
    recording r;
    recording_begin(&r, allocator);
    record_everything(&r, HOSTILE);
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    profile->interpreters = 3;
    profile->free_threaded = 1;
    for (int i = 0; i < 4; i++) {
        pyprof__child *child = pyprof__push(&profile->pool, &profile->children);
        *child = (pyprof__child){ 4000 + i, i == 1 ? 9 : i == 2 ? 3 << 8 : 0, i > 0, 0, i == 2, "" };
        memcpy(child->name, "worker of the children \xc3\xa4 and so on", i == 3 ? 31 : 8 * (size_t)i);
    }
    return profile;
}

TEST(everything_comes_back)
{
    pyprof_profile *profile = everything(NULL), *again = NULL;
    for (uint64_t number = 0; number < 4; number++) same_again(profile, number);
    profile->checkpoint = 1795709160.5868113;
    profile->model.unix_offset = 1764000000.123456789;
    profile->model.rate_hz = 99.9995;
    same_again(profile, 2);
    CHECK_INT(load_text(as_json(profile, 1), 7, NULL, &again), PYPROF_OK);
    CHECK(again->model.rate_hz >= profile->model.rate_hz && again->model.rate_hz <= profile->model.rate_hz);
    CHECK(again->checkpoint >= profile->checkpoint && again->checkpoint <= profile->checkpoint);
    CHECK(again->model.unix_offset >= profile->model.unix_offset && again->model.unix_offset <= profile->model.unix_offset);
    CHECK_INT(memcmp(&again->model.stats, &profile->model.stats, sizeof(pyprof_stats)), 0);
    CHECK_INT(memcmp(&again->model.heap, &profile->model.heap, sizeof(pyprof__heap_facts)), 0);
    CHECK_INT(again->model.history.count, profile->model.history.count);
    CHECK_INT(memcmp(again->model.history.data, profile->model.history.data, profile->model.history.count * sizeof(pyprof__marks)), 0);
    CHECK_INT(memcmp(again->model.births.data, profile->model.births.data, profile->model.births.count * sizeof(pyprof__births)), 0);
    for (size_t i = 0; i < profile->model.moments.count; i++)
        CHECK_INT(memcmp(&MOMENT(again->model, i), &MOMENT(profile->model, i), sizeof(pyprof__moment)), 0);
}

TEST(tables_of_growth_come_back)   // the text report beside an earlier snapshot
{
    pyprof_profile *profile = everything(NULL), *before = some_profile(1), *again, *again_before;
    const int metrics[] = { 0, PYPROF_LIVE_BYTES, PYPROF_PEAK_BYTES, PYPROF_ALLOC_BYTES };
    CHECK_INT(load_text(as_json(profile, 1), 0, NULL, &again), PYPROF_OK);
    CHECK_INT(load_text(as_json(before, 0), 0, NULL, &again_before), PYPROF_OK);
    profile->before = before;
    again->before = again_before;
    for (size_t i = 0; i < COUNT(metrics); i++) {
        pyprof_output text = { .format = PYPROF_FORMAT_TEXT, .metric = metrics[i] };
        same_text(written(again, text), written(profile, text), "text");
    }
}

TEST(golden_recordings_come_back)
{
    static const char *const names[] = { "example.json", "memory.json", "states.json" };
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[512];
        output_text text = { calloc(1, 1 << 20), 0 };
        pyprof_profile *profile;
        snprintf(path, sizeof path, "%.*sgolden/%s", (int)(strrchr(__FILE__, '/') + 1 - __FILE__), __FILE__, names[i]);
        FILE *f = fopen(path, "r");
        CHECK(f != NULL);
        text.size = fread(text.data, 1, 1 << 20, f);
        fclose(f);
        pyprof_result result = pyprof_load(path, &profile);
        if (result) printf("%s\n", pyprof_last_error());
        CHECK_INT(result, PYPROF_OK);
        if (strstr(text.data, "\"source\"")) same_again(profile, i);   // those lines are not loaded
        else same_text(as_json(profile, 0), text, names[i]);
    }
}

TEST(merged_recordings_come_back)
{
    for (int as_one = 0; as_one < 2; as_one++) {
        const pyprof_profile *parts[3] = { some_profile(1), some_profile(4), everything(NULL) };
        pyprof_merge_options how = { .as_one = as_one };
        pyprof_profile *merged;
        CHECK_INT(pyprof_merge(parts, 3, &how, &merged), PYPROF_OK);
        same_again(merged, (uint64_t)as_one);
        same_again(merged, (uint64_t)as_one + 2);
    }
}

TEST(parts_load_as_what_they_hold)
{
    const pyprof_output parts[] = {
        { .paths = PYPROF_PATHS_BASE }, { .paths = PYPROF_PATHS_HASHED }, { .filter = &by_thread }, { .filter = &by_file, .compact = 1 },
        { .filter = &idle },
    };
    for (uint64_t number = 0; number < 3; number++)
        for (size_t i = 0; i < COUNT(parts); i++) {
            if (i % 3 != number && !test_long()) continue;   // each option on one recording
            pyprof_output output = parts[i];
            pyprof_profile *whole = some_profile(number), *part;
            output.format = PYPROF_FORMAT_JSON;
            CHECK_INT(load_text(written(whole, output), 0, NULL, &part), PYPROF_OK);
            if (output.paths) same_text(as_json(part, 0), written(whole, output), "paths");
            same_again(part, number);
            CHECK_INT(part->model.paths, output.paths);
            CHECK_INT(part->model.nodes.count, whole->model.nodes.count);
        }
}

// ---- a loaded profile is a profile -----------------------------------------------------------------------------------
static int sum_items(void *user, const pyprof_item *item)
{
    uint64_t *hash = user, count = item->count + item->depth;
    *hash = *hash * 1099511628211u + (uint64_t)item->kind + 31 * count + (uint64_t)(item->timestamp * 1e6);
    for (int m = 0; m < PYPROF_METRIC_COUNT && item->self; m++) *hash = *hash * 31 + (uint64_t)item->self[m];
    for (size_t i = 0; i < item->depth; i++) *hash = *hash * 31 + (uint64_t)item->stack[i].line + strlen(item->stack[i].label);
    return 0;
}

TEST(a_loaded_profile_answers_like_the_recorded_one)
{
    pyprof_profile *profiles[2] = { some_profile(5), NULL }, *deltas[2];
    uint64_t hashes[2] = { 0, 0 };
    pyprof_row rows[2][8];
    pyprof_leak leaks[2][8];
    pyprof_info infos[2];
    pyprof_stats stats[2];
    size_t counts[2][2];
    CHECK_INT(load_text(as_json(profiles[0], 1), 0, NULL, &profiles[1]), PYPROF_OK);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(pyprof_visit(profiles[i], NULL, sum_items, &hashes[i]), PYPROF_OK);
        CHECK_INT(pyprof_top(profiles[i], NULL, rows[i], sizeof(pyprof_row), 8, &counts[i][0]), PYPROF_OK);
        CHECK_INT(pyprof_leaks(profiles[i], NULL, leaks[i], sizeof(pyprof_leak), 8, &counts[i][1]), PYPROF_OK);
        CHECK_INT(pyprof_profile_info(profiles[i], &infos[i]), PYPROF_OK);
        CHECK_INT(pyprof_profile_stats(profiles[i], &stats[i]), PYPROF_OK);
        CHECK_INT(pyprof_diff(profiles[i], profiles[1 - i], NULL, &deltas[i]), PYPROF_OK);
    }
    CHECK_INT(hashes[0], hashes[1]);
    CHECK_INT(memcmp(counts[0], counts[1], sizeof counts[0]), 0);
    CHECK_INT(memcmp(&stats[0], &stats[1], sizeof stats[0]), 0);
    for (size_t i = 0; i < 8 && i < counts[0][0]; i++) CHECK_STR(rows[1][i].qualname, rows[0][i].qualname);
    for (size_t i = 0; i < 8 && i < counts[0][1]; i++) CHECK_INT(leaks[1][i].grown_bytes, leaks[0][i].grown_bytes);
    CHECK_STR(infos[1].program, infos[0].program);
    CHECK_INT(infos[1].pid, 4242);
    CHECK_INT(infos[1].total[PYPROF_WALL_NS], infos[0].total[PYPROF_WALL_NS]);
    for (uint32_t node = 0; node < deltas[0]->model.nodes.count; node++)   // they are equal
        for (int m = 0; m < PYPROF_ALLOC_DOUBT; m++) CHECK_INT(pyprof__model_value(&deltas[0]->model, (pyprof_metric)m, node), 0);
    same_text(as_json(deltas[1], 0), as_json(deltas[0], 0), "differences");
}

// ---- refusals --------------------------------------------------------------------------------------------------------
// A small recording in which one place is changed.
static output_text small_text(int compact)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "t", 7), frame = add_frame(&r, thread_node(&r, thread), "a.py", "f", 1, 2);
    add_samples(&r, thread, frame, 10, 2, 0);
    r.model.heap.mode = PYPROF_HEAP_EXACT;
    r.model.heap.marks = 2;
    r.model.heap.mark_ns[0] = r.model.heap.mark_ns[1] = r.model.start_ns;
    pyprof__model_history_row(&r.model, frame)->bytes[0] = 5;
    pyprof__model_add(&r.model, PYPROF_LIVE_BYTES, frame, 3);
    pyprof_profile *profile = seal(&r, 0);
    return as_json(profile, compact);
}

static output_text replaced(output_text text, const char *from, const char *to)
{
    output_text out = { calloc(1, 1), 0 };
    const char *at = strstr(text.data, from);
    if (!at) printf("no %s in %s\n", from, text.data);
    CHECK(at != NULL);
    append(&out, text.data, (size_t)(at - text.data));
    append(&out, to, strlen(to));
    append(&out, at + strlen(from), strlen(at + strlen(from)));
    return out;
}

static void check_refused(output_text text, const char *want)
{
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    for (size_t step = 0; step < 2; step++) {   // all at once, and byte by byte
        pyprof_profile *profile;
        pyprof_result result = load_text(text, step, &allocator, &profile);
        if (result != PYPROF_ERR_FORMAT) printf("%s\n", want);
        CHECK_INT(result, PYPROF_ERR_FORMAT);
        CHECK(profile == NULL);
        CHECK_STR(pyprof_last_error(), want);
        CHECK_INT(c.live, 0);
    }
}

static void refused(const char *text, const char *want) { check_refused((output_text){ strdup(text), strlen(text) }, want); }

TEST(changed_recordings_are_refused_with_the_place)
{
    static const struct { const char *from, *to, *want; } cases[] = {
        { "\"version\": 1", "\"version\": 2", "a.json:2:32: expected version 1, which pyprof.h " PYPROF_VERSION_STRING " reads, found version 2" },
        { "\"version\": 1", "\"version\": 1.0", "a.json:2:32: expected an integer from 1 to 2147483647, found 1.0" },
        { "\"version\"", "\"verse\"", "a.json:2:21: expected \"version\" second, found \"verse\"" },
        { "\"pid\": 4242,", "\"pid\": 4242", "a.json:3:37: expected \",\" or \"}\", found \"python\"" },
        { "\"pid\": 4242", "\"pid\" 4242", "a.json:3:31: expected \":\", found 4242" },
        { "\"pid\": 4242", "\"python\": \"3\"", "a.json:3:40: expected a key that this object does not have yet, found \"python\"" },
        { "\"pid\": 4242", "\"x\": 1, \"x\": 1", "a.json:3:33: expected a key that this object does not have yet, found \"x\"" },
        { "\"pid\": 4242", "pid: 4242", "a.json:3:25: expected a key in quotes, found pid:" },
        { "\"pid\": 4242", "\"pid\": 04242", "a.json:3:32: expected a number as JSON has it, found 04242" },
        { "\"pid\": 4242", "\"pid\": 1.", "a.json:3:32: expected a number as JSON has it, found 1." },
        { "\"pid\": 4242", "\"pid\": -", "a.json:3:32: expected a number as JSON has it, found -" },
        { "\"pid\": 4242", "\"pid\": +1", "a.json:3:32: expected a value, found +1" },
        { "\"pid\": 4242", "\"pid\": 1e", "a.json:3:32: expected a number as JSON has it, found 1e" },
        { "\"pid\": 4242", "\"pid\": NaN", "a.json:3:32: expected a value, found NaN" },
        { "\"pid\": 4242", "\"pid\": tru", "a.json:3:32: expected a value, found tru" },
        { "\"pid\": 4242", "\"pid\": [1,]", "a.json:3:35: expected a value, found ]" },
        { "\"pid\": 4242", "\"pid\": {\"a\": 1,}", "a.json:3:40: expected a key in quotes, found }" },
        { "\"pid\": 4242", "\"pid\": [1 2]", "a.json:3:35: expected \",\" or \"]\", found 2" },
        { "\"pid\": 4242", "\"pid\": [01, 2]", "a.json:3:33: expected a number as JSON has it, found 01" },
        { "\"pid\": 4242", "\"pid\": {\"a\": 1, \"a\": 2}", "a.json:3:41: expected a key that this object does not have yet, found \"a\"" },
        { "\"host\"", "\"ho\\qst\"", "a.json:3:20: expected an escape sequence of JSON, found \\qst" },
        { "\"host\"", "\"ho\\u12g4\"", "a.json:3:20: expected an escape sequence of JSON, found \\u12g4" },
        { "\"host\"", "\"ho\\u0000\"", "a.json:3:20: expected a character other than U+0000, found \\u0000" },
        { "\"host\"", "\"ho\\ud83d.\"", "a.json:3:20: expected both halves of a surrogate pair, found \\ud83d." },
        { "\"host\"", "\"ho\\udc0d\\ud83d\"", "a.json:3:20: expected both halves of a surrogate pair, found \\udc0d\\ud83d" },
        { "\"host\"", "\"ho\nst\"", "a.json:3:20: expected no control character in a string, found \\x0ast" },
        { "\"host\"", "\"ho\xc0\xaf\"", "a.json:3:20: expected valid UTF-8, found \\xc0\\xaf" },
        { "\"host\"", "\"ho\xed\xa0\x80\"", "a.json:3:20: expected valid UTF-8, found \\xed\\xa0\\x80" },
        { "\"host\"", "\"ho\xe2\x82\"", "a.json:3:20: expected valid UTF-8, found \\xe2\\x82" },
        { "\"host\"", "7", "a.json:3:17: expected a string, found 7" },
        { "\"process_name\": \"host\", ", "", "a.json:END: expected the key \"process_name\" in this object, found }" },
        { "\"free_threaded\": false", "\"free_threaded\": 0", "a.json:3:75: expected true or false, found 0" },
        { "\"start_ns\": 5000000000", "\"start_ns\": -1", "a.json:5:13: expected an integer from 0 to 2305843009213693952, found -1" },
        { "\"start_ns\": 5000000000", "\"start_ns\": 5e9", "a.json:5:13: expected an integer from 0 to 2305843009213693952, found 5e9" },
        { "\"start_ns\": 5000000000", "\"start_ns\": 99999999999999999999", "a.json:5:13: expected an integer from 0 to 2305843009213693952, found 99999999999999999999" },
        { "\"rate_hz\": 100.000", "\"rate_hz\": 1e99", "a.json:4:65: expected a smaller number, found 1e99" },
        { "\"rate_hz\": 100.000", "\"rate_hz\": 1e999999999", "a.json:4:65: expected a smaller number, found 1e999999999" },
        { "\"rate_hz\": 100.000", "\"rate_hz\": -1", "a.json:4:65: expected a rate in Hz, found -1" },
        { "\"paths\": \"full\"", "\"paths\": \"half\"", "a.json:6:47: expected a word for paths that version 1 has, found \"half\"" },
        { "{\"pid\": 4242, \"started\": 0, \"node\": 0}", "", "a.json:END: expected one process at least, found the end of the file" },
        { "\"kind\": \"python\"", "\"kind\": \"pythons\"", "a.json:KIND: expected a kind that version 1 has, found \"pythons\"" },
        { "\"frame\": [0,1,2]", "\"frame\": [0,1,3]", "a.json:FRAME: expected a frame from 0 to 2, found 3" },
        { "\"frame\": [0,1,2]", "\"frame\": [0,1]", "a.json:SELF: expected as many frames as parents in the tree, one at least, found }" },
        { "\"parent\": [-1,0,1]", "\"parent\": [-1,0,2]", "a.json:PARENT: expected an integer from 0 to 1, found 2" },
        { "\"parent\": [-1,0,1]", "\"parent\": [0,0,1]", "a.json:PARENT0: expected an integer from -1 to -1, found 0" },
        { "\"samples\": [0,0,2]", "\"samples\": [0,0]", "a.json:SELF: expected a value for each node in every column of the tree, found }" },
        { "\"samples\": [0,0,2]", "\"samples\": [0,2305843009213693952,2]", "a.json:SUM: expected an integer from 0 to 0, found 2" },
        { "\"function\": 2", "\"function\": 3", "a.json:FUNCTION: expected \"function\" to be the same one, or the next one, found }" },
        { "\"function\": 2", "\"function\": 1", "a.json:FUNCTION: expected \"function\" to be the same one, or the next one, found }" },
    };
    output_text text = small_text(0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        output_text changed = replaced(text, cases[i].from, cases[i].to);
        char want[300], *word;
        pyprof_profile *profile;
        snprintf(want, sizeof want, "%s", cases[i].want);
        // In the later lines the place is not counted here: it is that of the change, of the line or of the end.
        CHECK_INT(load_text(changed, 0, NULL, &profile), PYPROF_ERR_FORMAT);
        if ((word = strpbrk(want + 7, "0123456789:ABCDEFGHIJKLMNOPQRSTUVWXYZ")) && *word > '9') {
            const char *said = strstr(pyprof_last_error(), ": expected");
            if (!said || strcmp(said, strstr(want, ": expected"))) printf("%s\n", pyprof_last_error());
            CHECK_STR(said, strstr(want, ": expected"));
            continue;
        }
        check_refused(changed, want);
    }
}

TEST(compact_rows_are_checked)
{
    static const struct { const char *to, *want; } cases[] = {
        { "[1,2,10000000]", "expected a row with a thread and a node that were read before, found ]" },
        { "[0,3,10000000]", "expected a row with a thread and a node that were read before, found ]" },
        { "[-1,2,10000000]", "expected a row with a thread and a node that were read before, found ]" },
        { "[0,2,0,0,0,0,0,0,-5000000001]", "expected a row with no negative time, found ]" },
        { "[0,2,-1]", "expected a row with no negative time, found ]" },
        { "[0,2,1,0,-2]", "expected a row with no negative time, found ]" },
        { "[0,2,1,0,0,0,0,-2]", "expected a row with no negative time, found ]" },
        { "[0,2,1,4294967296]", "expected a row with no negative time, found ]" },
        { "[0,2,2305843009213693952,0,2305843009213693952]", "expected an entry that begins before it ends, found ]" },
        { "[0,2,0,1,2,3,4,5,6,7,8]", "expected as many numbers as columns, found 8" },
        { "[0,\"2\"]", "expected a number, found \"2\"" },
        { "{}", "expected \"[\", found {" },
    };
    output_text text = small_text(1);
    char *row = strstr(text.data, "\n[0,2,") + 1, old[80];
    snprintf(old, sizeof old, "%.*s", (int)(strchr(row, ']') + 1 - row), row);
    for (size_t i = 0; i < COUNT(cases); i++) {
        pyprof_profile *profile;
        CHECK_INT(load_text(replaced(text, old, cases[i].to), 0, NULL, &profile), PYPROF_ERR_FORMAT);
        CHECK_STR(strstr(pyprof_last_error(), "expected"), cases[i].want);
    }
}

TEST(rows_of_older_files)   // their columns had another order
{
    static const char now[] = "\"span_ns\", \"bits\", \"wall_more_ns\", \"taken_ns\", \"cpu_more_ns\", \"count_more\", \"gap_ns\", \"block_ns\"",
        then[] = "\"gap_ns\", \"span_ns\", \"bits\", \"wall_more_ns\", \"cpu_more_ns\", \"count_more\", \"block_ns\", \"taken_ns\"";
    output_text text = replaced(small_text(1), now, then);
    pyprof_profile *profile;
    text = replaced(text, "\n[0,2,20000000,0,0,0,-2000000,1]", "\n[0,2,0,20000000,0,0,-2000000,1]");
    CHECK_INT(load_text(text, 0, NULL, &profile), PYPROF_OK);
    same_text(as_json(profile, 0), small_text(0), "rows of older files");
}

TEST(other_files_are_told_apart)
{
#define NOT_OURS "not a pyprof recording: expected \"format\": \"pyprof\" first, found "
    static const struct { const char *text, *want; } cases[] = {
        { "", "1:1: " NOT_OURS "the end of the file" }, { "  \n ", "2:2: " NOT_OURS "the end of the file" },
        { "\x1f\x8b\x08", "1:1: " NOT_OURS "a file compressed by gzip" }, { "PK\x03\x04", "1:1: " NOT_OURS "a zip archive" },
        { "\x28\xb5\x2f\xfd", "1:1: " NOT_OURS "a file compressed by zstd" }, { "\x80\x04\x95", "1:1: " NOT_OURS "a pickle" },
        { "\x7f" "ELF", "1:1: " NOT_OURS "a program or library" }, { "<svg>", "1:1: " NOT_OURS "HTML or XML" },
        { "\xef\xbb\xbf{", "1:1: " NOT_OURS "a byte order mark" }, { "\xff\xfe{", "1:1: " NOT_OURS "a text in UTF-16" },
        { "[{\"name\": \"x\", \"ph\": \"B\"}]", "1:1: " NOT_OURS "a list" },
        { "main;run 3\n", "1:1: " NOT_OURS "main;run" }, { "\x0a\x04\x08", "2:1: " NOT_OURS "\\x04" },
        { "{}", "1:2: " NOT_OURS "}" }, { "{", "1:2: " NOT_OURS "the end of the file" }, { "{1", "1:2: " NOT_OURS "1" },
        // speedscope's, and py-spy's when it writes the same format
        { "{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\",\"profiles\":[]}", "1:2: " NOT_OURS "\"$schema\"" },
        { "{\"version\":\"0.0.1\",\"exporter\":\"py-spy@0.4.0\"}", "1:2: " NOT_OURS "\"version\"" },
        // Tachyon's Gecko profile, DevTools' and trace events
        { "{\n \"meta\": {\"interval\": 1, \"product\": \"Python\"}, \"threads\": []}", "2:2: " NOT_OURS "\"meta\"" },
        { "{\"nodes\":[],\"startTime\":1}", "1:2: " NOT_OURS "\"nodes\"" }, { "{\"traceEvents\": []}", "1:2: " NOT_OURS "\"traceEvents\"" },
        { "{\"format\": \"collapsed\"}", "1:12: " NOT_OURS "\"collapsed\"" }, { "{\"format\": 1}", "1:12: " NOT_OURS "1" },
        { "{\"format\": \"pyprof\"}", "1:20: expected \",\" or \"}\", found the end of the file" },
        { "{\"format\": \"pyprof\", \"version\": 99999999999}", "1:33: expected an integer from 1 to 2147483647, found 99999999999" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char want[300];
        snprintf(want, sizeof want, "a.json:%s", cases[i].want);
        if (!strcmp(cases[i].text, "{\"format\": \"pyprof\"}")) continue;   // below: an object that ends too early
        refused(cases[i].text, want);
    }
    refused("{\"format\": \"pyprof\"}", "a.json:1:20: expected \"version\" second, found }");
    refused("{\"format\": \"pyprof\", \"version\": 1}", "a.json:1:34: expected the key \"process_name\" in this object, found }");
}

TEST(unknown_keys_are_skipped)
{
    output_text text = small_text(0);
    pyprof_profile *profile;
    static const char *const places[] = { "\"pid\"", "\"asked\"", "\"ident\"", "\"qualname\"", "\"parent\"", "\"mode\"", "\"pairs\"", "\"cpu_ns\": 18" };
    for (size_t i = 0; i < COUNT(places); i++) {
        char with[300];
        snprintf(with, sizeof with, "\"new\\u20ac\": [{\"a\": [-1.5e-7, [], {}, null]}, \"\\ud83d\\ude00\", 123456789012345678901234567890, true], %s", places[i]);
        CHECK_INT(load_text(replaced(text, places[i], with), i % 2, NULL, &profile), PYPROF_OK);
        same_text(as_json(profile, 0), text, places[i]);
        pyprof_profile_free(profile);
    }
}

TEST(deep_nesting_is_bounded)
{
    output_text text = small_text(0), deep = { calloc(1, 1), 0 };
    pyprof_profile *profile;
    for (int depth = 62; depth < 64; depth++) {   // the object itself is one more
        deep.size = 0;
        append(&deep, "\"x\": ", 5);
        for (int i = 0; i < depth; i++) append(&deep, "[", 1);
        append(&deep, "{\"a\": 1}", 8);
        for (int i = 0; i < depth; i++) append(&deep, "]", 1);
        append(&deep, ", \"pid\"", 7);
        CHECK_INT(load_text(replaced(text, "\"pid\"", deep.data), 0, NULL, &profile), depth == 62 ? PYPROF_OK : PYPROF_ERR_FORMAT);
    }
    CHECK(strstr(pyprof_last_error(), "expected at most 64 levels of brackets, found {") != NULL);
    deep.size = 0;
    append(&deep, "\"x\": ", 5);
    char many[1000];
    memset(many, '[', sizeof many);
    for (int i = 0; i < 1000; i++) append(&deep, many, sizeof many);
    append(&deep, ", \"pid\"", 7);
    CHECK_INT(load_text(replaced(text, "\"pid\"", deep.data), 0, NULL, &profile), PYPROF_ERR_FORMAT);
}

TEST(many_keys_are_told_apart)
{
    output_text text = small_text(0), keys = { calloc(1, 1), 0 };
    pyprof_profile *profile;
    char key[40];
    append(&keys, "\"x\": {", 6);
    for (int i = 0; i < 50000; i++) append(&keys, key, (size_t)snprintf(key, sizeof key, "%s\"key%d\": %d", i ? "," : "", i, i));
    CHECK_INT(load_text(replaced(text, "\"pid\"", (append(&keys, "}, \"pid\"", 8), keys.data)), 0, NULL, &profile), PYPROF_OK);
    keys.size -= 8;
    CHECK_INT(load_text(replaced(text, "\"pid\"", (append(&keys, ", \"key777\": 1}, \"pid\"", 21), keys.data)), 0, NULL, &profile), PYPROF_ERR_FORMAT);
    CHECK(strstr(pyprof_last_error(), "expected a key that this object does not have yet, found \"key777\"") != NULL);
}

// A string without end: its reader stops after 16 MiB.
static ssize_t from_nowhere(void *user, char *to, size_t room)
{
    static const char head[] = "{\"format\": \"pyprof\", \"version\": 1, \"process_name\": \"";
    uint64_t *given = user;
    memset(to, 'x', room);
    if (!*given) memcpy(to, head, sizeof head - 1);
    *given += room;
    return (ssize_t)room;
}

TEST(endless_strings_are_refused)
{
    uint64_t given = 0;
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    pyprof_profile *profile;
    CHECK_INT(pyprof__load(from_nowhere, &given, "a.json", &allocator, &profile), PYPROF_ERR_FORMAT);
    CHECK_STR(pyprof_last_error(), "a.json:1:52: expected a string of at most 16 MiB, found a long text");
    CHECK(given < 17 << 20);
    CHECK_INT(c.live, 0);
}

TEST(cut_files_are_refused)   // after each byte
{
    for (int compact = 0; compact < 2; compact++) {
        output_text text = small_text(compact);
        pyprof_profile *profile;
        counting c;
        pyprof_allocator allocator = counting_allocator(&c);
        for (size_t size = 0; size < text.size - 1; size++) {   // without the last newline it is whole
            CHECK_INT(load_text((output_text){ text.data, size }, 0, &allocator, &profile), PYPROF_ERR_FORMAT);
            CHECK(strstr(pyprof_last_error(), "found") != NULL);
            CHECK_INT(c.live, 0);
        }
        CHECK_INT(load_text((output_text){ text.data, text.size - 1 }, 0, NULL, &profile), PYPROF_OK);
        append(&text, "{", 1);
        CHECK_INT(load_text(text, 0, NULL, &profile), PYPROF_ERR_FORMAT);
        CHECK(strstr(pyprof_last_error(), "expected nothing after the last bracket, found {") != NULL);
    }
}

TEST_LIMIT(changed_bytes_do_no_harm, 120)
{
    output_text text = as_json(everything(NULL), 1);
    pyprof_profile *profile;
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    int refusals = 0, changes = test_long() ? 200000 : 2000;
    seed = 11;
    for (int i = 0; i < changes; i++) {
        size_t at = draw((uint32_t)text.size);
        char before = text.data[at];
        text.data[at] = draw(2) ? (char)draw(256) : "0123456789,.-[]{}\"\\ e"[draw(21)];
        pyprof_result result = load_text(text, 0, &allocator, &profile);
        text.data[at] = before;
        CHECK(result == PYPROF_OK || result == PYPROF_ERR_FORMAT);
        refusals += result != PYPROF_OK;
        if (result == PYPROF_OK && i % 16 == 0)
            for (int format = 1; format < PYPROF_FORMAT_COUNT; format++) {
                output_text out = { calloc(1, 1), 0 };
                pyprof_write(profile, &(pyprof_output){ .format = format }, append, &out);
                free(out.data);
            }
        pyprof_profile_free(profile);
        CHECK_INT(c.live, 0);
    }
    CHECK(refusals > changes / 4 && refusals < changes);
}

TEST(loading_without_memory)   // each allocation fails once
{
    output_text text = as_json(everything(NULL), 0);
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    pyprof_profile *profile;
    pyprof_result result = PYPROF_ERR_MEMORY;
    int n = 0;
    for (; result == PYPROF_ERR_MEMORY; n++) {
        c.calls = 0;
        c.fail_at = n + 1;
        result = load_text(text, 0, &allocator, &profile);
        if (result == PYPROF_ERR_MEMORY) CHECK_INT(c.live, 0);
        if (result == PYPROF_ERR_MEMORY) CHECK(strstr(pyprof_last_error(), "no memory for") != NULL);
    }
    CHECK_INT(result, PYPROF_OK);
    CHECK(n > 20 && c.calls < c.fail_at);
    c.fail_at = 0;
    same_text(as_json(profile, 0), text, "JSON");
    pyprof_profile_free(profile);
    CHECK_INT(c.live, 0);
}

#define FUZZ_INSIDE
#include "fuzz/fuzz_load.c"
TEST(the_corpus_of_the_fuzzer)
{
    char path[512];
    snprintf(path, sizeof path, "%.*sfuzz/corpus", (int)(strrchr(__FILE__, '/') + 1 - __FILE__), __FILE__);
    CHECK(replay_all(path) >= 9);
}

// ---- paths -----------------------------------------------------------------------------------------------------------
static void load_fails(const char *path, int want, const char *part)
{
    pyprof_profile *profile = (pyprof_profile *)&profile;
    CHECK_INT(pyprof_load(path, &profile), want);
    CHECK(profile == NULL);
    if (!strstr(pyprof_last_error(), part)) printf("%s\n", pyprof_last_error());
    CHECK(strstr(pyprof_last_error(), part) != NULL);
}

TEST(what_is_no_file)
{
    char dir[] = "/tmp/pyprof-load-XXXXXX", path[64], want[120];
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/x.json", dir);
    snprintf(want, sizeof want, "cannot read %s: No such file or directory", path);
    load_fails(path, PYPROF_ERR_IO, want);
    snprintf(want, sizeof want, "cannot read %s: Is a directory", dir);
    load_fails(dir, PYPROF_ERR_IO, want);
    load_fails("/dev/null", PYPROF_ERR_FORMAT, "/dev/null:1:1: not a pyprof recording: ");
    load_fails("/dev/zero", PYPROF_ERR_FORMAT, "/dev/zero:1:1: not a pyprof recording: ");
    load_fails("", PYPROF_ERR_ARGUMENT, "path is empty");
    load_fails(NULL, PYPROF_ERR_ARGUMENT, "path is NULL");
    CHECK_INT(pyprof_load(path, NULL), PYPROF_ERR_ARGUMENT);
    CHECK_INT(mkfifo(path, 0600), 0);
    output_text text = small_text(0);
    pid_t child = fork();
    if (child == 0) {
        int fd = open(path, O_WRONLY);
        for (size_t i = 0; i < text.size; i += 100)
            if (write(fd, text.data + i, text.size - i < 100 ? text.size - i : 100) < 0) _exit(1);
        _exit(0);
    }
    pyprof_profile *profile;
    CHECK_INT(pyprof_load(path, &profile), PYPROF_OK);
    same_text(as_json(profile, 0), text, "from a FIFO");
    CHECK_INT(waitpid(child, NULL, 0), child);
    CHECK_INT(unlink(path), 0);
    CHECK_INT(rmdir(dir), 0);
}
TEST_MAIN
