// The model: one node for each path, columns, the time line, windows of it, and what happens when memory runs out.
#include "test.h"
#include "inside.h"
#include "model.h"

static const pyprof__moment *moment(const recording *r, size_t i) { return pyprof__moment_at(&r->model, i); }
static size_t moments(const recording *r) { return r->model.moments.count; }

TEST(one_node_for_each_path)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t a = thread_node(&r, add_thread(&r, "same", 1)), b = thread_node(&r, add_thread(&r, "same", 2));
    CHECK(a != b);   // threads of equal names
    uint32_t x = add_frame(&r, a, "x.py", "f", 1, 2);
    CHECK_INT(add_frame(&r, a, "x.py", "f", 1, 2), x);
    CHECK(add_frame(&r, a, "x.py", "f", 1, 3) != x);
    CHECK(add_frame(&r, a, "y.py", "f", 1, 2) != x);
    CHECK(add_frame(&r, a, "x.py", "f", 2, 2) != x);
    CHECK(add_frame(&r, a, "x.py", "C.f", 1, 2) != x);
    CHECK(add_frame(&r, b, "x.py", "f", 1, 2) != x);
    CHECK(add_frame(&r, x, "x.py", "f", 1, 2) != x);
    CHECK_INT(r.model.nodes.count, 1 + 2 + 7);
    CHECK_INT(r.model.locations.count, 1 + 2 + 5);
    CHECK_INT(r.model.functions.count, 1 + 2 + 4);
    for (uint32_t i = 1; i < r.model.nodes.count; i++) CHECK(AT(pyprof__node, r.model.nodes, i).parent < i);
    recording_end(&r);
}

TEST(columns_are_as_long_as_they_must_be)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t a = add_frame(&r, 0, "x.py", "f", 1, 2);
    pyprof__model_add(&r.model, PYPROF_CPU_NS, a, 0);
    CHECK_INT(r.model.columns[PYPROF_CPU_NS].count, 0);   // 0 is nothing
    pyprof__model_add(&r.model, PYPROF_CPU_NS, a, 5);
    uint32_t b = add_frame(&r, a, "x.py", "g", 1, 2);
    CHECK_INT(pyprof__model_value(&r.model, PYPROF_CPU_NS, b), 0);
    pyprof__model_add(&r.model, PYPROF_CPU_NS, b, 7);
    pyprof__model_add(&r.model, PYPROF_CPU_NS, a, 1);
    CHECK_INT(pyprof__model_value(&r.model, PYPROF_CPU_NS, a), 6);
    CHECK_INT(pyprof__model_value(&r.model, PYPROF_CPU_NS, b), 7);
    CHECK_INT(pyprof__model_value(&r.model, PYPROF_WALL_NS, b), 0);
    recording_end(&r);
}

TEST(rows_of_metrics_agree)
{
    for (size_t i = 0; i < sizeof pyprof__metrics / sizeof *pyprof__metrics; i++) {
        const pyprof__metric *row = pyprof__metric_row(pyprof__metrics[i].metric);
        const pyprof__metric *whole = pyprof__metric_row(row->part_of), *pair = pyprof__metric_row(row->pair);
        CHECK_STR(pyprof__metrics[i].key, row->key);                    // one row each
        CHECK(row->metric > 0 && row->metric < PYPROF_METRIC_COUNT);
        for (size_t k = 0; k < i; k++) CHECK(strcmp(pyprof__metrics[k].key, row->key) && strcmp(pyprof__metrics[k].name, row->name));
        CHECK(!row->part_of == !whole && !row->pair == !pair);
        CHECK(!whole || (whole < row && whole->unit == row->unit));     // in front of its parts
        CHECK(!pair || (pair->pair == row->metric && pair->unit != row->unit && pair->from == row->from));
        CHECK(!row->state || row->from == PYPROF__FROM_SAMPLES);
        CHECK(!row->word || row->state);
        if (!row->state) continue;
        pyprof__moment moment = { .wall_ns = 7, .count = 2, .state = row->state };
        int64_t values[PYPROF_METRIC_COUNT];
        pyprof__moment_values(&moment, values);
        CHECK_INT(values[row->metric], row->unit == PYPROF__UNIT_NS ? 7 : 2);
    }
    CHECK(!pyprof__metric_row(0) && !pyprof__metric_row(-1) && !pyprof__metric_row(PYPROF_METRIC_COUNT));
}

TEST(paths_full_base_hashed)
{
    static const char *const want[] = { "/secret/app/x.py", "x.py", NULL };
    for (int paths = PYPROF_PATHS_FULL; paths <= PYPROF_PATHS_HASHED; paths++) {
        recording r;
        recording_begin(&r, NULL);
        r.model.paths = paths;
        const char *text = pyprof__string(&r.model.strings, pyprof__model_path(&r.model, "/secret/app/x.py"));
        if (want[paths]) CHECK_STR(text, want[paths]);
        else CHECK(strlen(text) == 19 && !strcmp(text + 16, ".py"));
        CHECK(pyprof__model_path(&r.model, "/other/app/y.py") != pyprof__model_path(&r.model, "/secret/app/x.py"));
        CHECK_STR(pyprof__string(&r.model.strings, pyprof__model_path(&r.model, "")), "");
        recording_end(&r);
    }
}

TEST(equal_samples_are_one_moment)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t a = add_thread(&r, "a", 1), b = add_thread(&r, "b", 2), x = add_frame(&r, thread_node(&r, a), "x.py", "f", 1, 2), y = add_frame(&r, thread_node(&r, b), "x.py", "f", 1, 2);
    for (uint64_t i = 0; i < 10; i++) add_samples(&r, a, x, 10 + 10 * i, 1, 0), add_samples(&r, b, y, 10 + 10 * i, 1, i >= 5);
    CHECK_INT(moments(&r), 3);
    CHECK_INT(moment(&r, 0)->count, 10);
    CHECK_INT(moment(&r, 0)->wall_ns, 100 * ms);
    CHECK_INT(moment(&r, 0)->end_ns - moment(&r, 0)->start_ns, 100 * ms);
    CHECK(moment(&r, 1)->thread == b && moment(&r, 1)->count == 5 && !moment(&r, 1)->state);
    CHECK(moment(&r, 2)->thread == b && moment(&r, 2)->count == 5 && moment(&r, 2)->state == PYPROF__IS_WAITING && moment(&r, 2)->wall_ns == 50 * ms);
    add_samples(&r, a, x, 200, 1, 0);   // after a gap
    CHECK_INT(moments(&r), 4);
    recording_end(&r);
}

TEST(time_line_drops_its_oldest_entries)
{
    recording r;
    recording_begin(&r, NULL);
    r.model.timeline_s = 1;
    uint32_t a = add_thread(&r, "a", 1), x[2];
    for (int i = 0; i < 2; i++) x[i] = add_frame(&r, thread_node(&r, a), "x.py", "f", 1, 2 + i);
    for (uint64_t i = 0; i < 10000; i++) add_samples(&r, a, x[i % 2], 10 + 10 * i, 1, 0);
    CHECK(moments(&r) >= 100 && moments(&r) <= 102);
    CHECK(r.model.moments.list.count <= 2);
    CHECK(moment(&r, 0)->end_ns + 1000 * ms >= r.model.last_ns);
    CHECK_INT(pyprof__model_value(&r.model, PYPROF_SAMPLES, x[0]), 5000);
    CHECK_INT(r.model.stats.timeline_dropped, 0);
    recording_end(&r);
}

TEST(no_time_line)
{
    recording r;
    recording_begin(&r, NULL);
    r.model.timeline_s = -1;
    uint32_t a = add_thread(&r, "a", 1);
    add_samples(&r, a, thread_node(&r, a), 10, 100, 0);
    CHECK_INT(moments(&r), 0);
    recording_end(&r);
}

TEST(tree_outlives_the_time_line)   // when memory is short
{
    recording r;
    recording_begin(&r, NULL);
    r.pool.limit = 200000;
    r.model.timeline_s = 1000;
    uint32_t a = add_thread(&r, "a", 1), x[2];
    for (int i = 0; i < 2; i++) x[i] = add_frame(&r, thread_node(&r, a), "x.py", "f", 1, 2 + i);
    for (uint64_t i = 0; i < 3000; i++) add_samples(&r, a, x[i % 2], 10 + 10 * i, 1, 0);
    CHECK(r.model.stats.timeline_dropped > 1000 && moments(&r) * sizeof(pyprof__moment) <= r.pool.limit / 4);
    CHECK_INT(pyprof__model_value(&r.model, PYPROF_SAMPLES, x[0]), 1500);
    CHECK(add_frame(&r, x[0], "new.py", "g", 1, 1) != (uint32_t)NONE);
    CHECK(r.pool.used <= r.pool.limit);
    recording_end(&r);
}

TEST(last_part_of_the_time_line)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t a = add_thread(&r, "a", 1), x = add_frame(&r, thread_node(&r, a), "x.py", "f", 1, 2), y = add_frame(&r, thread_node(&r, a), "x.py", "g", 5, 6);
    add_samples(&r, a, x, 10, 100, 0);     // the first second
    add_samples(&r, a, y, 1010, 50, 1);    // and half a second of waiting
    pyprof_profile *all = seal(&r, 0), *late = seal(&r, 250 * ms), *border = seal(&r, 750 * ms);
    CHECK_INT(pyprof__model_value(&all->model, PYPROF_SAMPLES, x), 100);
    CHECK_INT(pyprof__model_value(&late->model, PYPROF_SAMPLES, x), 0);
    CHECK_INT(pyprof__model_value(&late->model, PYPROF_SAMPLES, y), 25);
    CHECK_INT(pyprof__model_value(&late->model, PYPROF_WAIT_NS, y), 250 * ms);
    CHECK_INT(pyprof__model_value(&border->model, PYPROF_SAMPLES, x), 25);
    CHECK_INT(pyprof__model_value(&border->model, PYPROF_WALL_NS, x), 250 * ms);
    CHECK_INT(pyprof__model_value(&border->model, PYPROF_SAMPLES, y), 50);
    CHECK_INT(border->model.recorded_ns, 750 * ms);
    pyprof_profile_free(all), pyprof_profile_free(late), pyprof_profile_free(border);
    recording_end(&r);
}

TEST_MAIN
