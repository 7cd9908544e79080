// The writers of protobuf files and their relatives (pprof, OTLP, Perfetto, OpenMetrics, speedscope): read back by a small
// protobuf reader, with every index checked; sums are the profile's; golden files; every allocation fails once.
#include "test.h"
#include "inside.h"
#include "model.h"
#include "written.h"
#include "chance.h"

// ---- a protobuf reader ------------------------------------------------------------------------------------------------
typedef struct { const unsigned char *at, *end; uint32_t field; uint64_t number; const unsigned char *data; size_t size; } reader;

static reader message(const void *data, size_t size)
{
    reader r = { (const unsigned char *)data, (const unsigned char *)data + size, 0, 0, NULL, 0 };
    return r;
}

static uint64_t varint(reader *r)
{
    uint64_t value = 0;
    for (int shift = 0; ; shift += 7) {
        CHECK(r->at < r->end && shift < 64);
        value |= (uint64_t)(*r->at & 127) << shift;
        if (*r->at++ < 128) return value;
    }
}

// The next field: number is its value, data and size are those of a block; 0 = the end of the message.
static int next(reader *r)
{
    if (r->at == r->end) return 0;
    uint64_t tag = varint(r);
    r->field = (uint32_t)(tag >> 3);
    r->data = NULL;
    r->size = 0;
    CHECK(r->field);
    if ((tag & 7) == 0) r->number = varint(r);
    else if ((tag & 7) == 1) {
        CHECK(r->end - r->at >= 8);
        memcpy(&r->number, r->at, 8);
        r->at += 8;
    } else {
        CHECK_INT(tag & 7, 2);
        r->size = varint(r);
        CHECK((size_t)(r->end - r->at) >= r->size);
        r->data = r->at;
        r->at += r->size;
    }
    return 1;
}

static reader inside(const reader *r) { return message(r->data, r->size); }

// A number of a message that occurs once, 0 if it does not occur.
static uint64_t number_in(reader r, uint32_t field)
{
    uint64_t found = 0;
    int count = 0;
    while (next(&r)) if (r.field == field && ++count) found = r.number;
    CHECK(count <= 1);
    return found;
}

static reader block_in(reader r, uint32_t field)   // the first one; empty if there is none
{
    while (next(&r)) if (r.field == field) return inside(&r);
    return message(NULL, 0);
}

static int count_in(reader r, uint32_t field)
{
    int count = 0;
    while (next(&r)) count += r.field == field;
    return count;
}

// Strings of a table, with an end each; they differ, the first is empty, all are UTF-8.
typedef struct { char *text[4096]; uint32_t count; } table;

static void strings_in(table *t, reader r, uint32_t field)
{
    for (t->count = 0; next(&r);) {
        if (r.field != field) continue;
        CHECK(t->count < COUNT(t->text));
        char *text = t->text[t->count++] = calloc(1, r.size + 1);
        memcpy(text, r.data, r.size);
        CHECK_INT(strlen(text), r.size);
        for (size_t n; *text; text += n) CHECK(pyprof__utf8_next(text, &n) != 0xfffd || n == 3);
        for (uint32_t i = 0; i + 1 < t->count; i++) CHECK(strcmp(t->text[i], t->text[t->count - 1]) != 0);
    }
    CHECK(t->count && !*t->text[0]);
}

static const char *string_at(const table *t, uint64_t index)
{
    CHECK(index < t->count);
    return t->text[index];
}

// ---- gzip -----------------------------------------------------------------------------------------------------------
static uint32_t little_endian(const unsigned char *at, int bytes) { return bytes ? at[0] | little_endian(at + 1, bytes - 1) << 8 : 0; }

static output_text unpacked(output_text packed)
{
    output_text plain = { calloc(1, 1), 0 };
    unsigned char *at = (unsigned char *)packed.data + 10, last;
    uint32_t crc = ~0u;
    CHECK_INT(little_endian((unsigned char *)packed.data, 4), 0x00088b1f);
    do {
        uint32_t length = little_endian(at + 1, 2);
        last = *at;
        CHECK(last <= 1);
        CHECK_INT(length ^ little_endian(at + 3, 2), 0xffff);
        append(&plain, at + 5, length);
        at += 5 + length;
    } while (!last);
    for (size_t i = 0; i < plain.size; i++) {
        crc ^= (unsigned char)plain.data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    CHECK_INT(little_endian(at, 4), (uint32_t)~crc);
    CHECK_INT(little_endian(at + 4, 4), plain.size);
    CHECK_INT(at + 8 - (unsigned char *)packed.data, packed.size);
    return plain;
}

// ---- pprof ----------------------------------------------------------------------------------------------------------
static int metric_of(const char *pprof)
{
    for (size_t i = 0; i < COUNT(pyprof__metrics); i++)
        if (pyprof__metrics[i].pprof && !strcmp(pyprof__metrics[i].pprof, pprof)) return pyprof__metrics[i].metric;
    printf("a column %s\n", pprof);
    CHECK(!"a column that is a metric");
    return 0;
}

typedef struct { table strings; int columns[PYPROF_METRIC_COUNT], count; int64_t sums[PYPROF_METRIC_COUNT]; int samples; reader all; } pprof;

static void check_pprof_sample(pprof *p, reader sample, int locations)
{
    reader ids = block_in(sample, 1), values = block_in(sample, 2);
    for (int n = 0; ids.at < ids.end; n++) {
        uint64_t id = varint(&ids);
        CHECK(id && id <= (uint64_t)locations);
    }
    for (int i = 0; i < p->count; i++) p->sums[i] += (int64_t)varint(&values);
    CHECK(values.at == values.end);
    while (next(&sample)) {
        if (sample.field != 3) continue;
        CHECK(*string_at(&p->strings, number_in(inside(&sample), 1)));
        string_at(&p->strings, number_in(inside(&sample), 2));
        CHECK(!number_in(inside(&sample), 2) || !number_in(inside(&sample), 3));
    }
    p->samples++;
}

// Checks what pprof's own CheckValid does: ids from 1 on, each index inside its table, as many values as columns.
static void read_pprof(pprof *p, output_text packed)
{
    output_text plain = unpacked(packed);
    reader top = p->all = message(plain.data, plain.size);
    int known = count_in(top, 5), locations = count_in(top, 4), seen = 0, seen_functions = 0;
    p->count = p->samples = 0;
    memset(p->sums, 0, sizeof p->sums);
    strings_in(&p->strings, top, 6);
    while (next(&top)) {
        if (top.field == 1) p->columns[p->count++] = metric_of(string_at(&p->strings, number_in(inside(&top), 1)));
        if (top.field == 2) check_pprof_sample(p, inside(&top), locations);
        if (top.field == 3) CHECK_INT(number_in(inside(&top), 1), 1);
        if (top.field == 4) {
            uint64_t function = number_in(block_in(inside(&top), 4), 1);
            CHECK_INT(number_in(inside(&top), 1), ++seen);
            CHECK_INT(number_in(inside(&top), 2), 1);
            CHECK(function && function <= (uint64_t)known);
        }
        if (top.field == 5) {
            CHECK_INT(number_in(inside(&top), 1), ++seen_functions);
            CHECK(*string_at(&p->strings, number_in(inside(&top), 2)));
            CHECK_INT(number_in(inside(&top), 3), 0);   // a system name that equals the name would be demangled
            string_at(&p->strings, number_in(inside(&top), 4));
        }
    }
}

static const pyprof_query everything = { .include_idle = 1 };

TEST(pprof_sums)
{
    static pprof p;
    for (uint64_t number = 0; number < 12; number++) {
        pyprof_profile *profile = some_profile(number);
        pyprof_info info;
        CHECK_INT(pyprof_profile_info(profile, &info), PYPROF_OK);
        read_pprof(&p, written(profile, (pyprof_output){ .format = PYPROF_FORMAT_PPROF, .filter = &everything }));
        CHECK(p.count >= 13 && p.samples > 0);
        for (int i = 0; i < p.count; i++) CHECK_INT(p.sums[i], info.total[p.columns[i]]);
    }
}

// The same columns in every recording of the same kind: pprof compares only such files.
TEST(pprof_columns_are_always_the_same)
{
    static const char *const names[] = { "samples", "wall", "cpu", "waiting", "gil", "gil_wait", "gil_block", "cpu_wait", "idle", "native",
                                         "nogil", "unknown", "exceptions", "alloc_objects", "alloc_space", "inuse_objects", "inuse_space",
                                         "peak_objects", "peak_space", "temp_objects" };
    static pprof p;
    recording r;
    recording_begin(&r, NULL);
    add_values(&r, add_frame(&r, thread_node(&r, add_thread(&r, "w", 1)), "a.py", "f", 1, 2), 1, 10, 5, 0);
    for (int heap = 0; heap < 2; heap++) {
        r.model.heap.mode = heap ? PYPROF_HEAP_EXACT : PYPROF_HEAP_OFF;
        pyprof_profile *profile = seal(&r, 0);
        read_pprof(&p, written_as(profile, PYPROF_FORMAT_PPROF));
        CHECK_INT(p.count, heap ? 20 : 13);
        for (int i = 0; i < p.count; i++) CHECK_INT(p.columns[i], metric_of(names[i]));
    }
}

// -> how many samples have the label; its texts are put into found, one after the other
static int labelled(const pprof *p, const char *key, char *found, int64_t *number)
{
    reader top = p->all;
    int count = 0;
    *found = 0;
    while (next(&top)) {
        reader sample = inside(&top);
        if (top.field != 2) continue;
        while (next(&sample)) {
            if (sample.field != 3 || strcmp(string_at(&p->strings, number_in(inside(&sample), 1)), key)) continue;
            strcat(strcat(found, string_at(&p->strings, number_in(inside(&sample), 2))), ";");
            *number = (int64_t)number_in(inside(&sample), 3);
            count++;
        }
    }
    return count;
}

TEST(pprof_labels)
{
    static pprof p;
    recording r;
    char found[256];
    int64_t number = 0;
    recording_begin(&r, NULL);
    uint32_t w = add_thread(&r, "w", 77), task = pyprof__model_node(&r.model, thread_node(&r, w), pyprof__model_pseudo(&r.model, "fetch", PYPROF_KIND_TASK, 0));
    add_values(&r, add_frame(&r, thread_node(&r, w), "a.py", "f", 1, 2), 1, 10, 5, 0);
    add_values(&r, pyprof__model_node(&r.model, add_frame(&r, task, "a.py", "g", 4, 5), pyprof__model_pseudo(&r.model, "[sleep]", PYPROF_KIND_WAIT, 0)), 2, 20, 0, 1);
    read_pprof(&p, written_as(seal(&r, 0), PYPROF_FORMAT_PPROF));
    CHECK_INT(labelled(&p, "thread", found, &number), 2);
    CHECK_STR(found, "w;w;");
    CHECK_INT(labelled(&p, "thread_id", found, &number), 2);
    CHECK_INT(number, 77);
    CHECK_INT(labelled(&p, "task", found, &number), 1);
    CHECK_STR(found, "fetch;");
    CHECK_INT(labelled(&p, "kind", found, &number), 1);
    CHECK_STR(found, "wait;");
    CHECK_INT(labelled(&p, "process", found, &number), 0);   // there is only one
    pyprof__recorded_process *second = pyprof__push(&r.pool, &r.model.processes);
    second->pid = 4343;
    AT(pyprof__recorded_thread, r.model.threads, w).process = 1;
    read_pprof(&p, written_as(seal(&r, 0), PYPROF_FORMAT_PPROF));
    CHECK_INT(labelled(&p, "process", found, &number), 2);
    CHECK_STR(found, "4343;4343;");
}

// Processes of a merged profile have names.
TEST(processes_of_a_merged_profile)
{
    static pprof p;
    char found[256];
    int64_t number;
    pyprof_profile *parts[2], *merged;
    for (int i = 0; i < 2; i++) {
        recording r;
        recording_begin(&r, NULL);
        AT(pyprof__recorded_process, r.model.processes, 0).pid += i;
        uint32_t w = add_thread(&r, "w", 77 + (uint64_t)i);
        add_samples(&r, w, add_frame(&r, thread_node(&r, w), "a.py", "f", 1, 2), 10, 3, 0);
        parts[i] = seal(&r, 0);
    }
    CHECK_INT(pyprof_merge((const pyprof_profile *const *)parts, 2, NULL, &merged), PYPROF_OK);
    read_pprof(&p, written_as(merged, PYPROF_FORMAT_PPROF));
    CHECK_INT(labelled(&p, "process", found, &number), 2);
    CHECK_STR(found, "host (4242);host (4243);");
    CHECK(strstr(written_as(merged, PYPROF_FORMAT_SPEEDSCOPE).data, "\"name\": \"host (4242): w") != NULL);
    output_text trace = written_as(merged, PYPROF_FORMAT_PERFETTO);
    CHECK(memmem(trace.data, trace.size, "host (4243)", 11) != NULL);
}

TEST(pprof_of_a_difference)
{
    static pprof p;
    pyprof_profile *before = some_profile(4), *after = some_profile(5), *delta;
    pyprof_info old, new;
    CHECK_INT(pyprof_diff(before, after, NULL, &delta), PYPROF_OK);
    CHECK_INT(pyprof_profile_info(before, &old), PYPROF_OK);
    CHECK_INT(pyprof_profile_info(after, &new), PYPROF_OK);
    read_pprof(&p, written(delta, (pyprof_output){ .format = PYPROF_FORMAT_PPROF, .filter = &everything }));
    for (int i = 0; i < p.count; i++)
        if (pyprof__metric_row(p.columns[i])->from == PYPROF__FROM_SAMPLES) CHECK_INT(p.sums[i], new.total[p.columns[i]] - old.total[p.columns[i]]);
}

// What is not UTF-8 in a name is U+FFFD in the table of strings, as protobuf demands.
TEST(pprof_with_broken_names)
{
    static pprof p;
    recording r;
    recording_begin(&r, NULL);
    add_values(&r, add_frame(&r, thread_node(&r, add_thread(&r, BROKEN, 1)), BROKEN ".py", BROKEN, 1, 2), 1, 10, 5, 0);
    read_pprof(&p, written_as(seal(&r, 0), PYPROF_FORMAT_PPROF));
    CHECK_INT(p.samples, 1);
}

// Only messages and names are in memory, not the file: it does not grow with the number of samples.
TEST(pprof_memory)
{
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    recording r;
    recording_begin(&r, &allocator);
    uint32_t top = thread_node(&r, add_thread(&r, "w", 1));
    for (int i = 0; i < 20000; i++) add_values(&r, add_frame(&r, i % 40 ? (uint32_t)r.model.nodes.count - 1 : top, "a.py", "f", 1, i), 1, 10, 5, 0);
    pyprof_profile *profile = seal(&r, 0);
    long long before = c.live;
    c.most = 0;
    output_text out = written_as(profile, PYPROF_FORMAT_PPROF);
    printf("%zu bytes out, %lld in memory\n", out.size, c.most - before);
    // The columns that the selection has, of 8 bytes for self and total each, and 4 for a node's thread
    CHECK(c.most - before < 20000 * (5 * 16 + 1 + 4) + 200000);
    CHECK(out.size > 1000000);
}

// ---- OTLP -----------------------------------------------------------------------------------------------------------
typedef struct { table strings; reader dictionary; int sizes[8]; int columns[PYPROF_METRIC_COUNT], count; int64_t sums[PYPROF_METRIC_COUNT]; } otlp;

static void check_indices(reader packed, int size, int zero_too)
{
    while (packed.at < packed.end) {
        uint64_t index = varint(&packed);
        CHECK(index < (uint64_t)size && (index || zero_too));
    }
}

// Tables: 1 mappings, 2 locations, 3 functions, 4 links, 5 strings, 6 attributes, 7 stacks
static void check_dictionary(otlp *o)
{
    reader r = o->dictionary;
    int seen[8] = { 0 };
    for (int i = 1; i <= 7; i++) o->sizes[i] = count_in(r, (uint32_t)i);
    strings_in(&o->strings, r, 5);
    while (next(&r)) {
        reader one = inside(&r);
        CHECK(r.field >= 1 && r.field <= 7);
        if (!seen[r.field]++) { CHECK_INT(r.size, 0); continue; }   // element 0 is zero
        if (r.field == 2) {
            reader line = block_in(one, 3);
            CHECK(number_in(line, 1) && number_in(line, 1) < (uint64_t)o->sizes[3]);
            check_indices(block_in(one, 4), o->sizes[6], 0);
        }
        if (r.field == 3) CHECK(*string_at(&o->strings, number_in(one, 1)) && string_at(&o->strings, number_in(one, 3)));
        if (r.field == 6) CHECK(*string_at(&o->strings, number_in(one, 1)) && count_in(one, 2) == 1);
        if (r.field == 7) check_indices(block_in(one, 1), o->sizes[2], 0);
    }
    for (int i = 1; i <= 7; i++) CHECK(seen[i]);
    CHECK(seen[1] == 1 && seen[4] == 1);
}

static void read_otlp(otlp *o, output_text out)
{
    reader top = message(out.data, out.size), scope = block_in(block_in(top, 1), 2);
    CHECK(count_in(top, 1) == 1 && count_in(top, 2) == 1 && count_in(block_in(top, 1), 2) == 1);
    o->dictionary = block_in(top, 2);
    check_dictionary(o);
    memset(o->sums, 0, sizeof o->sums);
    for (o->count = 0; next(&scope);) {
        if (scope.field != 2) continue;
        reader profile = inside(&scope);
        o->columns[o->count] = metric_of(string_at(&o->strings, number_in(block_in(profile, 1), 1)));
        CHECK_INT(block_in(profile, 7).end - block_in(profile, 7).at, 16);
        check_indices(block_in(profile, 11), o->sizes[6], 0);
        while (next(&profile)) {
            if (profile.field != 2) continue;
            reader sample = inside(&profile), values = block_in(sample, 4);
            CHECK(number_in(sample, 1) < (uint64_t)o->sizes[7]);
            check_indices(block_in(sample, 2), o->sizes[6], 0);
            o->sums[o->count] += (int64_t)varint(&values);
            CHECK(values.at == values.end);
        }
        o->count++;
    }
}

TEST(otlp_sums)
{
    static otlp o;
    for (uint64_t number = 0; number < 12; number++) {
        pyprof_profile *profile = some_profile(number);
        pyprof_info info;
        CHECK_INT(pyprof_profile_info(profile, &info), PYPROF_OK);
        read_otlp(&o, written(profile, (pyprof_output){ .format = PYPROF_FORMAT_OTLP, .metric = PYPROF_GIL_NS, .filter = &everything }));
        CHECK_INT(o.count, profile->model.heap.mode ? 20 : 13);
        CHECK_INT(o.columns[0], PYPROF_GIL_NS);   // viewers show the first one
        for (int i = 0; i < o.count; i++) CHECK_INT(o.sums[i], info.total[o.columns[i]]);
    }
}

TEST(otlp_of_a_difference)
{
    static otlp o;
    pyprof_profile *before = some_profile(4), *after = some_profile(5), *delta;
    pyprof_info old, new;
    CHECK_INT(pyprof_diff(before, after, NULL, &delta), PYPROF_OK);
    CHECK_INT(pyprof_profile_info(before, &old), PYPROF_OK);
    CHECK_INT(pyprof_profile_info(after, &new), PYPROF_OK);
    read_otlp(&o, written(delta, (pyprof_output){ .format = PYPROF_FORMAT_OTLP, .filter = &everything }));
    CHECK_INT(o.sums[0], new.total[o.columns[0]] - old.total[o.columns[0]]);
}

// One stack for equal paths of several threads; nothing that no sample has: no other thread's name.
TEST(otlp_has_only_what_is_used)
{
    static otlp o;
    recording r;
    pyprof_query one = { .thread = "one", .include_idle = 1 };
    recording_begin(&r, NULL);
    for (int i = 0; i < 2; i++) {
        uint32_t top = add_frame(&r, thread_node(&r, add_thread(&r, i ? "two" : "one", 10 + (uint64_t)i)), "a.py", "f", 1, 2);
        add_values(&r, add_frame(&r, top, "a.py", i ? "other" : "g", 3, 4), 1, 10, 5, 0);
        add_values(&r, add_frame(&r, top, "b.py", "h", 3, 4), 1, 10, 5, 0);
    }
    pyprof_profile *profile = seal(&r, 0);
    read_otlp(&o, written_as(profile, PYPROF_FORMAT_OTLP));
    CHECK_INT(o.sizes[7], 1 + 3);
    CHECK_INT(o.sizes[2], 1 + 4);
    output_text out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_OTLP, .filter = &one });
    read_otlp(&o, out);
    CHECK_INT(o.sizes[7], 1 + 2);
    CHECK(memmem(out.data, out.size, "other", 5) == NULL && memmem(out.data, out.size, "two", 3) == NULL);
}

TEST(otlp_with_broken_names)
{
    static otlp o;
    recording r;
    recording_begin(&r, NULL);
    add_values(&r, add_frame(&r, thread_node(&r, add_thread(&r, BROKEN, 1)), BROKEN ".py", BROKEN, 1, 2), 1, 10, 5, 0);
    output_text out = written_as(seal(&r, 0), PYPROF_FORMAT_OTLP);
    read_otlp(&o, out);
    CHECK_INT(o.sums[0], 10);
    CHECK(memmem(out.data, out.size, BROKEN, strlen(BROKEN)) == NULL);   // the thread's name is an attribute
}

// ---- Perfetto -------------------------------------------------------------------------------------------------------
enum { BEGIN = 1, END = 2, COUNTER = 4 };
typedef struct { uint32_t names[64]; int depth; uint64_t last; } slices;
typedef struct {
    unsigned char interned[64][2048];   // by field of InternedData and number
    slices open[32];
    int tracks, samples, begun, counted;
    char log[4096];                     // "begin NUMBER ms, ..." of the slices
} perfetto;

static void check_interned(perfetto *p, reader data)
{
    while (next(&data)) {
        reader one = inside(&data), ids = one;
        uint64_t id = number_in(one, 1);
        CHECK(data.field < 64 && id && id < 2048 && !p->interned[data.field][id]);
        p->interned[data.field][id] = 1;
        if (data.field == 6) CHECK(p->interned[5][number_in(one, 2)] && p->interned[19][number_in(one, 3)] && p->interned[18][number_in(one, 5)]);
        if (data.field == 19) CHECK(p->interned[17][number_in(one, 7)]);
        while (data.field == 7 && next(&ids)) if (ids.field == 2) CHECK(p->interned[6][ids.number]);
    }
}

static void check_event(perfetto *p, reader event, uint64_t ns)
{
    uint64_t track = number_in(event, 11), type = number_in(event, 9), name = number_in(event, 10);
    CHECK(track && track < 32);
    slices *s = &p->open[track];
    CHECK(ns >= s->last);
    s->last = ns;
    if (type == COUNTER) { p->counted++; return; }
    if (type == BEGIN) {
        CHECK(p->interned[2][name] && s->depth < 64);
        s->names[s->depth++] = (uint32_t)name;
        p->begun++;
    } else {
        CHECK_INT(type, END);
        CHECK(s->depth-- > 0);
    }
    snprintf(p->log + strlen(p->log), 40, "%s %d %llu, ", type == BEGIN ? "begin" : "end", (int)s->names[type == BEGIN ? s->depth - 1 : s->depth],
             (unsigned long long)(ns / ms - 5000));
    if (strlen(p->log) > sizeof p->log - 50) p->log[0] = 0;
}

static void read_perfetto(perfetto *p, output_text out)
{
    reader trace = message(out.data, out.size);
    memset(p, 0, sizeof *p);
    for (int n = 0; next(&trace); n++) {
        reader packet = inside(&trace);
        uint64_t ns = number_in(packet, 8);
        CHECK_INT(trace.field, 1);
        CHECK_INT(number_in(packet, 10), 1);
        CHECK_INT(number_in(packet, 13), n ? 2 : 1);   // the first one clears what was interned, the others need it
        if (!n) {
            CHECK_INT(number_in(block_in(packet, 59), 58), 3);   // CLOCK_MONOTONIC
            CHECK_INT(number_in(block_in(packet, 6), 2), 3);
            CHECK(number_in(block_in(block_in(packet, 6), 1), 2) >= 5000 * ms);
        }
        check_interned(p, block_in(packet, 12));
        p->tracks += count_in(packet, 60);
        if (count_in(packet, 66)) {
            CHECK(p->interned[7][number_in(block_in(packet, 66), 4)]);
            CHECK_INT(number_in(block_in(packet, 66), 2), 4242);
            p->samples++;
        }
        if (count_in(packet, 11)) check_event(p, block_in(packet, 11), ns);
    }
    for (int i = 0; i < 32; i++) CHECK_INT(p->open[i].depth, 0);
}

TEST(perfetto_samples)
{
    static perfetto p;
    for (uint64_t number = 0; number < 12; number++) {
        pyprof_profile *profile = some_profile(number);
        long long samples = 0;
        for (size_t i = 0; i < profile->model.moments.count; i++) samples += pyprof__moment_at(&profile->model, i)->count;
        read_perfetto(&p, written(profile, (pyprof_output){ .format = PYPROF_FORMAT_PERFETTO, .filter = &everything }));
        CHECK_INT(p.samples, samples);
        CHECK(p.begun > 0 || !samples);
        int gauges = (int)profile->model.gauges.count;   // resident, CPU between two of them, threads, traced memory
        CHECK_INT(p.counted, gauges + gauges - 1 + gauges + (profile->model.heap.mode ? gauges : 0));
    }
}

// Equal functions of consecutive samples are one slice, whatever the lines; a gap ends it.
TEST(perfetto_slices)
{
    static perfetto p;
    recording r;
    recording_begin(&r, NULL);
    uint32_t w = add_thread(&r, "w", 77), f = add_frame(&r, thread_node(&r, w), "a.py", "f", 1, 2);
    uint32_t g = add_frame(&r, f, "a.py", "g", 5, 6), other_line = add_frame(&r, f, "a.py", "g", 5, 7);
    add_samples(&r, w, g, 20, 2, 0);            // 10 to 30 ms
    add_samples(&r, w, other_line, 40, 1, 0);
    add_samples(&r, w, f, 50, 1, 0);
    add_samples(&r, w, g, 110, 1, 0);           // after a gap of 50 ms
    pyprof_profile *profile = seal(&r, 0);
    read_perfetto(&p, written_as(profile, PYPROF_FORMAT_PERFETTO));
    CHECK_INT(p.samples, 5);
    CHECK_INT(p.tracks, 2);   // the process, the thread
    CHECK_STR(p.log, "begin 1 10, begin 2 10, end 2 40, end 1 50, begin 1 100, begin 2 100, end 2 110, end 1 110, ");
    read_perfetto(&p, written(profile, (pyprof_output){ .format = PYPROF_FORMAT_PERFETTO, .lines = 1 }));
    CHECK_STR(p.log, "begin 1 10, begin 2 10, end 2 30, begin 3 30, end 3 40, end 1 50, begin 1 100, begin 2 100, end 2 110, end 1 110, ");
}

TEST(perfetto_samples_without_time)   // their thread waited for a CPU for less time than the kernel counts
{
    static perfetto p;
    recording r;
    recording_begin(&r, NULL);
    uint32_t w = add_thread(&r, "w", 77), f = add_frame(&r, thread_node(&r, w), "a.py", "f", 1, 2);
    add_samples(&r, w, f, 20, 1, 0);
    add_samples(&r, w, add_frame(&r, f, "a.py", "g", 5, 6), 30, 2, 0);
    pyprof__moment_numbered(&r.model, 2)->wall_ns = 0;
    read_perfetto(&p, written_as(seal(&r, 0), PYPROF_FORMAT_PERFETTO));
    CHECK_INT(p.samples, 3);
}

TEST(perfetto_with_a_filter)
{
    static perfetto p;
    recording r;
    pyprof_query one = { .thread = "one", .include_idle = 1 };
    recording_begin(&r, NULL);
    for (uint32_t i = 0; i < 2; i++) add_samples(&r, i, add_frame(&r, thread_node(&r, add_thread(&r, i ? "two" : "one", 10 + i)), "a.py", i ? "other" : "f", 1, 2), 10, 3, 0);
    output_text out = written(seal(&r, 0), (pyprof_output){ .format = PYPROF_FORMAT_PERFETTO, .filter = &one });
    read_perfetto(&p, out);
    CHECK_INT(p.samples, 3);
    CHECK(memmem(out.data, out.size, "other", 5) == NULL && memmem(out.data, out.size, "two", 3) == NULL);
}

// ---- OpenMetrics ----------------------------------------------------------------------------------------------------
// The number behind the name (with its labels) at the beginning of a line, as an integer of so many digits behind the point.
static long long sample_of(const char *in, const char *name, int digits)
{
    char line[160];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(in, line);
    if (!at) printf("no %s\n", name);
    CHECK(at != NULL && strstr(at + 1, line) == NULL);
    at += strlen(line);
    long long value = 0;
    for (const char *point = strchr(at, '.'); *at != '\n'; at++) if (at != point && *at != '-') value = value * 10 + *at - '0';
    const char *point = memrchr(in, '.', (size_t)(at - in));
    CHECK_INT(digits, digits ? at - point - 1 : 0);
    return value;
}

TEST(openmetrics_sums)
{
    for (uint64_t number = 0; number < 12; number++) {
        pyprof_profile *profile = some_profile(number);
        pyprof_info info;
        CHECK_INT(pyprof_profile_info(profile, &info), PYPROF_OK);
        output_text out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_OPENMETRICS, .filter = &everything });
        CHECK_INT(sample_of(out.data, "pyprof_samples_total", 0), info.total[PYPROF_SAMPLES]);
        CHECK_INT(sample_of(out.data, "pyprof_wall_seconds_total", 9), info.total[PYPROF_WALL_NS]);
        CHECK_INT(sample_of(out.data, "pyprof_cpu_seconds_total", 9), info.total[PYPROF_CPU_NS]);
        CHECK_INT(sample_of(out.data, "pyprof_gil_wait_seconds_total", 9), info.total[PYPROF_GIL_WAIT_NS]);
        CHECK_INT(sample_of(out.data, "pyprof_exceptions_total", 0), info.total[PYPROF_EXCEPTIONS]);
        CHECK_INT(sample_of(out.data, "pyprof_lost_samples_total{reason=\"missed\"}", 0), (long long)profile->model.stats.missed);
        CHECK_INT(occurrences(out.data, "\npyprof_heap_live_bytes "), profile->model.heap.mode != 0);
        if (profile->model.heap.mode) {
            CHECK_INT(sample_of(out.data, "pyprof_heap_alloc_bytes_total", 0), info.total[PYPROF_ALLOC_BYTES]);
            CHECK_INT(sample_of(out.data, "pyprof_heap_live_bytes", 0), info.total[PYPROF_LIVE_BYTES]);
            CHECK_INT(sample_of(out.data, "pyprof_heap_live_age_seconds", 3), info.total[PYPROF_LIVE_AGE_MS]);
        }
        CHECK_STR(out.data + out.size - 7, "\n# EOF\n");
    }
}

// The 20 functions with the most, and the rest: together all.
TEST(openmetrics_functions)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t top = thread_node(&r, add_thread(&r, "w", 1));
    for (int i = 1; i <= 30; i++) {
        char name[20];
        snprintf(name, sizeof name, "f%d\"\\\n\r", i);
        add_values(&r, add_frame(&r, top, "a.py", name, i, i), 1, i * (int64_t)ms, 0, 0);
    }
    output_text out = written_as(seal(&r, 0), PYPROF_FORMAT_OPENMETRICS);
    CHECK_INT(occurrences(out.data, "\npyprof_function_wall_seconds_total{function=\""), 21);
    CHECK_INT(sample_of(out.data, "pyprof_function_wall_seconds_total{function=\"a.f30\\\"\\\\\\n\\\\x0d\"}", 9), 30 * (long long)ms);
    CHECK_INT(sample_of(out.data, "pyprof_function_wall_seconds_total{function=\"(all others)\"}", 9), 55 * (long long)ms);
    check_harmless(out.data, 1);
}

// ---- speedscope -----------------------------------------------------------------------------------------------------
// The text between the quotes that follow the key for the nth time, without escapes.
static const char *nth(const char *in, const char *key, int n)
{
    static char text[8][256];
    static int used;
    char *to = text[used++ % 8];
    while (n-- >= 0 && (in = strstr(in, key)) != NULL) in += strlen(key);
    *to = 0;
    if (in) snprintf(to, 256, "%.*s", (int)strcspn(in, "\""), in);
    return to;
}

TEST(speedscope_profiles)
{
    recording r;
    recording_begin(&r, NULL);
    uint32_t w1 = add_thread(&r, "w", 11), busy = add_thread(&r, "busy", 12), w2 = add_thread(&r, "w", 13), w3 = add_thread(&r, "w", 13);
    uint32_t none = add_thread(&r, "busy", 14);
    add_samples(&r, w1, add_frame(&r, thread_node(&r, w1), "a.py", "f", 1, 2), 10, 3, 0);
    add_samples(&r, w1, add_frame(&r, thread_node(&r, w1), "a.py", "f", 1, 3), 40, 2, 0);
    add_samples(&r, busy, add_frame(&r, thread_node(&r, busy), "a.py", "f", 1, 3), 10, 9, 0);
    add_samples(&r, w2, add_frame(&r, thread_node(&r, w2), "a.py", "f", 1, 3), 10, 4, 0);
    add_samples(&r, w3, add_frame(&r, thread_node(&r, w3), "a.py", "f", 1, 3), 10, 2, 0);
    (void)none;
    pyprof_profile *profile = seal(&r, 0);
    output_text out = written_as(profile, PYPROF_FORMAT_SPEEDSCOPE);
    CHECK_STR(nth(out.data, "\"sampled\", \"name\": \"", 0), "busy");   // its namesake is not shown
    CHECK_STR(nth(out.data, "\"sampled\", \"name\": \"", 1), "w (11)");
    CHECK_STR(nth(out.data, "\"sampled\", \"name\": \"", 2), "w (13)");
    CHECK_STR(nth(out.data, "\"sampled\", \"name\": \"", 3), "w (13, 2)");
    CHECK(strstr(out.data, "\"activeProfileIndex\": 0,") != NULL);
    CHECK_INT(occurrences(out.data, "{\"name\": \"a.f\", \"file\": \"a.py\", \"line\": 1}"), 1);
    CHECK_INT(occurrences(out.data, "\"name\": \"a.f\""), 1);   // one frame a function
    out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_SPEEDSCOPE, .lines = 1 });
    CHECK_INT(occurrences(out.data, "\"name\": \"a.f\""), 2);
    CHECK(strstr(out.data, "{\"name\": \"a.f\", \"file\": \"a.py\", \"line\": 3}") != NULL);
    out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_SPEEDSCOPE, .metric = PYPROF_GIL_WAIT_NS });
    CHECK(strstr(out.data, "\"name\": \"host: GIL wait\"") != NULL && is_json(out.data));
}

TEST(speedscope_sums)
{
    static const int metrics[] = { PYPROF_SAMPLES, PYPROF_WALL_NS, PYPROF_CPU_NS, PYPROF_GIL_NS, PYPROF_GIL_WAIT_NS, PYPROF_WAIT_NS, PYPROF_IDLE_NS,
                                   PYPROF_NATIVE_NS, PYPROF_LIVE_BYTES };
    for (uint64_t number = 0; number < 12; number++) {
        pyprof_profile *profile = some_profile(number);
        pyprof_info info;
        CHECK_INT(pyprof_profile_info(profile, &info), PYPROF_OK);
        for (size_t i = 0; i < COUNT(metrics); i++) {
            long long sum = 0, parts = 0;
            if (metrics[i] == PYPROF_LIVE_BYTES && !profile->model.heap.mode) continue;
            output_text out = written(profile, (pyprof_output){ .format = PYPROF_FORMAT_SPEEDSCOPE, .metric = metrics[i], .filter = &everything });
            CHECK(is_json(out.data));
            for (const char *at = out.data; (at = strstr(at, "\"endValue\": ")) != NULL;) sum += atoll(at += 12);
            CHECK_INT(sum, info.total[metrics[i]]);
            for (const char *at = out.data; (at = strstr(at, "\"weights\": [")) != NULL;)
                for (at += 11; *at != ']'; at += 1 + strcspn(at + 1, ",]")) parts += atoll(at + 1);
            CHECK_INT(parts, sum);
        }
    }
}

TEST_MAIN
