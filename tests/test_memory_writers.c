// The writers on recordings with memory: golden files, sums, what the pickle holds, metrics that were not measured.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"

enum { KIB = 1024, MIB = 1024 * 1024 };
static const int memory_metrics[] = { PYPROF_ALLOC_BYTES, PYPROF_ALLOC_BLOCKS, PYPROF_LIVE_BYTES, PYPROF_LIVE_BLOCKS, PYPROF_PEAK_BYTES,
                                      PYPROF_PEAK_BLOCKS, PYPROF_TEMP_BLOCKS };
enum { MEMORY_METRICS = sizeof memory_metrics / sizeof *memory_metrics };

// Two threads; blocks of Python and of malloc, with and without frames, on nodes that also waited; a node with none.
// All blocks of a node are of one size: how many of their bytes are in doubt.
static void add_doubts(recording *r)
{
    for (size_t i = 0; i < sizeof pyprof__metrics / sizeof *pyprof__metrics; i++) {
        const pyprof__metric *doubt = &pyprof__metrics[i], *of = pyprof__metric_row(doubt->part_of);
        if (doubt->from != PYPROF__FROM_ESTIMATES) continue;
        for (uint32_t node = 0; node < r->model.nodes.count; node++) {
            double bytes = (double)pyprof__model_value(&r->model, (pyprof_metric)of->metric, node), missed;
            double blocks = (double)pyprof__model_value(&r->model, (pyprof_metric)of->pair, node);
            if (bytes <= 0) continue;
            missed = pyprof__exp_minus(bytes / blocks / (double)r->model.heap.interval);
            pyprof__model_add(&r->model, (pyprof_metric)doubt->metric, node,
                              (int64_t)(bytes * (bytes / blocks / (double)r->model.heap.interval) * missed / (1 - missed)));
        }
    }
}

static void record_heap(recording *r, const char *name, int mode)
{
    uint32_t main_thread = add_thread(r, "MainThread", 100), worker = add_thread(r, name, 101);
    uint32_t top = add_frame(r, thread_node(r, main_thread), "/srv/app/main.py", "<module>", 1, 30);
    uint32_t load = add_frame(r, top, "/srv/app/main.py", "App.load", 10, 14);
    uint32_t parse = add_frame(r, load, "/srv/app/parse.py", "parse", 3, 5);
    uint32_t again = add_frame(r, parse, "/srv/app/parse.py", "parse", 3, 5);
    uint32_t array = add_native(r, load);
    uint32_t start = add_frame(r, thread_node(r, worker), name, name, 7, 8);
    uint32_t nobody = pyprof__model_node(&r->model, thread_node(r, worker), pyprof__model_pseudo(&r->model, "<native>", PYPROF_KIND_PSEUDO, 0));
    add_blocks(r, parse, 64, 50000, 20000, 30000);
    add_blocks(r, again, 1000, 3000, 1000, 2000);
    add_blocks(r, array, 3 * MIB, 5, 2, 1);
    add_blocks(r, start, 512, 1500000, 7, 7);
    add_blocks(r, nobody, 100, 10, 1, 0);
    add_blocks(r, top, 32, 1, 0, 1);
    pyprof__model_add(&r->model, PYPROF_TEMP_BLOCKS, start, 1400000);
    pyprof__model_add(&r->model, PYPROF_TEMP_BLOCKS, parse, 12345);
    add_samples(r, main_thread, parse, 10, 3, 0);
    add_samples(r, worker, start, 10, 4, 1);
    // From here on nodes without memory: the columns of memory are shorter than the tree.
    add_samples(r, main_thread, add_frame(r, top, "/srv/app/main.py", "App.rest", 70, 71), 40, 2, 0);
    add_gauge(r, 0, 40 * MIB, 0);
    add_gauge(r, 30, 95 * MIB, 8 * MIB);
    add_gauge(r, 50, 60 * MIB, 7 * MIB);
    r->model.heap.mode = mode;
    r->model.heap.interval = mode == PYPROF_HEAP_SAMPLED ? 512 * KIB : 0;
    if (mode == PYPROF_HEAP_SAMPLED) add_doubts(r);
    r->model.heap.peak_ns = r->model.start_ns + 30 * ms;
    r->model.heap.domains[PYPROF_DOMAIN_OBJ] = (pyprof_domain_total){ 774200032, 1553001, 2283584, 21007 };
    r->model.heap.domains[PYPROF_DOMAIN_RAW] = (pyprof_domain_total){ 1000, 10, 100, 1 };
    r->model.heap.domains[PYPROF_DOMAIN_NATIVE] = (pyprof_domain_total){ 15 * MIB, 5, 6 * MIB, 2 };
    r->model.heap.sizes[5] = 1;
    r->model.heap.sizes[6] = 50000;
    r->model.heap.sizes[7] = 10;
    r->model.heap.sizes[9] = 1500000;
    r->model.heap.sizes[10] = 3000;
    r->model.heap.sizes[22] = 5;
    r->model.stats.heap_state = PYPROF_HEAP_STATE_ON;
    r->model.stats.heap_samples = 1234;
    r->model.stats.interpreters = 1;
}

static void record(recording *r, const char *name) { record_heap(r, name, PYPROF_HEAP_EXACT); }

static pyprof_profile *heap_example(const char *name, int mode)
{
    recording r;
    recording_begin(&r, NULL);
    record_heap(&r, name, mode);
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    return profile;
}

static pyprof_profile *exact(void) { return heap_example(HOSTILE, PYPROF_HEAP_EXACT); }
static pyprof_profile *sampled(void) { return heap_example(HOSTILE, PYPROF_HEAP_SAMPLED); }

static pyprof_profile *without_heap(void)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "MainThread", 100);
    add_samples(&r, thread, add_frame(&r, thread_node(&r, thread), "a.py", "f", 1, 2), 10, 3, 0);
    return seal(&r, 0);
}

static int64_t total_of(const pyprof_profile *profile, int metric)
{
    pyprof_info info;
    CHECK_INT(pyprof_profile_info(profile, &info), PYPROF_OK);
    return info.total[metric];
}

// ---- golden files ----------------------------------------------------------------------------------------------------
TEST(golden_json) { golden("memory.json", sampled(), (pyprof_output){ .format = PYPROF_FORMAT_JSON }); }
TEST(golden_text) { golden("memory.txt", sampled(), (pyprof_output){ .format = PYPROF_FORMAT_TEXT }); }
TEST(golden_text_of_one_metric)
{
    golden("live.txt", exact(), (pyprof_output){ .format = PYPROF_FORMAT_TEXT, .metric = PYPROF_LIVE_BYTES });
    golden("temporary.txt", exact(), (pyprof_output){ .format = PYPROF_FORMAT_TEXT, .metric = PYPROF_TEMP_BLOCKS });
}
TEST(golden_folded)
{
    golden("live.folded", exact(), (pyprof_output){ .format = PYPROF_FORMAT_FOLDED, .metric = PYPROF_LIVE_BYTES, .split_threads = 1, .lines = 1 });
}
TEST(golden_speedscope)
{
    golden("memory.speedscope.json", exact(), (pyprof_output){ .format = PYPROF_FORMAT_SPEEDSCOPE, .metric = PYPROF_ALLOC_BYTES });
}
TEST(golden_pprof) { golden("memory.pb.gz", sampled(), (pyprof_output){ .format = PYPROF_FORMAT_PPROF, .metric = PYPROF_LIVE_BYTES }); }
TEST(golden_massif) { golden("memory.massif", exact(), (pyprof_output){ .format = PYPROF_FORMAT_MASSIF }); }
TEST(golden_dhat) { golden("memory.dhat.json", exact(), (pyprof_output){ .format = PYPROF_FORMAT_DHAT }); }
TEST(golden_table) { golden("memory.table.csv", exact(), (pyprof_output){ .format = PYPROF_FORMAT_TABLE, .metric = PYPROF_ALLOC_BYTES }); }
TEST(golden_openmetrics) { golden("memory.om.txt", sampled(), (pyprof_output){ .format = PYPROF_FORMAT_OPENMETRICS, .metric = PYPROF_LIVE_BYTES }); }
TEST(golden_pickle)
{
    pyprof_query workers = { .thread = "w*" };
    golden("worker.pkl", heap_example("worker", PYPROF_HEAP_EXACT), (pyprof_output){ .format = PYPROF_FORMAT_PICKLE, .filter = &workers });
    golden("worker-3.8.pkl", heap_example("worker", PYPROF_HEAP_SAMPLED),
           (pyprof_output){ .format = PYPROF_FORMAT_PICKLE, .filter = &workers, .python = 0x0308, .metric = PYPROF_PEAK_BYTES });
}

// ---- every format, every metric ----------------------------------------------------------------------------------------
TEST(folded_sums)
{
    pyprof_profile *profile = exact();
    for (int i = 0; i < MEMORY_METRICS; i++) {
        output_text out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_FOLDED, .metric = memory_metrics[i] });
        long long sum = 0;
        for (char *line = strtok(out.data, "\n"); line; line = strtok(NULL, "\n")) sum += atoll(strrchr(line, ' '));
        CHECK_INT(sum, total_of(profile, memory_metrics[i]));
    }
}

TEST(speedscope_sums)
{
    pyprof_profile *profile = sampled();
    for (int i = 0; i < MEMORY_METRICS; i++) {
        output_text out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_SPEEDSCOPE, .metric = memory_metrics[i] });
        int bytes = pyprof__metric_row(memory_metrics[i])->unit == PYPROF__UNIT_BYTES;
        long long sum = 0;
        CHECK(is_json(out.data));
        for (const char *at = out.data; (at = strstr(at, "\"endValue\": ")) != NULL;) sum += atoll(at += 12);
        CHECK_INT(sum, total_of(profile, memory_metrics[i]));
        CHECK(strstr(out.data, bytes ? "\"unit\": \"bytes\"" : "\"unit\": \"none\"") != NULL);
    }
}

TEST(svg_says_what_it_shows)
{
    pyprof_profile *profile = sampled();
    output_text out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_SVG, .metric = PYPROF_LIVE_BYTES });
    CHECK(strstr(out.data, "<title>host: live bytes (CPython 3.12.1)</title>") != NULL);
    CHECK(strstr(out.data, "live bytes; 0.1 s recorded, estimated from a sample every 512 KiB<") != NULL);
    CHECK(strstr(out.data, ">8.2 MiB live bytes in all<") != NULL);
    CHECK(strstr(out.data, "&lt;malloc&gt;\n6.0 MiB, 73.") != NULL);
    CHECK(!strstr(out.data, "% waiting") && !strstr(out.data, "name=\"show\""));
    out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_SVG, .metric = PYPROF_TEMP_BLOCKS, .title = "a title" });
    CHECK(strstr(out.data, "<title>a title</title>") != NULL);
    CHECK(strstr(out.data, "temporary blocks; 0.1 s recorded") != NULL);
    CHECK(strstr(out.data, ">1,412,345 temporary blocks in all<") != NULL);
    out = written(exact(), (pyprof_output){ .format = PYPROF_FORMAT_SVG, .metric = PYPROF_ALLOC_BYTES });
    CHECK(strstr(out.data, "allocated bytes; 0.1 s recorded, every block noted<") != NULL);
}

TEST(json_of_memory)
{
    const pyprof_query queries[] = { { 0 }, { .thread = "Main*" }, { .function = "parse" }, { .thread = "nobody" } };
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        output_text out = written(sampled(), (pyprof_output){ .format = PYPROF_FORMAT_JSON, .filter = &queries[i] });
        CHECK(is_json(out.data));
        CHECK(strstr(out.data, "\"memory\": {\"mode\": \"sampled\", \"interval_bytes\": 524288") != NULL);
        CHECK(strstr(out.data, "\"live_bytes\": [0,0,") != NULL);   // the column in the tree
        CHECK((strstr(out.data, "\"self_live_bytes\": 2280000") != NULL) == (i < 3));
    }
}

TEST(json_of_gauges_alone)
{
    recording r;
    recording_begin(&r, NULL);
    add_gauge(&r, 100, 5 * MIB, 0);
    output_text out = written_as(seal(&r, 0), PYPROF_FORMAT_JSON);
    CHECK(is_json(out.data));
    CHECK(strstr(out.data, "\"memory\": {\"mode\": \"off\",\n\"timeline\": [\n  [1700000000.350, 5242880, 0]]}") != NULL);
    CHECK(strstr(written_as(without_heap(), PYPROF_FORMAT_JSON).data, "\"memory\": {") == NULL);
}

TEST(waiting_takes_nothing_from_memory)   // node "start" waited all the time
{
    pyprof_query running = { .include_idle = 0 };
    for (int i = 0; i < MEMORY_METRICS; i++) {
        pyprof_output output = { .format = PYPROF_FORMAT_FOLDED, .metric = memory_metrics[i] };
        output_text all = written(exact(), output), some;
        output.filter = &running;
        some = written(exact(), output);
        CHECK_STR(some.data, all.data);
    }
}

TEST(columns_shorter_than_the_tree)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "t", 1), node = add_frame(&r, thread_node(&r, thread), "a.py", "first", 1, 2);
    add_blocks(&r, node, 100, 3, 2, 2);
    for (int i = 0; i < 5000; i++) node = add_frame(&r, thread_node(&r, thread), "b.py", "later", i + 10, i + 10);
    add_samples(&r, thread, node, 10, 1, 0);
    r.model.heap.mode = PYPROF_HEAP_EXACT;
    CHECK(r.model.columns[PYPROF_LIVE_BYTES].count < 10 && r.model.columns[PYPROF_SAMPLES].count > 5000);
    pyprof_profile *profile = seal(&r, 0);
    for (int format = PYPROF_FORMAT_JSON; format <= PYPROF_FORMAT_PICKLE; format++) {
        if (format > PYPROF_FORMAT_PPROF && format != PYPROF_FORMAT_PICKLE) continue;
        output_text out = written(profile, (pyprof_output){ .format = format, .metric = PYPROF_LIVE_BYTES });
        CHECK(out.size > 0);
    }
    CHECK_STR(written(profile, (pyprof_output){ .format = PYPROF_FORMAT_FOLDED, .metric = PYPROF_LIVE_BYTES }).data, "a.first 200\n");
}

// ---- what was not measured -------------------------------------------------------------------------------------------
TEST(metrics_that_were_not_measured)
{
    pyprof_profile *profile = without_heap();
    char path[] = "/tmp/pyprof-test-XXXXXX", file[64];
    CHECK(mkdtemp(path) != NULL);
    snprintf(file, sizeof file, "%s/x", path);
    for (int format = PYPROF_FORMAT_JSON; format <= PYPROF_FORMAT_PICKLE; format++) {
        if (format > PYPROF_FORMAT_PPROF && format != PYPROF_FORMAT_PICKLE) continue;
        for (int i = 0; i < MEMORY_METRICS; i++) {
            pyprof_output output = { .format = format, .metric = memory_metrics[i] };
            output_text out = { calloc(1, 1), 0 };
            CHECK_INT(pyprof_write(profile, &output, append, &out), PYPROF_ERR_UNSUPPORTED);
            CHECK(strstr(pyprof_last_error(), "memory was not tracked") != NULL);
            CHECK_INT(out.size, 0);
            CHECK_INT(pyprof_save(profile, file, &output), PYPROF_ERR_UNSUPPORTED);
            CHECK(access(file, F_OK) != 0);
        }
        pyprof_output output = { .format = format, .metric = PYPROF_GPU_NS };
        output_text out = { calloc(1, 1), 0 };
        CHECK_INT(pyprof_write(profile, &output, append, &out), PYPROF_ERR_UNSUPPORTED);
        CHECK_STR(pyprof_last_error(), "this recording has no GPU time");
    }
    snprintf(file, sizeof file, "%s/x.pkl", path);
    CHECK_INT(pyprof_save(profile, file, NULL), PYPROF_ERR_UNSUPPORTED);
    CHECK_STR(pyprof_last_error(), "this recording has no live bytes: memory was not tracked (pyprof_config.heap)");
    CHECK_INT(rmdir(path), 0);
}

TEST(tracked_but_nothing_there)   // no blocks: that is a result
{
    recording r;
    recording_begin(&r, NULL);
    r.model.heap.mode = PYPROF_HEAP_EXACT;
    pyprof_profile *profile = seal(&r, 0);
    for (int format = PYPROF_FORMAT_JSON; format <= PYPROF_FORMAT_PICKLE; format++) {
        if (format > PYPROF_FORMAT_PPROF && format != PYPROF_FORMAT_PICKLE) continue;
        output_text out = written(profile, (pyprof_output){ .format = format, .metric = PYPROF_LIVE_BYTES });
        CHECK(format == PYPROF_FORMAT_FOLDED ? out.size == 0 : out.size > 0);
    }
}

// ---- text ------------------------------------------------------------------------------------------------------------
TEST(text_is_harmless)
{
    const char *names[] = { HOSTILE, BROKEN };
    for (size_t i = 0; i < 2; i++)
        for (int metric = 0; metric < MEMORY_METRICS; metric++)
            check_harmless(written(heap_example(names[i], PYPROF_HEAP_SAMPLED), (pyprof_output){ .format = PYPROF_FORMAT_TEXT, .metric =
                                   memory_metrics[metric] }).data, 1);
}

TEST(text_says_what_is_missing)
{
    recording r;
    recording_begin(&r, NULL);
    record(&r, "w");
    r.model.stats.heap_dropped = 77;
    r.model.stats.heap_state = PYPROF_HEAP_STATE_LOST;
    snprintf(r.model.stats.degraded, sizeof r.model.stats.degraded, "for a reason");
    output_text out = written(seal(&r, 0), (pyprof_output){ .format = PYPROF_FORMAT_TEXT, .metric = PYPROF_PEAK_BYTES });
    CHECK(strstr(out.data, "no room to note 77 more blocks") && strstr(out.data, "replaced the hooks") && strstr(out.data, "Degraded: for a reason"));
    CHECK(strstr(out.data, "\nLines, by peak bytes\n") < strstr(out.data, "\nLines, by allocated bytes\n"));
    CHECK(strstr(out.data, "Threads\n") == NULL && strstr(out.data, "How good") == NULL);
}

TEST(no_memory_report_without_memory) { CHECK(strstr(written_as(without_heap(), PYPROF_FORMAT_TEXT).data, "Memory") == NULL); }

TEST(sizes_and_counts)
{
    const struct { double bytes; const char *want; } sizes[] = { { 0, "0 B" }, { 1023, "1023 B" }, { 1024, "1.0 KiB" }, { 1536 * 1024.0, "1.5 MiB" },
        { 5e9, "4.66 GiB" }, { 1e15, "909.49 TiB" }, { -2048, "-2.0 KiB" }, { 3e18, "2728484.11 TiB" } };
    const struct { int64_t count; const char *want; } counts[] = { { 0, "0" }, { 999, "999" }, { 1000, "1,000" }, { -999, "-999" }, { -1000, "-1,000" },
        { 1234567, "1,234,567" }, { INT64_MAX, "9,223,372,036,854,775,807" }, { INT64_MIN, "-9,223,372,036,854,775,808" } };
    char text[40];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) CHECK_STR(pyprof__size_text(text, sizeof text, sizes[i].bytes), sizes[i].want);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) CHECK_STR(pyprof__count_text(text, sizeof text, counts[i].count), counts[i].want);
}

TEST(square_roots)
{
    const double roots[] = { 1e-6, 0.5, 1, 3, 724.0773, 1e6, 1e15 };
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        double error = pyprof__sqrt(roots[i] * roots[i]) / roots[i] - 1;
        CHECK(error < 1e-9 && error > -1e-9);
    }
    CHECK(!(pyprof__sqrt(0) > 0) && !(pyprof__sqrt(-4) > 0));
}

// ---- pickle ----------------------------------------------------------------------------------------------------------
TEST(pickle_shares_traces_out)
{
    CHECK_INT(pyprof__pickle_traces(0, 5, 200000), 5);
    int64_t before = 0, traces = 0, all = 1000000, few = 0;
    for (int i = 0; before < all; i++) {
        int64_t blocks = i % 7 ? 100 : 1, some;
        if (blocks > all - before) blocks = all - before;
        some = pyprof__pickle_traces(before, blocks, all);
        CHECK(some >= 1 && some <= blocks && (blocks < 100 || (some >= 20 && some <= 21)));
        few += blocks == 1;
        before += blocks;
        traces += some;
    }
    CHECK(traces >= 200000 && traces <= 200000 + few);
    CHECK_INT(pyprof__pickle_traces(INT64_MAX / 2, INT64_MAX / 2, INT64_MAX), 100000);
}

// A trace is made once for each stack and size, and copied: wherever the buffer ends.
TEST(pickle_copies_traces)
{
    static const char trace[] = "(" "J" "rpyp" "K\x04" "j\x2c\x01\0\0" "K\x02" "t";
    enum { SIZE = sizeof trace - 1, TIMES = 9 };
    pyprof__sink *sink = calloc(1, sizeof *sink);
    for (size_t used = sizeof sink->buffer - 200; used < sizeof sink->buffer; used++) {
        output_text out = { calloc(1, 1), 0 };
        pyprof__sink_begin(sink, append, &out);
        pyprof__pickler p = { .sink = sink, .items = 4 };
        pyprof__pickled stack = { .kept = 301, .domain = PYPROF__PICKLE_NATIVE, .frames = 2 };
        sink->used = used;
        pyprof__pickle_traces_again(&p, &stack, 4, 0);
        pyprof__pickle_traces_again(&p, &stack, 4, TIMES);
        pyprof__flush(sink);
        CHECK_INT(out.size, used + TIMES * SIZE);
        for (size_t i = 0; i < TIMES; i++) CHECK(!memcmp(out.data + used + i * SIZE, trace, SIZE));
        free(out.data);
    }
    free(sink);
}

// Byte for byte what a trace of its own for each block would say
TEST(pickle_shares_bytes_out)
{
    pyprof__sink *sink = calloc(1, sizeof *sink);
    pyprof_profile *profile = exact();
    for (int64_t bytes = 0; bytes < 20; bytes++) {
        for (int64_t traces = 1; traces < 8; traces++) {
            output_text out = { calloc(1, 1), 0 };
            pyprof__pickler p = { .sink = sink, .profile = profile, .items = 3 };
            int64_t sum = 0, seen = 0;
            CHECK_INT(pyprof__cursor_begin(&p.cursor, profile), PYPROF_OK);
            pyprof__sink_begin(sink, append, &out);
            pyprof__pickle_stack(&p, 0, bytes, traces);
            pyprof__flush(sink);
            pyprof__cursor_end(&p.cursor);
            // Each starts with the domain and its size; it ends with a tuple of three.
            for (size_t i = 0; i + 4 < out.size; i++) {
                if (memcmp(out.data + i, "K\0K", 3) != 0 || (i && out.data[i - 1] != '\x87')) continue;
                int64_t size = out.data[i + 3];
                CHECK_INT(size, bytes / traces + (seen < bytes % traces));
                sum += size;
                seen++;
            }
            CHECK_INT(seen, traces);
            CHECK_INT(sum, bytes);
            free(out.data);
        }
    }
    free(sink);
}

TEST(pickle_rejects_unsupported_options)
{
    recording r;
    recording_begin(&r, NULL);
    record(&r, "w");
    pyprof_profile *profile = seal(&r, 0);
    const struct { pyprof_output output; int want; } cases[] = {
        { { .metric = PYPROF_TEMP_BLOCKS }, PYPROF_ERR_UNSUPPORTED }, { { .metric = PYPROF_WALL_NS }, PYPROF_ERR_UNSUPPORTED },
        { { .metric = PYPROF_LIVE_AGE_MS }, PYPROF_ERR_UNSUPPORTED }, { { .python = 0x0305 }, PYPROF_ERR_ARGUMENT },
        { { .python = 0x0207 }, PYPROF_ERR_ARGUMENT }, { { .python = 0x0400 }, PYPROF_ERR_ARGUMENT }, { { .python = -1 }, PYPROF_ERR_ARGUMENT },
        { { .python = 3 }, PYPROF_ERR_ARGUMENT },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pyprof_output output = cases[i].output;
        output_text out = { calloc(1, 1), 0 };
        output.format = PYPROF_FORMAT_PICKLE;
        CHECK_INT(pyprof_write(profile, &output, append, &out), cases[i].want);
        CHECK(pyprof_last_error()[0] && out.size == 0);
    }
    pyprof__model_add(&r.model, PYPROF_LIVE_BYTES, 3, -100000000);   // as comparisons have them
    output_text out = { calloc(1, 1), 0 };
    CHECK_INT(pyprof_write(seal(&r, 0), &(pyprof_output){ .format = PYPROF_FORMAT_PICKLE }, append, &out), PYPROF_ERR_UNSUPPORTED);
    CHECK(strstr(pyprof_last_error(), "negative") && out.size == 0);
}

// A million blocks of 50,000 stacks
TEST(pickle_of_a_million_blocks)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = thread_node(&r, add_thread(&r, "t", 1)), node = thread;
    for (int i = 0; i < 50000; i++) {
        char file[32];
        snprintf(file, sizeof file, "/srv/%d.py", i % 300);
        node = add_frame(&r, i % 20 ? node : thread, file, "f", i % 1000 + 1, i % 1000 + 2);
        add_blocks(&r, node, i, 30, 20, 20);
    }
    r.model.heap.mode = PYPROF_HEAP_EXACT;
    pyprof_profile *profile = seal(&r, 0);
    double start = test__now();
    output_text out = written_as(profile, PYPROF_FORMAT_PICKLE);
    double took = test__now() - start;
    printf("%.2f s, %zu bytes\n", took, out.size);
    CHECK(out.size > 1000000 && out.size < 20000000);
    CHECK(took < 2 * (getenv("TEST_SLOW") ? 10 : 1));
}

// ---- memory, output ----------------------------------------------------------------------------------------------------
TEST(each_allocation_fails)
{
    for (int format = PYPROF_FORMAT_JSON; format <= PYPROF_FORMAT_PICKLE; format++) {
        if (format > PYPROF_FORMAT_PPROF && format != PYPROF_FORMAT_PICKLE) continue;
        each_allocation_fails_once(record, (pyprof_output){ .format = format });
        each_allocation_fails_once(record, (pyprof_output){ .format = format, .metric = PYPROF_LIVE_BYTES });
    }
}

TEST(each_allocation_of_memory_formats_fails)
{
    static const int formats[] = { PYPROF_FORMAT_MASSIF, PYPROF_FORMAT_DHAT, PYPROF_FORMAT_TABLE };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        each_allocation_fails_once(record, (pyprof_output){ .format = formats[i], .metric = PYPROF_LIVE_BYTES });
}

TEST(the_same_twice)
{
    for (int format = PYPROF_FORMAT_JSON; format <= PYPROF_FORMAT_PICKLE; format++) {
        if (format > PYPROF_FORMAT_PPROF && format != PYPROF_FORMAT_PICKLE) continue;
        output_text one = written_as(exact(), format), two = written_as(exact(), format);
        CHECK(one.size == two.size && !memcmp(one.data, two.data, one.size));
    }
}

static output_text saved(const pyprof_profile *profile, const char *path, pyprof__contents *kept)
{
    pyprof_output text = { .metric = PYPROF_LIVE_BYTES };
    output_text out = { calloc(1, 100000), 0 };
    CHECK_INT(pyprof__save_path(profile, path, &text, kept), PYPROF_OK);
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    out.size = fread(out.data, 1, 99999, file);
    fclose(file);
    CHECK_INT(remove(path), 0);
    return out;
}

static pyprof__bool alike(output_text a, output_text b) { return a.size == b.size && !memcmp(a.data, b.data, a.size); }

// Another profile shows that the second file was not made anew.
TEST(a_second_file_with_the_same_contents)
{
    char dir[] = "/tmp/pyprof-test-XXXXXX", path[64];
    output_text first, second;
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/x.txt", dir);
    second = saved(exact(), path, NULL);
    for (int room = 1; room >= 0; room--) {
        pyprof__contents kept;
        pyprof__contents_init(&kept, sampled());
        if (!room) kept.pool.limit = 1000;   // not enough: it is made twice
        first = saved(sampled(), path, &kept);
        CHECK(first.size > 1000 && alike(first, saved(sampled(), path, NULL)) && !alike(first, second));
        CHECK(alike(saved(exact(), path, &kept), room ? first : second));
        pyprof__array_free(&kept.pool, &kept.bytes);
        CHECK_INT(kept.pool.used, 0);
    }
    CHECK_INT(rmdir(dir), 0);
}

TEST(folders_can_be_left_out)
{
    for (int paths = PYPROF_PATHS_FULL; paths <= PYPROF_PATHS_HASHED; paths++) {
        output_text out = written(exact(), (pyprof_output){ .format = PYPROF_FORMAT_PICKLE, .paths = paths });
        CHECK_INT(memmem(out.data, out.size, "/srv/", 5) != NULL, paths == PYPROF_PATHS_FULL);
    }
}

TEST_MAIN
