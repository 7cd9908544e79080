// The page of the format .html: its data is whole and agrees with the model, foreign text is only ever data, a loaded recording
// makes the same file. What the page shows is tested in a browser: tests/html.mjs.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include "parsed.h"
#include "chance.h"
#include "big.h"

static output_text page_of(const pyprof_profile *profile) { return written_as(profile, PYPROF_FORMAT_HTML); }

static parsed *data_of(const pyprof_profile *profile)
{
    output_text data = html_data(page_of(profile));
    const char *at = data.data;
    CHECK(is_json(data.data) && strlen(data.data) == data.size);
    return parse_value(&at);
}


// The sum of a column, which is all values, or distances and values; their places must exist.
static long long column_sum(const parsed *column, long long nodes)
{
    long long sum = 0, at = 0;
    int sparse = column->first && column->first->type == '[';
    for (const parsed *gap = sparse ? column->first->first : NULL; gap; gap = gap->next) at += gap->integer;
    for (const parsed *value = sparse ? column->first->next->first : column->first; value; value = value->next) sum += value->integer;
    if (sparse) CHECK(at < nodes && column->first->count == column->first->next->count);
    else CHECK_INT(column->count, nodes);
    return sum;
}

static void check_columns(const parsed *columns, const pyprof_profile *profile, int earlier)
{
    long long nodes = (long long)profile->model.nodes.count;
    for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) {
        const pyprof__metric *row = pyprof__metric_row(metric);
        const parsed *column = has(columns, row->key) ? get(columns, row->key) : NULL;
        long long sum = 0;
        for (uint32_t i = 0; i < nodes; i++)
            sum += earlier ? pyprof__before_value(profile, metric, i) : pyprof__model_value(&profile->model, (pyprof_metric)metric, i);
        if (row->from == PYPROF__FROM_ESTIMATES) { CHECK(!column); continue; }
        if (column) CHECK_INT(column_sum(column, nodes), sum);
        else CHECK_INT(sum, 0);
    }
}

// Parents come before their children, frames and functions and strings exist, values are those of the model.
static void check_data(const pyprof_profile *profile)
{
    const parsed *data = data_of(profile), *tree = get(data, "tree"), *all = get(data, "functions"), *frames = get(data, "frames");
    size_t nodes = profile->model.nodes.count, i = 0;
    CHECK_STR(get(data, "format")->text, "pyprof-html");
    CHECK_INT(get(tree, "up")->count, nodes);
    for (const parsed *up = get(tree, "up")->first; up; up = up->next, i++) CHECK(i ? up->integer >= 1 && up->integer <= (long long)i : up->integer == 0);
    for (const parsed *frame = get(tree, "frame")->first; frame; frame = frame->next) CHECK(frame->integer >= 0 && frame->integer < (long long)get(frames, "line")->count);
    for (const parsed *f = get(frames, "function")->first; f; f = f->next) CHECK(f->integer >= 0 && f->integer < (long long)get(all, "kind")->count);
    const char *names[] = { "name", "qualname", "label", "file" };
    for (i = 0; i < 4; i++)
        for (const parsed *id = get(all, names[i])->first; id; id = id->next) CHECK(id->integer >= 0 && id->integer < (long long)get(data, "strings")->count);
    check_columns(get(tree, "self"), profile, 0);
    CHECK_INT(has(tree, "before"), profile->is_diff);
    if (profile->is_diff) check_columns(get(tree, "before"), profile, 1);
}

// ---- a recording by hand ---------------------------------------------------------------------------------------------
static void record(recording *r, const char *name)
{
    uint32_t main_thread = add_thread(r, "MainThread", 100), worker = add_thread(r, name, 101);
    uint32_t top = add_frame(r, thread_node(r, main_thread), "/srv/app/main.py", "<module>", 1, 30);
    uint32_t run = add_frame(r, top, "/usr/lib/python3.12/runpy.py", "run", 10, 14), hostile = add_frame(r, thread_node(r, worker), name, name, 7, 8);
    add_samples(r, main_thread, run, 10, 3, 0);
    add_samples(r, worker, hostile, 10, 4, 1);
    add_samples(r, main_thread, top, 60, 5, 0);
    r->model.stats.missed = 2;
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

TEST(golden_data) { same_as_golden("example.html.json", html_data(page_of(example(HOSTILE)))); }

TEST(the_page_is_whole)
{
    output_text page = page_of(example("w"));
    CHECK(!strncmp(page.data, "<!DOCTYPE html>", 15) && strlen(page.data) == page.size);
    CHECK(page.size > 8 && !strcmp(page.data + page.size - 8, "</html>\n"));
    CHECK_INT(occurrences(page.data, "<script"), 2);   // the data, and the page's own
    CHECK_INT(occurrences(page.data, "</script>"), 2);
    CHECK(strstr(page.data, "default-src 'none'") && !strstr(page.data, "unsafe-inline") && !strstr(page.data, "innerHTML"));
    const char *loads[] = { "src=\"", "@import", "url(", "fetch(", "XMLHttpRequest", "<link", "import(", "WebSocket" };
    for (size_t i = 0; i < COUNT(loads); i++) CHECK_INT(occurrences(page.data, loads[i]), 0);
}

TEST(data_agree_with_the_model)
{
    for (uint64_t number = 0; number < 8; number++) {
        pyprof_profile *profile = some_profile(number);
        check_data(profile);
        pyprof_profile_free(profile);
    }
    recording r;
    recording_begin(&r, NULL);   // nothing
    check_data(seal(&r, 0));
}

TEST(differences_have_both_sides)
{
    for (uint64_t number = 0; number < 8; number += 2) {
        pyprof_profile *before = some_profile(number), *after = some_profile(number + 1), *delta;
        CHECK_INT(pyprof_diff(before, after, NULL, &delta), PYPROF_OK);
        check_data(delta);
        CHECK_INT(get(data_of(delta), "diff")->integer, 1);
        CHECK_INT(get(data_of(delta), "compared")->count, 2);
    }
}

TEST(foreign_text_is_only_data)
{
    const char *names[] = { HOSTILE, BROKEN, "</script><script>alert(1)</script>", "<!--<script>", "\xe2\x80\xa8\xe2\x80\xa9" };
    output_text plain = page_of(example("plain"));
    for (size_t i = 0; i < COUNT(names); i++) {
        pyprof_profile *profile = example(names[i]);
        output_text page = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_HTML, .title = names[i] }), data;
        CHECK_INT(occurrences(page.data, "<"), occurrences(plain.data, "<"));
        data = html_data(page);
        CHECK(is_json(data.data) && !strpbrk(data.data, "<>&") && !strstr(data.data, "\xe2\x80\xa8") && !strstr(data.data, "\xe2\x80\xa9"));
        if (i != 1) CHECK_STR(get(data_of(profile), "threads")->first->next->first->text, pyprof__text(profile, AT(pyprof__recorded_thread, profile->model.threads, 1).name));
    }
}

TEST(a_loaded_recording_makes_the_same_page)
{
    char path[] = "/tmp/pyprof-html-XXXXXX.json";
    int fd = mkstemps(path, 5);
    CHECK(fd >= 0 && close(fd) == 0);
    for (uint64_t number = 0; number < 8; number++) {
        pyprof_profile *profile = some_profile(number), *loaded;
        CHECK_INT(pyprof_save(profile, path, NULL), PYPROF_OK);
        CHECK_INT(pyprof_load(path, &loaded), PYPROF_OK);
        output_text one = page_of(profile), two = page_of(loaded), again = page_of(profile);
        CHECK(one.size == two.size && !memcmp(one.data, two.data, one.size));
        CHECK(one.size == again.size && !memcmp(one.data, again.data, one.size));
        pyprof_profile_free(loaded);
        pyprof_profile_free(profile);
    }
    CHECK_INT(remove(path), 0);
}

TEST(without_memory) { each_allocation_fails_once(record, (pyprof_output){ .format = PYPROF_FORMAT_HTML }); }

// ---- a long recording: its time line is thinned, its sum stays ---------------------------------------------------------
static void check_big(uint32_t stacks, uint32_t moments)
{
    recording r;
    recording_begin(&r, NULL);
    CHECK(big_fill(&r.model, stacks, moments, 1));
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    output_text page = page_of(profile);
    CHECK(page.size < (10u << 20));
    const parsed *data = data_of(profile), *line = get(data, "timeline");
    long long wall = 0, entries = 0, want = 0;
    for (const parsed *lane = get(line, "lanes")->first; lane; lane = lane->next) {
        const parsed *more = get(lane, "wall_more"), *span = get(lane, "span")->first;
        for (; span; span = span->next, entries++) wall += span->integer;
        for (const parsed *one = more->first->next->first; one; one = one->next) wall += one->integer;
    }
    for (uint32_t i = 0; i < profile->model.moments.count; i++) want += (long long)pyprof__moment_at(&profile->model, i)->wall_ns / 1000;
    CHECK_INT(wall, want);
    CHECK(entries <= PYPROF__PAGE_MOMENTS + BIG_THREADS);
    CHECK_INT(get(line, "step")->integer, (long long)profile->model.moments.count / PYPROF__PAGE_MOMENTS + 1);
    CHECK(get(line, "step")->integer > 1);
}
TEST(a_long_time_line_is_thinned) { check_big(800, 2 * PYPROF__PAGE_MOMENTS + 8); }
TEST(a_million_samples_are_ten_megabytes_at_most)
{
    if (!test_long()) SKIP("TEST_LONG");
    check_big(50000, 1000000);
}

TEST_MAIN
