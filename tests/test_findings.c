// test_findings.c - the findings: recordings made by hand that meet a rule, and others that just do not.
#include "test.h"
#include "inside.h"
#include "model.h"

enum { RATE_MS = 10 };

// ---- recordings with one busy thread of 10 s --------------------------------------------------------------------------------
typedef struct { recording r; uint32_t thread, main; uint64_t at; } scene;

static void scene_begin(scene *s)
{
    recording_begin(&s->r, NULL);
    s->thread = add_thread(&s->r, "MainThread", 100);
    s->main = add_frame(&s->r, thread_node(&s->r, s->thread), "/srv/app/shop.py", "main", 20, 30);
    s->at = 10;
}

static void run(scene *s, uint32_t node, int samples)
{
    add_samples(&s->r, s->thread, node, s->at, samples, 0);
    s->at += 10 * (uint64_t)samples;
}

static uint32_t leaf(scene *s, uint32_t parent, const char *name, int kind)
{
    return pyprof__model_node(&s->r.model, parent, pyprof__model_pseudo(&s->r.model, name, (pyprof_kind)kind, 0));
}

// As the sampler counts samples in a state that waits; metric 0 = only waiting
static void wait_for(scene *s, uint32_t node, int samples, pyprof_metric metric)
{
    add_samples(&s->r, s->thread, node, s->at, samples, 1);
    if (metric) pyprof__model_add(&s->r.model, metric, node, samples * 10 * (int64_t)ms);
    s->at += 10 * (uint64_t)samples;
}

static pyprof_profile *scene_end(scene *s)
{
    pyprof_profile *profile = seal(&s->r, 0);
    CHECK(profile != NULL);
    recording_end(&s->r);
    return profile;
}

static const pyprof__finding *find(const pyprof__findings *f, int kind)
{
    for (size_t i = 0; i < f->found.count; i++)
        if (AT(pyprof__finding, f->found, i).kind == kind) return &AT(pyprof__finding, f->found, i);
    return NULL;
}

static void show(pyprof__findings *f)
{
    char text[2000];
    for (size_t i = 0; pyprof__verdict(f, i, text, sizeof text); i++) printf("%s\n", text);
    for (size_t i = 0; i < f->found.count; i++) {
        const pyprof__finding *one = &AT(pyprof__finding, f->found, i);
        printf("%s (%.3f): %s\n    %s\n    %s\n", pyprof__finding_names[one->kind], one->weight, one->title, one->evidence, one->advice);
    }
}

static void verdict_is(pyprof__findings *f, size_t i, const char *want)
{
    char text[2000];
    pyprof__verdict(f, i, text, sizeof text);
    CHECK_STR(text, want);
}

TEST(a_wait_for_a_peer_and_two_functions)
{
    scene s;
    pyprof__findings f;
    pyprof_profile *profile;
    const pyprof__finding *one;
    scene_begin(&s);
    uint32_t price = add_frame(&s.r, s.main, "/srv/app/shop.py", "price", 3, 5);
    uint32_t recv = add_frame(&s.r, price, "/usr/lib/python3.12/socket.py", "SocketIO.readinto", 700, 707);
    uint32_t unique = add_frame(&s.r, s.main, "/srv/app/shop.py", "unique", 8, 9);
    wait_for(&s, leaf(&s, recv, "[recv 127.0.0.1:45811]", PYPROF_KIND_WAIT), 830, 0);
    run(&s, unique, 42);
    run(&s, leaf(&s, s.main, "<native> zlib.compress", PYPROF_KIND_NATIVE), 36);
    run(&s, s.main, 92);
    profile = scene_end(&s);
    CHECK(pyprof__findings_make(&f, profile, NULL));
    show(&f);
    CHECK((one = find(&f, PYPROF_FINDING_PEER)) != NULL);
    CHECK_STR(one->title, "MainThread waits 83 % of its time for recv 127.0.0.1:45811 in price (shop.py:5)");
    CHECK_INT(one->line, 5);
    verdict_is(&f, 0, "MainThread 10.0 s: 83 % waiting for recv 127.0.0.1:45811 in price (shop.py:5); 17 % running: main :30 54 %, unique :9 25 %, zlib.compress 21 %.");
    pyprof__findings_free(&f);
    pyprof_profile_free(profile);
}

TEST_MAIN
