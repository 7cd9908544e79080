// The writers, on recordings made by hand: byte for byte as in tests/golden (UPDATE_GOLDEN=1 rewrites those files), well
// formed whatever the names are, complete, the same in every locale, and whole or not at all when memory or output fails.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include "parsed.h"
#include <locale.h>

// Three threads, one of which only waits; recursion, equal names, a rejected sample, hostile names.
static void record(recording *r, const char *name)
{
    uint32_t main_thread = add_thread(r, "MainThread", 100), worker = add_thread(r, name, 101), idle = add_thread(r, "idle", 102);
    uint32_t top = add_frame(r, thread_node(r, main_thread), "/srv/app/main.py", "<module>", 1, 30);
    uint32_t run = add_frame(r, top, "/srv/app/main.py", "App.run", 10, 14);
    uint32_t fib = add_frame(r, run, "/srv/app/fib/__init__.py", "fib", 3, 5);
    uint32_t fib2 = add_frame(r, fib, "/srv/app/fib/__init__.py", "fib", 3, 5);
    uint32_t base = add_frame(r, fib2, "/srv/app/fib/__init__.py", "fib", 3, 4);
    uint32_t twin = add_frame(r, run, "/srv/other/main.py", "App.run", 70, 71);
    uint32_t start = add_frame(r, thread_node(r, worker), name, name, 7, 8);
    uint32_t lambda = add_frame(r, start, "/srv/app/main.py", "App.run.<locals>.<lambda>", 12, 12);
    uint32_t wait = add_frame(r, thread_node(r, idle), "/usr/lib/python3/threading.py", "Event.wait", 640, 655);
    add_samples(r, main_thread, run, 10, 3, 0);
    add_samples(r, worker, lambda, 10, 4, 0);
    add_samples(r, idle, wait, 10, 12, 1);
    add_samples(r, main_thread, base, 40, 5, 0);
    add_samples(r, main_thread, fib, 90, 1, 0);
    add_samples(r, worker, start, 50, 2, 1);
    add_samples(r, main_thread, twin, 100, 2, 0);
    add_values(r, pyprof__model_node(&r->model, thread_node(r, worker), pyprof__model_pseudo(&r->model, "<lost>", PYPROF_KIND_PSEUDO, 0)),
               0, 10 * (int64_t)ms, 0, 0);
    r->model.stats.asked += 3;
    r->model.stats.missed = 2;
    r->model.stats.rejected = r->model.stats.rejected_by_cause[PYPROF_CAUSE_MOVED] = 1;
    r->model.stats.late_max_ns = 123456;
    r->model.stats.late_mean_ns = 4567;
    r->model.stats.own_cpu_ns = 1500000;
    r->model.stats.own_bytes = 3 << 20;
    r->model.stats.interpreters = 1;
}

static pyprof_profile *example(const char *name)
{
    recording r;
    recording_begin(&r, NULL);
    record(&r, name);
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    return profile;
}

// ---- golden files ----------------------------------------------------------------------------------------------------
TEST(golden_json) { golden("example.json", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_JSON }); }
TEST(golden_text) { golden("example.txt", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_TEXT }); }
TEST(golden_svg) { golden("example.svg", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_SVG }); }
TEST(golden_folded) { golden("example.folded", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_FOLDED }); }
TEST(golden_speedscope) { golden("example.speedscope.json", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_SPEEDSCOPE }); }
TEST(golden_pstats) { golden("example.prof", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_PSTATS }); }
TEST(golden_callgrind) { golden("example.callgrind", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_CALLGRIND }); }
TEST(golden_perf) { golden("example.linux-perf.txt", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_PERF }); }
TEST(golden_table) { golden("example.table.csv", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_TABLE }); }
TEST(golden_lcov) { golden("example.info", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_LCOV }); }
TEST(golden_pprof) { golden("example.pb.gz", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_PPROF }); }
TEST(golden_otlp) { golden("example.otlp.pb", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_OTLP }); }
TEST(golden_openmetrics) { golden("example.om.txt", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_OPENMETRICS }); }
TEST(golden_perfetto) { golden("example.perfetto-trace", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_PERFETTO }); }
TEST(golden_folded_by_line_and_thread)
{
    pyprof_query main_only = { .thread = "Main*", .include_idle = 1 };
    golden("lines.folded", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_FOLDED, .split_threads = 1, .lines = 1 });
    golden("main.folded", example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_FOLDED, .metric = PYPROF_CPU_NS, .filter = &main_only });
}

TEST(the_same_twice)
{
    pyprof_profile *profile = example(HOSTILE);
    for (int format = 1; format < PYPROF_FORMAT_COUNT; format++) {
        output_text one = { calloc(1, 1), 0 }, two = { calloc(1, 1), 0 };
        pyprof_output output = { .format = format };
        pyprof_result result = pyprof_write(profile, &output, append, &one);
        CHECK(result == PYPROF_OK || (result == PYPROF_ERR_UNSUPPORTED && one.size == 0));
        CHECK_INT(pyprof_write(profile, &output, append, &two), result);
        CHECK(one.size == two.size && !memcmp(one.data, two.data, one.size));
    }
}

// ---- well formed -------------------------------------------------------------------------------------------------
TEST(the_json_checker_checks)
{
    CHECK(is_json("{\"a\": [1, -2.5e3, \"\\u00e9\\\\\", true], \"b\": {}, \"c\": []}\n"));
    const char *bad[] = { "", "[1,]", "[,1]", "[1 2]", "{\"a\"}", "{\"a\": }", "{,\"a\": 1}", "[\"\n\"]", "[\"\xff\"]", "[\"\\x\"]", "[1", "[1] 2" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(!is_json(bad[i]));
}

TEST(json_of_hostile_names) { check_json(example(HOSTILE), NULL); check_json(example(BROKEN), NULL); }

TEST(json_of_parts)
{
    pyprof_profile *profile = example("w");
    const pyprof_query queries[] = { { .thread = "idle" }, { .thread = "nobody" }, { .function = "*fib" }, { .file = "*main.py", .include_idle = 1 } };
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) check_json(profile, &queries[i]);
}

TEST(json_of_nothing)
{
    recording r;
    recording_begin(&r, NULL);
    check_json(seal(&r, 0), NULL);
}

TEST(json_without_the_first_thread)   // thread_filter left it out
{
    recording r;
    recording_begin(&r, NULL);
    record(&r, "w");
    AT(pyprof__recorded_thread, r.model.threads, 0).wanted = 0;
    check_json(seal(&r, 0), NULL);
}

TEST(json_of_rejected_samples_only)   // time, but no samples
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "t", 1);
    pyprof__model_add(&r.model, PYPROF_WALL_NS, thread_node(&r, thread), 5);
    check_json(seal(&r, 0), NULL);
}

TEST(hostile_names_stay_text)
{
    const char *names[] = { HOSTILE, BROKEN };
    for (size_t i = 0; i < 2; i++) {
        pyprof_profile *profile = example(names[i]), *plain = example("plain");
        for (int format = PYPROF_FORMAT_JSON; format <= PYPROF_FORMAT_SPEEDSCOPE; format++) {
            if (format == PYPROF_FORMAT_HTML || format == PYPROF_FORMAT_JSON || format == PYPROF_FORMAT_SPEEDSCOPE) continue;
            output_text out = written(profile, (pyprof_output){ .format = format, .split_threads = 1, .title = names[i] });
            check_harmless(out.data, 1);
        }
        CHECK_INT(occurrences(written_as(profile, PYPROF_FORMAT_JSON).data, "</"), 0);
        output_text svg = written_as(profile, PYPROF_FORMAT_SVG), plain_svg = written_as(plain, PYPROF_FORMAT_SVG);
        const char *marks[] = { "</script", "]]>", "<!--", "<g", "<rect" };
        for (size_t k = 0; k < 5; k++) CHECK_INT(occurrences(svg.data, marks[k]), occurrences(plain_svg.data, marks[k]));
    }
}

TEST(folded_lines)   // frame;frame COUNT, whatever the names are; all samples are there
{
    output_text out = written(example(HOSTILE), (pyprof_output){ .format = PYPROF_FORMAT_FOLDED, .split_threads = 1 });
    long sum = 0, lines = 0;
    for (char *line = strtok(out.data, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        const char *count = strrchr(line, ' ');
        CHECK(count && strspn(count + 1, "0123456789") == strlen(count + 1) && atol(count + 1) > 0);
        CHECK(occurrences(line, ";") <= 5);
        sum += atol(count + 1);
    }
    CHECK_INT(sum, 3 + 4 + 12 + 5 + 1 + 2 + 2);
    CHECK_INT(lines, 7);
}

TEST(speedscope_has_all_time)
{
    const pyprof_query all = { .include_idle = 1 };
    const pyprof_output outputs[] = { { .format = PYPROF_FORMAT_SPEEDSCOPE }, { .format = PYPROF_FORMAT_SPEEDSCOPE, .filter = &all } };
    for (size_t i = 0; i < 2; i++) {
        long long sum = 0, threads = 0;
        output_text out = written(example("w"), outputs[i]);
        for (const char *at = out.data; (at = strstr(at, "\"endValue\": ")) != NULL; threads++) sum += atoll(at += 12);
        CHECK_INT(sum, 300 * ms);   // 29 samples and the one that was lost
        CHECK_INT(threads, 3);
    }
}

// ---- gzip --------------------------------------------------------------------------------------------------------
static uint32_t crc_of(const unsigned char *data, size_t size)   // bit by bit, as in RFC 1952
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static uint32_t little(const unsigned char *data, int bytes) { return bytes ? data[0] | little(data + 1, bytes - 1) << 8 : 0; }

static void check_gzip(size_t size)
{
    unsigned char *data = malloc(size + 1), *at, last;
    output_text out = { calloc(1, 1), 0 }, plain = { calloc(1, 1), 0 };
    pyprof__sink *sink = calloc(1, sizeof *sink);
    pyprof__gzip *gzip = calloc(1, sizeof *gzip);
    for (size_t i = 0; i < size; i++) data[i] = (unsigned char)(i * i >> 3);
    sink->fn = append;
    sink->user = &out;
    pyprof__gzip_begin(gzip, sink);
    for (size_t i = 0, n; i < size; i += n) {   // in parts of growing sizes
        n = i < size - i ? i + 1 : size - i;
        pyprof__put_bytes(&gzip->in, data + i, n);
    }
    pyprof__gzip_end(gzip);
    pyprof__flush(sink);
    CHECK_INT(little((unsigned char *)out.data, 4), 0x00088b1f);   // deflate, no name, no extras
    at = (unsigned char *)out.data + 10;
    do {
        uint32_t length = little(at + 1, 2);
        last = *at;
        CHECK(last <= 1);   // a stored block
        CHECK_INT(length ^ little(at + 3, 2), 0xffff);
        append(&plain, at + 5, length);
        at += 5 + length;
    } while (!last);
    CHECK(plain.size == size && !memcmp(plain.data, data, size));
    CHECK_INT(little(at, 4), crc_of(data, size));
    CHECK_INT(little(at + 4, 4), size);
    CHECK_INT(at + 8 - (unsigned char *)out.data, out.size);
}

TEST(gzip_blocks)
{
    CHECK_INT(crc_of((const unsigned char *)"123456789", 9), 0xcbf43926);
    const size_t sizes[] = { 0, 1, 16384, 65534, 65535, 65536, 131070, 200000 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) check_gzip(sizes[i]);
}

// ---- locale, memory, output ----------------------------------------------------------------------------------------
TEST(outputs_are_the_same_in_every_locale)
{
    char dir[] = "/tmp/pyprof-test-XXXXXX", command[256];
    const char *codes = test_long() ? "UTF-8" : "ISO-8859-1";   // that of UTF-8 takes 2 s
    output_text before[PYPROF_FORMAT_COUNT], after;
    pyprof_profile *profile = example(HOSTILE);
    for (int f = PYPROF_FORMAT_JSON; f <= PYPROF_FORMAT_PPROF; f++) before[f] = written_as(profile, f);
    CHECK(mkdtemp(dir) != NULL);
    snprintf(command, sizeof command, "localedef -i de_DE -f %s %s/de_DE >%s/log 2>&1", codes, dir, dir);
    int made = system(command) == 0;
    setenv("LOCPATH", dir, 1);
    made = made && setlocale(LC_ALL, "de_DE") != NULL;
    snprintf(command, sizeof command, "rm -rf %s", dir);
    CHECK_INT(system(command), 0);
    if (!made) SKIP("localedef made no de_DE");
    snprintf(command, sizeof command, "%.1f", 0.5);
    CHECK_STR(command, "0,5");
    for (int f = PYPROF_FORMAT_JSON; f <= PYPROF_FORMAT_PPROF; f++) {
        after = written_as(profile, f);
        CHECK(after.size == before[f].size && !memcmp(after.data, before[f].data, after.size));
    }
}

TEST(json_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_JSON }); }
TEST(text_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_TEXT }); }
TEST(svg_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_SVG }); }
TEST(folded_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_FOLDED }); }
TEST(speedscope_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_SPEEDSCOPE }); }
TEST(pstats_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_PSTATS }); }
TEST(callgrind_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_CALLGRIND }); }
TEST(perf_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_PERF }); }
TEST(table_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_TABLE }); }
TEST(lcov_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_LCOV }); }
TEST(pprof_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_PPROF }); }
TEST(openmetrics_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_OPENMETRICS }); }
TEST(perfetto_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_PERFETTO }); }
TEST(otlp_without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_OTLP }); }
static int refuse(void *user, const void *data, size_t size) { return (void)data, (void)size, --*(int *)user < 0; }

TEST(a_callback_that_refuses)
{
    pyprof_profile *profile = example("w");
    for (int format = PYPROF_FORMAT_JSON; format <= PYPROF_FORMAT_PPROF; format++) {
        int left = 0;
        CHECK_INT(pyprof_write(profile, &(pyprof_output){ .format = format }, refuse, &left), PYPROF_ERR_IO);
        CHECK_INT(left, -1);   // it is not asked again
    }
}

TEST(folders_can_be_left_out)
{
    for (int format = PYPROF_FORMAT_JSON; format <= PYPROF_FORMAT_PPROF; format++) {
        for (int paths = PYPROF_PATHS_FULL; paths <= PYPROF_PATHS_HASHED; paths++) {
            output_text out = written(example("w"), (pyprof_output){ .format = format, .paths = paths });
            CHECK_INT(memmem(out.data, out.size, "/srv/", 5) != NULL, paths == PYPROF_PATHS_FULL);
        }
    }
}

TEST(formats_by_suffix)
{
    CHECK_INT(pyprof__format_by_suffix("a.speedscope.json"), PYPROF_FORMAT_SPEEDSCOPE);
    CHECK_INT(pyprof__format_by_suffix("a.b.json"), PYPROF_FORMAT_JSON);
    CHECK_INT(pyprof__format_by_suffix(".svg"), PYPROF_FORMAT_SVG);
    CHECK_INT(pyprof__format_by_suffix("a.pb.gz"), PYPROF_FORMAT_PPROF);
    CHECK_INT(pyprof__format_by_suffix("a.gz"), 0);
    CHECK_INT(pyprof__format_by_suffix("json"), 0);
    CHECK_INT(pyprof__format_by_suffix(""), 0);
}

TEST(save_and_write_reject_invalid_options)
{
    pyprof_profile *profile = example("w");
    const struct { pyprof_output output; int want; } cases[] = {
        { { .format = 99 }, PYPROF_ERR_FORMAT },
        { { .format = PYPROF_FORMAT_SVG, .metric = -1 }, PYPROF_ERR_ARGUMENT },
        { { .format = PYPROF_FORMAT_SVG, .metric = PYPROF_METRIC_COUNT }, PYPROF_ERR_ARGUMENT },
        { { .format = PYPROF_FORMAT_SVG, .metric = PYPROF_METRIC_COUNT + 1 }, PYPROF_ERR_ARGUMENT },
        { { .format = PYPROF_FORMAT_SVG, .paths = PYPROF_PATHS_HASHED + 1 }, PYPROF_ERR_ARGUMENT },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        output_text out = { calloc(1, 1), 0 };
        CHECK_INT(pyprof_write(profile, &cases[i].output, append, &out), cases[i].want);
        CHECK(pyprof_last_error()[0] && out.size == 0);
    }
}

TEST(plain_characters_are_replaced_by_no_rule)
{
    const pyprof__rule *rules[] = { &pyprof__as_it_is, &pyprof__as_text, &pyprof__as_folded, &pyprof__as_xml, &pyprof__as_json, &pyprof__as_page, &pyprof__as_comm,
                                    &pyprof__as_openmetrics, &pyprof__as_csv };
    int plain = 0;
    for (int c = -128; c < 128; c++) {
        if (!pyprof__is_plain((char)c)) continue;
        plain++;
        for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
            for (int next = 0; next < 128; next++) {
                char after[2] = { (char)next, 0 };
                CHECK(c > 0 && !strchr(rules[i]->from, c) && !rules[i]->is_unsafe((uint32_t)c, after));
            }
    }
    CHECK_INT(plain, 26 + 26 + 10 + 3);
}

TEST(stacks_longer_than_what_is_written_at_once)   // they are made of labels that are kept, and are kept themselves
{
    static char name[1000], label[1100];
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "t", 7), node = thread_node(&r, thread), depth = 0;
    for (int i = 0; i < 400; i++) {
        snprintf(name, sizeof name, "%03d%0900d", i, 0);
        node = add_frame(&r, node, "/a/x.py", name, 1, 2);
        if (i % 40 == 0) add_samples(&r, thread, node, 10 + 10 * (uint64_t)i, 1, 0);
    }
    output_text out = written(seal(&r, 0), (pyprof_output){ .format = PYPROF_FORMAT_JSON });
    const parsed *samples = get(parse(out.data), "samples");
    for (const parsed *one = samples->first; one; one = one->next, depth += 40) {
        uint32_t at = 0;
        for (const parsed *frame = get(one, "stack")->first; frame; frame = frame->next, at++) {
            snprintf(label, sizeof label, "x.%03u%0900d", (unsigned)at, 0);
            CHECK_STR(frame->text, label);
        }
        CHECK_INT(at, depth + 1);
    }
    CHECK_INT(depth, 400);
    recording_end(&r);
}

TEST_MAIN
