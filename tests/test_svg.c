// The flame graph: the values of its frames in all choices, folded imports, whose code a file is, what is too narrow. The
// script is driven by tests/svg.mjs, in a browser.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"

// ---- reading a picture ------------------------------------------------------------------------------------------------
typedef struct { char name[200]; long long v[8]; double x, width; int y, off; char fill[8]; } frame;
typedef struct { frame *frames; int count; output_text out; } picture;

static double attribute(const char *in, const char *name)
{
    char key[40];
    snprintf(key, sizeof key, " %s=\"", name);
    const char *at = strstr(in, key);
    CHECK(at != NULL);
    return strtod(at + strlen(key), NULL);
}

static picture read_picture(const pyprof_profile *profile, pyprof_output output)
{
    output.format = PYPROF_FORMAT_SVG;
    picture p = { calloc(4000, sizeof *p.frames), 0, written(profile, output) };
    for (char *at = strstr(p.out.data, "<svg class=\"frames\""); (at = strstr(at, "<g")) && at < strstr(p.out.data, "<g class=\"foot\"");) {
        frame *f = &p.frames[p.count++];
        char *values = strstr(at, "data-v=\"") + 8;
        const char *name = strstr(at, "<title>") + 7, *rect = strstr(at, "<rect");
        f->off = !strncmp(at, "<g class=\"off\"", 14);
        snprintf(f->name, sizeof f->name, "%.*s", (int)(strchr(name, '\n') - name), name);
        for (int i = 0; *values != '"'; values += *values == ',', i++) { CHECK(i < 8); f->v[i] = strtoll(values, &values, 10); }
        f->x = attribute(rect, "x");
        f->y = (int)attribute(rect, "y");
        f->width = attribute(rect, "width");
        snprintf(f->fill, sizeof f->fill, "%.7s", strstr(rect, "fill=\"") + 6);
        at += 2;
        CHECK(p.count < 4000);
    }
    return p;
}

static const frame *named(const picture *p, const char *name)
{
    for (int i = 0; i < p->count; i++) if (!strcmp(p->frames[i].name, name)) return &p->frames[i];
    printf("no frame %s\n", name);
    CHECK(!"the frame");
    return NULL;
}

// Own values add up to the root's in each column; children lie inside their parents, with widths as their values are.
static void check_picture(const picture *p, int columns, unsigned shown)
{
    long long all = 0;
    for (int c = 0; c < columns; c++) {
        long long self = 0;
        for (int i = 0; i < p->count; i++) self += p->frames[i].v[columns + c];
        CHECK_INT(self, p->frames[0].v[c]);
        if (shown >> c & 1) all += p->frames[0].v[c];
    }
    for (int i = 1; i < p->count; i++) {
        const frame *f = &p->frames[i], *parent = f;
        long long value = 0;
        while (parent->y != f->y + 18) parent--;
        for (int c = 0; c < columns; c++) {
            if (shown >> c & 1) value += f->v[c];
            CHECK(f->v[c] <= parent->v[c]);
        }
        CHECK_INT(f->off, value == 0);
        double wanted = 100.0 * (double)value / (double)all;
        CHECK(f->width > wanted - 1e-6 && f->width < wanted + 1e-6);
        CHECK(f->off || (f->x > parent->x - 2e-6 && f->x + f->width < parent->x + parent->width + 2e-6));
    }
}

// ---- choices ------------------------------------------------------------------------------------------------------------
static void add_state(recording *r, uint32_t node, int64_t wall, int64_t wait, int64_t idle)   // ms
{
    pyprof__model_add(&r->model, PYPROF_WALL_NS, node, wall * (int64_t)ms);
    pyprof__model_add(&r->model, PYPROF_WAIT_NS, node, wait * (int64_t)ms);
    pyprof__model_add(&r->model, PYPROF_IDLE_NS, node, idle * (int64_t)ms);
    pyprof__model_add(&r->model, PYPROF_SAMPLES, node, wall / 10);
    pyprof__model_add(&r->model, PYPROF_WAIT_SAMPLES, node, wait / 10);
}

static pyprof_profile *states(void)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t thread = add_thread(&r, "MainThread", 100), poller = add_thread(&r, "poller", 101);
    uint32_t top = add_frame(&r, thread_node(&r, thread), "/srv/app/main.py", "main", 1, 3), work = add_frame(&r, top, "/srv/app/work.py", "work", 5, 7);
    uint32_t poll = add_frame(&r, thread_node(&r, poller), "/usr/lib/python3.12/selectors.py", "select", 400, 415);
    add_state(&r, top, 100, 0, 0);
    add_state(&r, work, 300, 100, 0);
    add_state(&r, pyprof__model_node(&r.model, work, pyprof__model_pseudo(&r.model, "[GIL]", PYPROF_KIND_WAIT, 0)), 200, 200, 0);
    add_state(&r, pyprof__model_node(&r.model, poll, pyprof__model_pseudo(&r.model, "[poll 3 fds]", PYPROF_KIND_WAIT, 0)), 400, 400, 400);
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    return profile;
}

TEST(idle_is_out_and_waiting_is_kept)
{
    picture p = read_picture(states(), (pyprof_output){ 0 });
    check_picture(&p, 3, 3);
    const frame *all = p.frames, *work = named(&p, "work.work"), *poll = named(&p, "[poll 3 fds]");
    CHECK_INT(all->v[0], 300 * (long long)ms);
    CHECK_INT(all->v[1], 300 * (long long)ms);
    CHECK_INT(all->v[2], 400 * (long long)ms);
    CHECK_INT(work->v[0], 200 * (long long)ms);
    CHECK_INT(work->v[1], 300 * (long long)ms);
    CHECK_INT(work->v[3 + 1], 100 * (long long)ms);
    CHECK(poll->off && poll->v[2] == 400 * (long long)ms);
    CHECK(strstr(p.out.data, "0.40 thread-seconds of waiting for work left out") != NULL);
    CHECK(strstr(p.out.data, ">600.00 ms wall time in all<") != NULL);
    CHECK(strstr(p.out.data, "work.work\n500.00 ms, 83.33% of all; self 300.00 ms, 50.00%; 40.0% Python, 60.0% waiting\n") != NULL);
    CHECK_INT(occurrences(p.out.data, "name=\"show\""), 4);
}

TEST(idle_time_on_request)
{
    const pyprof_query everything = { .include_idle = 1 };
    picture p = read_picture(states(), (pyprof_output){ .filter = &everything });
    check_picture(&p, 3, 7);
    CHECK(strstr(p.out.data, "left out") == NULL);
    CHECK(strstr(p.out.data, ">1.00 s wall time in all<") != NULL);
    CHECK(strstr(p.out.data, "[poll 3 fds]\n400.00 ms, 40.00% of all; self 400.00 ms, 40.00%; 100.0% idle\n") != NULL);
}

TEST(other_metrics_have_one_choice)
{
    picture p = read_picture(states(), (pyprof_output){ .metric = PYPROF_WAIT_NS });
    check_picture(&p, 1, 1);
    CHECK_INT(occurrences(p.out.data, "name=\"show\""), 0);
}

// ---- imports ------------------------------------------------------------------------------------------------------------
static uint32_t add_pseudo(recording *r, uint32_t parent, const char *name, pyprof_kind kind)
{
    return pyprof__model_node(&r->model, parent, pyprof__model_pseudo(&r->model, name, kind, 0));
}

static pyprof_profile *imports(void)
{
    static const char bootstrap[] = "<frozen importlib._bootstrap>", external[] = "<frozen importlib._bootstrap_external>";
    recording r;
    recording_begin(&r, NULL);
    uint32_t at = add_frame(&r, thread_node(&r, add_thread(&r, "MainThread", 100)), "/srv/main.py", "<module>", 1, 3), node;
    for (int i = 0; i < 2; i++) {
        node = add_frame(&r, add_pseudo(&r, at, i ? "<import b>" : "<import a>", PYPROF_KIND_PSEUDO), bootstrap, "_find_and_load", 1, 2);
        add_values(&r, node, 1, 10 * (int64_t)ms, 0, 0);
        node = add_frame(&r, node, bootstrap, "_load_unlocked", 5, 6);
        node = add_frame(&r, node, external, "SourceLoader.exec_module", 8, 9);
        add_values(&r, add_pseudo(&r, node, "[read file a.pyc]", PYPROF_KIND_WAIT), 2, 20 * (int64_t)ms, 0, 1);
        add_values(&r, add_frame(&r, node, external, "SourceLoader.get_code", 11, 12), 3, 30 * (int64_t)ms, 0, 0);
        at = add_frame(&r, add_frame(&r, node, bootstrap, "_call_with_frames_removed", 20, 21), i ? "/srv/b.py" : "/srv/a.py", "<module>", 1, 2);
        add_values(&r, at, 4, 40 * (int64_t)ms, 0, 0);
    }
    add_values(&r, add_frame(&r, at, bootstrap, "_handle_fromlist", 30, 31), 1, 5 * (int64_t)ms, 0, 0);   // no import is above it
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    return profile;
}

TEST(importlib_folds_below_an_import)
{
    pyprof_profile *profile = imports();
    for (int lines = 0; lines < 2; lines++) {
        picture p = read_picture(profile, (pyprof_output){ .lines = lines });
        check_picture(&p, 3, 3);
        CHECK_INT(p.frames[0].v[0] + p.frames[0].v[1], 205 * (long long)ms);
        const frame *a = named(&p, "&lt;import a&gt;"), *b = named(&p, "&lt;import b&gt;");
        CHECK_INT(a->v[0], 165 * (long long)ms);
        CHECK_INT(a->v[1], 40 * (long long)ms);
        CHECK_INT(a->v[3], 40 * (long long)ms);   // of its own: what the folded frames had
        CHECK_INT(b->v[3], 40 * (long long)ms);
        named(&p, lines ? "&lt;frozen importlib._bootstrap&gt;._handle_fromlist:31" : "&lt;frozen importlib._bootstrap&gt;._handle_fromlist");
        CHECK_INT(p.count, 9);   // all, main, 2 x (import, read, module), _handle_fromlist
    }
}

// ---- whose code ---------------------------------------------------------------------------------------------------------
TEST(origins)
{
    enum { UNKNOWN = PYPROF__ORIGIN_UNKNOWN, OWN = PYPROF__ORIGIN_OWN, PACKAGE = PYPROF__ORIGIN_PACKAGE, LIBRARY = PYPROF__ORIGIN_LIBRARY };
    static const struct { const char *file; int origin; } cases[] = {
        { "", UNKNOWN }, { "app.py", OWN }, { "./lib/app.py", OWN }, { "/srv/app/main.py", OWN }, { "/srv/python/tool.py", OWN },
        { "/usr/lib/python3.11/json/decoder.py", LIBRARY }, { "/usr/lib64/python3.6/os.py", LIBRARY }, { "lib/python3.9/os.py", LIBRARY },
        { "/usr/local/lib/python2.7/threading.py", LIBRARY }, { "/opt/py/lib/python3.13t/threading.py", LIBRARY }, { "/opt/pypy/lib/pypy3.10/ast.py", LIBRARY },
        { "/opt/pyenv/versions/3.12.1/lib/python3.12/asyncio/events.py", LIBRARY }, { "/usr/lib/python3/threading.py", LIBRARY },
        { "/usr/lib/python3.11/lib-dynload/_x.py", LIBRARY }, { "/usr/lib/python312.zip/json/__init__.py", LIBRARY },
        { "/tmp/_MEI12/base_library.zip/codecs.py", LIBRARY }, { "<frozen importlib._bootstrap>", LIBRARY }, { "<frozen runpy>", LIBRARY },
        { "/venv/lib/python3.12/site-packages/requests/api.py", PACKAGE }, { "/usr/lib/python3/dist-packages/apt/cache.py", PACKAGE },
        { "~/.local/lib/python3.11/site-packages/numpy/core.py", PACKAGE }, { "/venv/lib/python3.12/site-packages/six.py", PACKAGE },
        { "/venv/lib/python3.12/site-packages/x.egg/x/__init__.py", PACKAGE }, { "/opt/things/y.egg/y/__init__.py", PACKAGE },
        { "/srv/wheels/z-1.0.whl/z/a.py", PACKAGE }, { "__pypackages__/3.11/lib/z.py", PACKAGE }, { "site-packages/z.py", PACKAGE },
        { "C:\\Python312\\Lib\\json\\decoder.py", LIBRARY }, { "C:\\Python312\\Lib\\site-packages\\flask\\app.py", PACKAGE },
        { "C:\\Users\\me\\app\\main.py", OWN }, { "C:\\Python312\\python312.zip\\os.py", LIBRARY }, { "/srv/Lib/app.py", OWN },
        { "<string>", OWN }, { "<stdin>", OWN }, { "<ipython-input-1-abc>", OWN }, { "/srv/app.pyz/app/__main__.py", OWN },
        { "/srv/python3.11/app.py", OWN }, { "/srv/site-packages", OWN }, { "/srv/lib/python.py", OWN }, { "/", OWN }, { "//", OWN },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (pyprof__origin_of_file(cases[i].file) != cases[i].origin) printf("%s\n", cases[i].file);
        CHECK_INT(pyprof__origin_of_file(cases[i].file), cases[i].origin);
    }
    CHECK(pyprof__is_importlib("<frozen importlib._bootstrap>") && pyprof__is_importlib("/usr/lib/python3.6/importlib/_bootstrap.py"));
    CHECK(pyprof__is_importlib("/usr/lib/python3.6/importlib/__init__.py") && pyprof__is_importlib("<frozen zipimport>"));
    CHECK(!pyprof__is_importlib("/srv/importlib/_bootstrap.py") && !pyprof__is_importlib("/usr/lib/python3.6/importlib/metadata/__init__.py"));
    CHECK(!pyprof__is_importlib("importlib") && !pyprof__is_importlib("") && !pyprof__is_importlib("/usr/lib/python3.6/json/importlib"));
}

static pyprof_profile *colours(void)
{
    static const char *const files[] = { "/srv/app.py", "/venv/lib/python3.12/site-packages/p.py", "/usr/lib/python3.12/json.py" };
    recording r;
    recording_begin(&r, NULL);
    uint32_t node = thread_node(&r, add_thread(&r, "MainThread", 100));
    for (int i = 0; i < 3; i++) node = add_frame(&r, node, files[i], "f", 1, 2);
    add_values(&r, add_pseudo(&r, node, "<native> zlib.compress", PYPROF_KIND_NATIVE), 1, 10 * (int64_t)ms, 0, 0);
    add_values(&r, add_pseudo(&r, node, "[sleep]", PYPROF_KIND_WAIT), 1, 10 * (int64_t)ms, 0, 1);
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    return profile;
}

static int brightest(const char *fill)   // 0 red, 1 green, 2 blue
{
    long rgb = strtol(fill + 1, NULL, 16), parts[3] = { rgb >> 16, rgb >> 8 & 255, rgb & 255 };
    return parts[0] >= parts[1] && parts[0] >= parts[2] ? 0 : parts[1] >= parts[2] ? 1 : 2;
}

TEST(a_colour_for_each_origin)
{
    picture p = read_picture(colours(), (pyprof_output){ 0 });
    CHECK_INT(brightest(named(&p, "app.f")->fill), 0);
    CHECK_INT(brightest(named(&p, "json.f")->fill), 1);
    CHECK_INT(brightest(named(&p, "p.f")->fill), 2);
    const char *legend[] = { ">my code<", ">packages<", ">standard library<", ">C<", ">waiting<", ">other<" };
    for (size_t i = 0; i < 6; i++) CHECK_INT(occurrences(p.out.data, legend[i]), 1);
    CHECK(strstr(p.out.data, ">Python<") == NULL && strstr(p.out.data, ">thread<") == NULL);
    picture hidden = read_picture(colours(), (pyprof_output){ .paths = PYPROF_PATHS_BASE });   // no folders: nobody knows whose code it is
    CHECK(strstr(hidden.out.data, ">Python<") && !strstr(hidden.out.data, ">my code<") && !strstr(hidden.out.data, ">packages<"));
}

// ---- differences --------------------------------------------------------------------------------------------------------
// Before: steady 400, faster 300, gone 100, a little 100 samples; after: steady 400, faster 100, fresh 200, a little 105.
static pyprof_profile *one_side(int after)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t top = add_frame(&r, thread_node(&r, add_thread(&r, "MainThread", 100)), "/srv/app.py", "main", 1, 2);
    const struct { const char *name; int samples[2]; } functions[] = {
        { "steady", { 400, 400 } }, { "faster", { 300, 100 } }, { "gone", { 100, 0 } }, { "fresh", { 0, 200 } }, { "little", { 100, 105 } },
    };
    for (int i = 0; i < 5; i++) {
        int samples = functions[i].samples[after];
        uint32_t node = samples ? add_frame(&r, top, "/srv/app.py", functions[i].name, 10 * i + 10, 10 * i + 11) : 0;
        if (samples) add_values(&r, node, samples, samples * 10 * (int64_t)ms, 0, 0);
        if (samples) add_blocks(&r, node, 1 << 20, samples, samples / 10, samples / 5);
    }
    r.model.recorded_ns = 9000 * ms;
    r.model.stats.samples = after ? 805 : 900;
    r.model.heap.mode = PYPROF_HEAP_EXACT;
    pyprof_profile *profile = seal(&r, 0);
    recording_end(&r);
    return profile;
}

static pyprof_profile *difference(void)
{
    pyprof_profile *before = one_side(0), *after = one_side(1), *delta;
    CHECK_INT(pyprof_diff(before, after, NULL, &delta), PYPROF_OK);
    pyprof_profile_free(before);
    pyprof_profile_free(after);
    return delta;
}

TEST(golden_diff) { golden("diff.svg", difference(), (pyprof_output){ .format = PYPROF_FORMAT_SVG }); }

TEST(differences_are_red_and_blue)
{
    pyprof_profile *delta = difference();
    picture p = read_picture(delta, (pyprof_output){ 0 });
    check_picture(&p, 2, 1);
    const long long unit = 10 * (long long)ms;
    const struct { const char *name; long long after, before; int colour; const char *text; } cases[] = {
        { "app.main", 805, 900, 2, "8.05 s, before 9.00 s: -950.00 ms (-10.6%)" },
        { "app.steady", 400, 400, -1, "4.00 s, before 4.00 s: 0 ns; self 4.00 s, before 4.00 s: 0 ns\n" },
        { "app.faster", 100, 300, 2, "1.00 s, before 3.00 s: -2.00 s (-66.7%); self 1.00 s, before 3.00 s: -2.00 s (-66.7%); sampling error 333.53 ms" },
        { "app.gone", 0, 100, 2, "0 ns, before 1.00 s: -1.00 s (gone)" }, { "app.fresh", 200, 0, 0, "2.00 s, before 0 ns: +2.00 s (new)" },
        { "app.little", 105, 100, -1, "1.05 s, before 1.00 s: +50.00 ms (+5.0%); self 1.05 s, before 1.00 s: +50.00 ms (+5.0%); within the sampling error of 26" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const frame *f = named(&p, cases[i].name);
        char title[300];
        CHECK_INT(f->v[0], cases[i].after * unit);
        CHECK_INT(f->v[1], cases[i].before * unit);
        if (cases[i].colour >= 0) CHECK_INT(brightest(f->fill), cases[i].colour);
        CHECK_INT(strcmp(f->fill, named(&p, "app.steady")->fill) == 0, cases[i].colour < 0);
        snprintf(title, sizeof title, "<title>%s\n%s", cases[i].name, cases[i].text);
        if (!strstr(p.out.data, title)) printf("%.300s\nis not\n%s\n", strstr(p.out.data, cases[i].name), title);
        CHECK(strstr(p.out.data, title) != NULL);
    }
    CHECK(named(&p, "app.gone")->off && !named(&p, "app.fresh")->off);
    CHECK_INT(occurrences(p.out.data, "name=\"show\""), 2);
    CHECK(strstr(p.out.data, "<title>host: change of wall time</title>") != NULL);
    CHECK(strstr(p.out.data, ">Before: host, CPython 3.12.1, 9.0 s at 100 Hz, 900 samples; after: host, CPython 3.12.1, 9.0 s at 100 Hz, 805 samples<") != NULL);
    CHECK(strstr(p.out.data, ">8.05 s, before 9.00 s: -950.00 ms (-10.6%) in all<") != NULL);
    CHECK(strstr(p.out.data, ">new, or grew much<") && strstr(p.out.data, ">gone, or shrank much<") && !strstr(p.out.data, ">my code<"));
    picture live = read_picture(delta, (pyprof_output){ .metric = PYPROF_LIVE_BYTES });   // exact: every change is one
    check_picture(&live, 2, 1);
    CHECK(strstr(live.out.data, "app.fresh\n20.0 MiB, before 0 B: +20.0 MiB (new)") && !strstr(live.out.data, "; sampling error "));
    pyprof_profile_free(delta);
}

TEST(no_difference_is_grey)
{
    pyprof_profile *one = one_side(1), *delta;
    CHECK_INT(pyprof_diff(one, one, NULL, &delta), PYPROF_OK);
    picture p = read_picture(delta, (pyprof_output){ 0 });
    check_picture(&p, 2, 1);
    CHECK_INT(p.count, 6);
    for (int i = 1; i < p.count; i++) CHECK(!strcmp(p.frames[i].fill, p.frames[0].fill));
}

// ---- what is too narrow ---------------------------------------------------------------------------------------------------
TEST(narrow_frames_are_counted)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t top = add_frame(&r, thread_node(&r, add_thread(&r, "MainThread", 100)), "/srv/app.py", "main", 1, 2);
    for (int i = 0; i < 100; i++) {
        char name[20];
        snprintf(name, sizeof name, "f%d", i);
        uint32_t node = add_frame(&r, top, "/srv/app.py", name, 10 * i + 5, 10 * i + 6);
        add_state(&r, node, i % 4 ? 10 : 100000, 0, 0);
    }
    pyprof_profile *profile = seal(&r, 0);
    picture p = read_picture(profile, (pyprof_output){ 0 });
    CHECK_INT(p.count, 2 + 25);
    CHECK(strstr(p.out.data, ">27 frames (75 frames too narrow to draw)<") != NULL);
    recording_end(&r);
}

TEST_MAIN
