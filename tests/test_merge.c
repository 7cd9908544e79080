// Merged profiles, of recordings made by hand.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"

typedef struct { int64_t pid; const char *program; uint64_t native; int samples, extra; double offset; } variant;   // offset: of the clock, s

// MainThread: run > load, run > parse; a worker that waits; they compete for the GIL.
static void record(recording *r, const variant *v)
{
    uint32_t main_thread = add_thread(r, "MainThread", v->native), worker = add_thread(r, "worker", v->native + 1);
    uint32_t run = add_frame(r, thread_node(r, main_thread), "/srv/app.py", "App.run", 10, 14);
    uint32_t load = add_frame(r, run, "/srv/io.py", "load", 3, 5), wait = add_frame(r, thread_node(r, worker), "/srv/app.py", "App.wait", 70, 71);
    if (v->extra) add_samples(r, main_thread, add_frame(r, run, "/srv/app.py", "App.new", 50, 51), 200, v->extra, 0);
    add_samples(r, main_thread, load, 10, v->samples, 0);
    add_samples(r, worker, wait, 10, 4, 1);
    add_blocks(r, load, 100, 50, 30, 40);
    pyprof__model_add(&r->model, PYPROF_LIVE_DOUBT, load, 3000);
    r->model.heap.mode = PYPROF_HEAP_SAMPLED;
    r->model.heap.interval = 1000;
    r->model.heap.domains[PYPROF_DOMAIN_OBJ].live_bytes = 3000;
    r->model.heap.sizes[7] = 50;
    pyprof__rivals *pair = pyprof__push(&r->pool, &r->model.rivals);
    CHECK(pair);
    *pair = (pyprof__rivals){ main_thread, worker, 5 * ms };
    pyprof__recorded_thread *holder = &AT(pyprof__recorded_thread, r->model.threads, worker);
    holder->hold_ns = (uint64_t)v->samples * ms;
    holder->hold_end_ns = r->model.start_ns + 20 * ms;
    holder->hold_node = wait;
    CHECK(pyprof__model_waited(&r->model, wait, 7 * ms) && pyprof__model_waited(&r->model, wait, 2 * ms));
    add_gauge(r, 10, 1 << 20, 3000);
    r->model.stats.late_mean_ns = 1000;
    r->model.unix_offset += v->offset;
    AT(pyprof__recorded_process, r->model.processes, 0).pid = v->pid;
}

static pyprof_profile *profile_with(const variant *v, const pyprof_allocator *allocator)
{
    recording r;
    recording_begin(&r, allocator);
    record(&r, v);
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    if (profile) profile->program = pyprof__model_string(&profile->model, v->program);
    return profile;
}

static double distance(double x) { return x < 0 ? -x : x; }

static const variant three[] = { { 11, "web", 100, 5, 0, 0.5 }, { 12, "web", 200, 3, 2, 0.015 }, { 13, "job", 300, 7, 1, 1000 } };

static pyprof_profile *merged_of(const pyprof_profile *const *list, size_t count, int as_one)
{
    pyprof_profile *merged = NULL;
    CHECK_INT(pyprof_merge(list, count, &(pyprof_merge_options){ .as_one = as_one }, &merged), PYPROF_OK);
    return merged;
}

static pyprof_profile *some_merged(int as_one)
{
    const pyprof_profile *list[3];
    for (size_t i = 0; i < 3; i++) list[i] = profile_with(&three[i], NULL);
    return merged_of(list, 3, as_one);
}

static int64_t sum_of(const pyprof_profile *profile, int metric)
{
    int64_t sum = 0;
    for (size_t i = 0; i < profile->model.columns[metric].count; i++) sum += IN(int64_t, profile->model.columns[metric], i);
    return sum;
}

// Nodes are in order, everything refers to something, and each frame is below a thread.
static void check_whole(const pyprof_profile *profile, int processes)
{
    const pyprof__model *model = &profile->model;
    for (uint32_t i = 1; i < model->nodes.count; i++) {
        uint32_t parent = pyprof__parent_of(profile, i);
        int kind = pyprof__function_of(profile, i)->kind, above = pyprof__function_of(profile, parent)->kind;
        CHECK(parent < i);
        if (kind == PYPROF_KIND_PROCESS) CHECK(parent == 0 && processes);
        else if (kind == PYPROF_KIND_THREAD) CHECK(above == PYPROF_KIND_PROCESS && (parent != 0) == processes);
        else CHECK(above != PYPROF_KIND_PROCESS);
    }
    for (uint32_t i = 0; i < model->threads.count; i++) {
        const pyprof__recorded_thread *recorded = pyprof__recorded_of(profile, i);
        CHECK(recorded->process < model->processes.count && recorded->first_ns <= recorded->last_ns);
        CHECK_STR(pyprof__text(profile, pyprof__function_of(profile, recorded->node)->name), pyprof__text(profile, recorded->name));
        CHECK((pyprof__process_name(profile, recorded) != NULL) == processes);
    }
    for (size_t i = 0; i < model->moments.count; i++) {
        const pyprof__moment *moment = pyprof__moment_at(model, i);
        if (i) CHECK(moment[-1].start_ns <= moment->start_ns);
        uint32_t node = moment->node;
        while (pyprof__function_of(profile, node)->kind != PYPROF_KIND_THREAD) node = pyprof__parent_of(profile, node);
        CHECK_INT(node, pyprof__recorded_of(profile, moment->thread)->node);
        CHECK(moment->start_ns >= model->start_ns && moment->end_ns <= model->last_ns);
    }
}

TEST(values_add_up)
{
    const pyprof_profile *list[3], *turned[3];
    for (size_t i = 0; i < 3; i++) turned[2 - i] = list[i] = profile_with(&three[i], NULL);
    for (int as_one = 0; as_one < 2; as_one++) {
        pyprof_profile *merged = merged_of(list, 3, as_one), *other = merged_of(turned, 3, as_one);
        pyprof_info info;
        pyprof_stats stats;
        check_whole(merged, !as_one);
        check_whole(other, !as_one);
        for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) {
            int64_t want = 0;
            for (size_t i = 0; i < 3; i++) want += sum_of(list[i], metric);
            CHECK_INT(sum_of(merged, metric), want);
            CHECK_INT(sum_of(other, metric), want);
        }
        CHECK_INT(pyprof_profile_info(merged, &info), PYPROF_OK);
        CHECK(info.recordings == 3 && info.pid == 11 && info.threads == (as_one ? 2 : 6) && info.interpreters == 3);
        CHECK_STR(info.program, "web, job");
        CHECK_STR(info.python, "3.12.1");
        CHECK(info.domains[PYPROF_DOMAIN_OBJ].live_bytes == 9000 && info.sizes[7] == 150 && info.heap == PYPROF_HEAP_SAMPLED);
        CHECK_INT(pyprof_profile_stats(merged, &stats), PYPROF_OK);
        CHECK(stats.samples == 15 + 3 + 12 && stats.threads == 6 && stats.late_mean_ns == 1000);
        CHECK(strstr(stats.degraded, "no facts of the process") && strstr(stats.degraded, "growth of memory is unknown"));
        CHECK_INT(merged->model.moments.count, 3 * 2 + 2);   // equal samples are one moment
        CHECK(merged->model.gauges.count == 0 && merged->model.history.count == 0);
        CHECK_INT(merged->model.recorded_ns, other->model.recorded_ns);
        CHECK_INT(merged->model.rivals.count, as_one ? 1 : 3);
        CHECK_INT(AT(pyprof__rivals, merged->model.rivals, 0).ns, as_one ? 15 * ms : 5 * ms);
        CHECK_INT(merged->model.waited.count, as_one ? 1 : 3);
        CHECK(AT(pyprof__waited, merged->model.waited, 0).ns == (as_one ? 27 : 9) * ms && AT(pyprof__waited, merged->model.waited, 0).count == (as_one ? 6 : 2));
        CHECK_INT(pyprof__recorded_of(merged, 1)->hold_ns, (as_one ? 7 : 5) * ms);
        CHECK_STR(pyprof__text(merged, pyprof__function_of(merged, pyprof__recorded_of(merged, 1)->hold_node)->qualname), "App.wait");
    }
}

TEST(clocks_are_converted)
{
    pyprof_profile *merged = some_merged(0);
    const pyprof__recorded_thread *threads = merged->model.threads.data;
    // The second one began first; the third one 999.985 s after it.
    CHECK_INT(merged->model.start_ns, 5000 * ms);
    CHECK(distance(pyprof__unix(&merged->model, merged->model.start_ns) - 1700000000.265) < 1e-6);
    CHECK(llabs((int64_t)(threads[0].first_ns - 5485 * ms)) < 1000);
    CHECK_INT(threads[2].first_ns, 5000 * ms);
    CHECK(llabs((int64_t)(threads[4].first_ns - (5000 + 999985) * ms)) < 1000);
    CHECK(distance(pyprof__unix(&merged->model, threads[4].first_ns) - 1700001000.25) < 1e-6);
    // 50 ms, 210 ms (begun before it), 200 ms of the third: no second is counted twice
    int64_t recorded = (int64_t)merged->model.recorded_ns;
    int64_t want = 0;
    for (size_t i = 0; i < 3; i++) want += (int64_t)profile_with(&three[i], NULL)->model.recorded_ns;
    CHECK(recorded > 0 && recorded <= want);
    const pyprof_profile *same[2] = { profile_with(&three[0], NULL), profile_with(&three[0], NULL) };
    CHECK_INT(merged_of(same, 2, 0)->model.recorded_ns, same[0]->model.recorded_ns);   // side by side
}

TEST(each_recording_is_a_process)
{
    pyprof_profile *merged = some_merged(0);
    CHECK_INT(merged->model.processes.count, 3);
    CHECK_STR(pyprof__process_name(merged, pyprof__recorded_of(merged, 0)), "web (11)");
    CHECK_STR(pyprof__process_name(merged, pyprof__recorded_of(merged, 3)), "web (12)");
    CHECK_STR(pyprof__process_name(merged, pyprof__recorded_of(merged, 5)), "job (13)");
    const pyprof_profile *again[2] = { merged, profile_with(&three[0], NULL) };   // and the same pid again, as of another run
    merged = merged_of(again, 2, 0);
    check_whole(merged, 1);
    CHECK_INT(merged->model.processes.count, 4);
    CHECK_INT(merged->merged, 4);
    CHECK_STR(pyprof__process_name(merged, pyprof__recorded_of(merged, 5)), "job (13)");
    CHECK_STR(pyprof__process_name(merged, pyprof__recorded_of(merged, 7)), "web (11, 2)");
    const pyprof_profile *twice[2] = { merged, merged };
    pyprof_profile *double_merged = merged_of(twice, 2, 0);
    check_whole(double_merged, 1);
    CHECK_STR(pyprof__process_name(double_merged, pyprof__recorded_of(double_merged, 8)), "web (11, 3)");
    CHECK_STR(pyprof__process_name(double_merged, pyprof__recorded_of(double_merged, 15)), "web (11, 2, 2)");
    const pyprof__recorded_process *processes = merged->model.processes.data;
    CHECK(processes[0].node != processes[3].node && processes[0].pid == processes[3].pid);
    pyprof_profile *one = merged_of((const pyprof_profile *const[]){ merged }, 1, 1);   // now all as one
    check_whole(one, 0);
    CHECK(one->model.threads.count == 2 && one->model.processes.count == 1 && one->merged == 4);
    CHECK_INT(sum_of(one, PYPROF_WALL_NS), sum_of(merged, PYPROF_WALL_NS));
}

static const char *process_of_row(const pyprof_profile *profile, int group, const char *name)
{
    pyprof_row rows[40];
    size_t count, i;
    const char *process = "none";
    CHECK_INT(pyprof_top(profile, &(pyprof_query){ .group = group, .states = PYPROF_STATES_ALL }, rows, sizeof *rows, 40, &count), PYPROF_OK);
    for (i = 0; i < count; i++)
        if (strcmp(rows[i].qualname, name) == 0) process = rows[i].process;
    return process;
}

TEST(rows_tell_their_process)
{
    const pyprof_profile *two[2] = { profile_with(&three[0], NULL), profile_with(&three[1], NULL) };
    pyprof_profile *merged = merged_of(two, 2, 0);
    CHECK_STR(process_of_row(merged, PYPROF_GROUP_FUNCTION, "App.new"), "web (12)");
    CHECK_STR(process_of_row(merged, PYPROF_GROUP_FUNCTION, "load"), "");   // it is in both
    CHECK_STR(process_of_row(merged, PYPROF_GROUP_FILE, "/srv/io.py"), "");
    CHECK(process_of_row(two[1], PYPROF_GROUP_FUNCTION, "App.new") == NULL);
    CHECK(process_of_row(merged_of(two, 2, 1), PYPROF_GROUP_FUNCTION, "App.new") == NULL);
    CHECK_STR(process_of_row(merged, PYPROF_GROUP_THREAD, "worker"), "web (12)");   // the last of two rows
}

TEST(one_recording_gives_a_copy)
{
    pyprof_profile *profile = profile_with(&three[1], NULL), *copy = merged_of((const pyprof_profile *const[]){ profile }, 1, 0);
    CHECK(copy != profile);
    pyprof__child *child = pyprof__push(&profile->pool, &profile->children);
    CHECK(child);
    child->pid = 99;
    pyprof_profile *other = merged_of((const pyprof_profile *const[]){ profile }, 1, 0);
    CHECK_INT(other->children.count, 1);
    for (int format = 1; format < PYPROF_FORMAT_COUNT; format++) {
        output_text first = { calloc(1, 1), 0 }, second = { calloc(1, 1), 0 };
        pyprof_result result = pyprof_write(profile, &(pyprof_output){ .format = format }, append, &first);
        CHECK_INT(pyprof_write(other, &(pyprof_output){ .format = format }, append, &second), result);
        CHECK(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
    }
}

static int64_t total_in(const char *text)   // of folded stacks
{
    int64_t sum = 0;
    for (; *text; text = strchr(text, '\n') + 1) {
        const char *end = strchr(text, '\n');
        while (end[-1] != ' ') end--;
        sum += atoll(end);
    }
    return sum;
}

typedef struct { size_t threads, named, stacks; } seen_items;

static int look(void *user, const pyprof_item *item)
{
    seen_items *seen = (seen_items *)user;
    seen->threads += item->kind == PYPROF_ITEM_THREAD;
    seen->named += item->kind == PYPROF_ITEM_THREAD && item->thread->process;
    seen->stacks += item->kind == PYPROF_ITEM_STACK;
    for (size_t i = 0; i < item->depth; i++) CHECK(item->stack[i].kind == PYPROF_KIND_PYTHON);
    return 0;
}

TEST(every_output_knows_processes)
{
    for (int as_one = 0; as_one < 2; as_one++) {
        pyprof_profile *merged = some_merged(as_one);
        output_text out = written(merged, (pyprof_output){ .format = PYPROF_FORMAT_FOLDED, .filter = &(pyprof_query){ .include_idle = 1 } });
        CHECK_INT(occurrences(out.data, "web (11);"), as_one ? 0 : 2);
        CHECK_INT(total_in(out.data), sum_of(merged, PYPROF_SAMPLES));
        out = written_as(merged, PYPROF_FORMAT_JSON);
        CHECK(is_json(out.data));
        CHECK(strstr(out.data, "\"merged\": 3"));
        CHECK_INT(occurrences(out.data, "\"process\": 2"), as_one ? 0 : 2);
        CHECK(strstr(out.data, as_one ? "\"processes\": [{\"pid\": 11, \"started\": 0, \"node\": 0}]" : "{\"pid\": 12, \"started\": 0, \"node\": "));
        out = written_as(merged, PYPROF_FORMAT_TEXT);
        CHECK(strstr(out.data, "web, job, 3 recordings in one, CPython 3.12.1"));
        CHECK_INT(occurrences(out.data, "MainThread (300) of job (13)") > 0, !as_one);
        CHECK(!strstr(out.data, "leaks, and what may be caches"));
        out = written_as(merged, PYPROF_FORMAT_SPEEDSCOPE);
        CHECK(is_json(out.data));
        CHECK_INT(occurrences(out.data, "\"job (13): "), as_one ? 0 : 2);
        out = written_as(merged, PYPROF_FORMAT_SVG);
        CHECK((strstr(out.data, "job (13)") != NULL) == !as_one);
        seen_items seen = { 0, 0, 0 };
        CHECK_INT(pyprof_visit(merged, &(pyprof_query){ .include_idle = 1 }, look, &seen), PYPROF_OK);
        CHECK(seen.threads == (as_one ? 2 : 6) && seen.named == (as_one ? 0 : 6) && seen.stacks == (as_one ? 3 : 8));
        for (int group = PYPROF_GROUP_FUNCTION; group <= PYPROF_GROUP_LEAF; group++) {
            pyprof_row rows[16];
            size_t count;
            CHECK_INT(pyprof_top(merged, &(pyprof_query){ .group = group, .include_idle = 1 }, rows, sizeof *rows, 16, &count), PYPROF_OK);
            int64_t self = 0;
            for (size_t i = 0; i < count; i++) {
                CHECK(rows[i].kind != PYPROF_KIND_PROCESS);
                self += rows[i].self[PYPROF_SAMPLES];
                if (group != PYPROF_GROUP_THREAD) CHECK(rows[i].total[PYPROF_SAMPLES] >= rows[i].self[PYPROF_SAMPLES]);
            }
            if (group == PYPROF_GROUP_FILE) CHECK_INT(rows[0].total[PYPROF_SAMPLES] + rows[1].total[PYPROF_SAMPLES], 15 + 3 + 12 + 15);
            CHECK_INT(self, group == PYPROF_GROUP_LEAF ? 0 : sum_of(merged, PYPROF_SAMPLES));
        }
        size_t count;
        CHECK_INT(pyprof_leaks(merged, NULL, NULL, sizeof(pyprof_leak), 0, &count), PYPROF_ERR_STATE);
    }
}

TEST(merged_profiles_can_be_compared)
{
    for (int as_one = 0; as_one < 2; as_one++) {
        pyprof_profile *before = some_merged(as_one), *after = some_merged(as_one), *delta;
        for (int group = 0; group <= PYPROF_GROUP_THREAD; group++) {
            CHECK_INT(pyprof_diff(before, after, &(pyprof_diff_options){ .group = group }, &delta), PYPROF_OK);
            for (int metric = 1; metric < PYPROF_ALLOC_DOUBT; metric++)
                for (size_t i = 0; i < delta->model.columns[metric].count; i++) CHECK_INT(IN(int64_t, delta->model.columns[metric], i), 0);
            CHECK_INT(delta->model.threads.count, before->model.threads.count);
            check_whole(delta, 0);
        }
        const pyprof_profile *list[2] = { after, profile_with(&three[1], NULL) };
        CHECK_INT(pyprof_diff(before, merged_of(list, 2, as_one), NULL, &delta), PYPROF_OK);
        CHECK_INT(sum_of(delta, PYPROF_SAMPLES), sum_of(list[1], PYPROF_SAMPLES));
    }
}

static pyprof_profile *reloaded(const pyprof_profile *profile)
{
    char path[] = "/tmp/pyprof-merge-XXXXXX";
    int file = mkstemp(path);
    pyprof_profile *loaded = NULL;
    CHECK(file >= 0);
    CHECK_INT(close(file), 0);
    CHECK_INT(pyprof_save(profile, path, &(pyprof_output){ .format = PYPROF_FORMAT_JSON }), PYPROF_OK);
    pyprof_result result = pyprof_load(path, &loaded);
    if (result) printf("%s\n", pyprof_last_error());
    CHECK_INT(unlink(path), 0);
    CHECK_INT(result, PYPROF_OK);
    return loaded;
}

static void check_same(const pyprof_profile *one, const pyprof_profile *other)
{
    for (int format = 1; format < PYPROF_FORMAT_COUNT; format++) {
        output_text first = { calloc(1, 1), 0 }, second = { calloc(1, 1), 0 };
        pyprof_result result = pyprof_write(one, &(pyprof_output){ .format = format }, append, &first);
        CHECK_INT(pyprof_write(other, &(pyprof_output){ .format = format }, append, &second), result);
        if (first.size != second.size || memcmp(first.data, second.data, first.size)) printf("format %d\n", format);
        CHECK(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
    }
}

TEST(loaded_profiles_are_merged_and_compared_alike)
{
    const pyprof_profile *list[3], *loaded[3];
    pyprof_profile *delta, *other;
    for (size_t i = 0; i < 3; i++) {
        list[i] = profile_with(&three[i], NULL);
        loaded[i] = reloaded(list[i]);
    }
    for (int as_one = 0; as_one < 2; as_one++) {
        pyprof_profile *merged = merged_of(list, 3, as_one), *again = merged_of(loaded, 3, as_one);
        for (size_t i = 0; i < again->model.moments.count; i++) {   // a file has times to the microsecond
            const pyprof__moment *one = pyprof__moment_at(&merged->model, i), *two = pyprof__moment_at(&again->model, i);
            CHECK(llabs((int64_t)(one->start_ns - two->start_ns)) <= 2000 && one->node == two->node && one->thread == two->thread);
        }
        for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) CHECK_INT(sum_of(again, metric), sum_of(merged, metric));
        check_same(reloaded(merged), merged);
        CHECK_INT(pyprof_diff(merged, list[2], &(pyprof_diff_options){ .scale = 1 + as_one }, &delta), PYPROF_OK);
        check_same(reloaded(delta), delta);
        CHECK_INT(pyprof_diff(reloaded(merged), loaded[2], &(pyprof_diff_options){ .scale = 1 + as_one }, &other), PYPROF_OK);
        for (int metric = 1; metric < PYPROF_METRIC_COUNT; metric++) CHECK_INT(sum_of(delta, metric), sum_of(other, metric));
    }
}

TEST(what_a_merged_profile_does_not_know_is_told)
{
    variant quiet = three[0];
    pyprof_profile *list[2] = { profile_with(&three[1], NULL), profile_with(&quiet, NULL) };
    pyprof_stats stats;
    list[1]->model.heap.mode = PYPROF_HEAP_EXACT;
    list[1]->model.heap.interval = 0;
    list[0]->checkpoint = 17e8;
    strcpy(list[0]->model.stats.degraded, "slow");
    strcpy(list[1]->model.stats.degraded, "slow");
    pyprof_profile *merged = merged_of((const pyprof_profile *const *)list, 2, 0);
    pyprof_profile_stats(merged, &stats);
    CHECK(strstr(stats.degraded, "slow; memory is exact in some recordings, sampled in others; "));
    CHECK(occurrences(stats.degraded, "slow") == 1 && merged->model.heap.mode == PYPROF_HEAP_SAMPLED && merged->model.heap.interval == 1000);
    CHECK(merged->checkpoint > 0);
    list[1]->model.heap.mode = PYPROF_HEAP_OFF;
    pyprof_profile_stats(merged_of((const pyprof_profile *const *)list, 2, 0), &stats);
    CHECK(strstr(stats.degraded, "memory was tracked only in some"));
    list[1]->model.heap.mode = PYPROF_HEAP_SAMPLED;
    list[1]->model.heap.interval = 4000;
    merged = merged_of((const pyprof_profile *const *)list, 2, 1);
    CHECK(merged->model.heap.interval == 4000);
    CHECK_INT(sum_of(merged, PYPROF_LIVE_DOUBT), 3000 + 3000 / 4);
}

TEST(hostile_values_do_no_harm)
{
    pyprof_profile *list[2] = { profile_with(&three[0], NULL), profile_with(&three[1], NULL) };
    for (int i = 0; i < 2; i++) {
        pyprof__model *model = &list[i]->model;
        AT(pyprof__rivals, model->rivals, 0).holder = 77;
        MOMENT(*model, 0).thread = 99;
        AT(pyprof__waited, model->waited, 0).node = 1 << 30;
        AT(pyprof__recorded_thread, model->threads, 1).hold_node = 1 << 30;
        AT(pyprof__recorded_thread, model->threads, 0).process = 5;
        IN(int64_t, model->columns[PYPROF_WALL_NS], 2) = i ? -(1ll << 60) : 1ll << 60;
        list[i]->program = pyprof__model_string(model, HOSTILE);
        model->unix_offset = i ? 8e9 : -1e9;
    }
    for (int as_one = 0; as_one < 2; as_one++) {
        pyprof_profile *merged = merged_of((const pyprof_profile *const *)list, 2, as_one);
        for (int format = 1; format < PYPROF_FORMAT_COUNT; format++) {
            output_text out = { calloc(1, 1), 0 };
            if (pyprof_write(merged, &(pyprof_output){ .format = format }, append, &out) == PYPROF_OK && format == PYPROF_FORMAT_JSON) CHECK(is_json(out.data));
        }
        pyprof_profile_free(merged);
    }
}

TEST(merge_rejects_invalid_arguments)
{
    pyprof_profile *profile = profile_with(&three[0], NULL), *delta, *out = profile;
    CHECK_INT(pyprof_diff(profile, profile, NULL, &delta), PYPROF_OK);
    const pyprof_profile *with_null[] = { profile, NULL }, *with_diff[] = { profile, delta };
    CHECK_INT(pyprof_merge(with_null, 2, NULL, &out), PYPROF_ERR_ARGUMENT);
    CHECK(out == NULL && strstr(pyprof_last_error(), "profiles[1] is NULL"));
    CHECK_INT(pyprof_merge(with_diff, 2, NULL, &out), PYPROF_ERR_ARGUMENT);
    CHECK(strstr(pyprof_last_error(), "profiles[1] is a difference"));
    CHECK_INT(pyprof_merge(with_null, 0, NULL, &out), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_merge(NULL, 1, NULL, &out), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_merge(with_null, 1, NULL, NULL), PYPROF_ERR_ARGUMENT);
}

TEST(each_allocation_of_a_merge_fails_once)
{
    for (size_t count = 1; count <= 3; count++)
        for (int as_one = 0; as_one < 2; as_one++) {
            counting c;
            pyprof_allocator allocator = counting_allocator(&c);
            const pyprof_profile *list[3];
            pyprof_profile *merged = NULL;
            for (size_t i = 0; i < count; i++) list[i] = profile_with(&three[i], &allocator);
            pyprof_result result = PYPROF_OK;
            failures f = { &c, 0, 0 };
            while (fails_next(&f, result, 20)) {
                result = pyprof_merge(list, count, &(pyprof_merge_options){ .as_one = as_one }, &merged);
                CHECK((result == PYPROF_OK) == (merged != NULL));
                if (merged) pyprof_profile_free(merged);
            }
        }
}

TEST_MAIN
