// Frame chains built by hand in this process, mostly with the layout of 3.13: what is torn, cyclic or wild is refused.
#include "test.h"
#include "inside.h"

static pyprof__pool pool;
static pyprof__origin origin;
static pyprof__mirror mirror;
static pyprof__codes codes;
static pyprof__layout layout;
static pyprof__stack stack;
static _Alignas(16) unsigned char type[512], wrong_type[512], code[512], name[64], line_table[64], frames[64][128];

static void put64(unsigned char *at, uint32_t offset, const void *pointer)
{
    uint64_t value = (uint64_t)(uintptr_t)pointer;
    memcpy(at + offset, &value, sizeof value);
}

static void put32(unsigned char *at, uint32_t offset, uint32_t value) { memcpy(at + offset, &value, sizeof value); }

static void build_code(void)
{
    uint64_t size;
    static const char code_text[] = "code", wrong_text[] = "list";
    put64(type, layout.type_name, code_text);
    put64(wrong_type, layout.type_name, wrong_text);
    size = 3;
    memcpy(name + layout.str_length, &size, sizeof size);
    put32(name, layout.str_state, 1u << layout.str_kind_shift | layout.str_is_compact | layout.str_is_ascii);
    memcpy(name + layout.str_ascii, "fun", 4);
    size = 2;
    memcpy(line_table + layout.bytes_size, &size, sizeof size);
    line_table[layout.bytes_data] = 0x80 | 13 << 3 | 7;   // eight units on the first line
    line_table[layout.bytes_data + 1] = 0;
    put32(code, layout.object_type - 8, 2);   // references
    put64(code, layout.object_type, type);
    put64(code, layout.code_filename, name);
    put64(code, layout.code_name, name);
    put64(code, layout.code_qualname, name);
    put64(code, layout.code_linetable, line_table);
    put32(code, layout.code_firstline, 7);
    put32(code, layout.code_units, 8);
}

static void frame(int i, const void *previous, const void *executable, int owner)
{
    put64(frames[i], layout.frame_previous, previous);
    put64(frames[i], layout.frame_code, executable);
    put64(frames[i], layout.frame_instr, code + layout.code_bytes + 4);
    frames[i][layout.frame_owner] = (unsigned char)owner;
}

static void setup_for(uint32_t version, int free_threaded, int depth)   // a chain of depth good frames, 0 the innermost
{
    int i;
    CHECK_INT(pyprof__layout_choose(&layout, version, free_threaded, NULL), PYPROF_OK);
    CHECK_INT(pyprof__origin_open(&origin, &pyprof__own_proc), PYPROF_OK);
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    pyprof__mirror_init(&mirror, &pool, &origin);
    CHECK(pyprof__codes_init(&codes, &pool, &layout));
    pyprof__array_init(&stack.spots, sizeof(uint32_t));
    build_code();
    for (i = 0; i < depth; i++) frame(i, frames[i + 1], code, 0);
    frame(depth, NULL, wrong_type, 3);   // the shim of the C eval loop that the outermost one runs in
}

static void setup(int depth) { setup_for(0x030d00f0, 0, depth); }

static int walk(const void *from, uint32_t max_depth)
{
    pyprof__walk w;
    memset(&w, 0, sizeof w);
    w.codes = &codes;
    w.mirror = &mirror;
    w.stack = &stack;
    w.max_depth = max_depth;
    stack.spots.count = 0;
    stack.truncated = 0;
    pyprof__mirror_begin(&mirror);
    return pyprof__walk_chain(&w, (uint64_t)(uintptr_t)from, 0);
}

TEST(a_chain_of_frames_is_read_to_its_end)
{
    const pyprof__spot *spot;
    setup(5);
    CHECK_INT(walk(frames[0], 100), 0);
    CHECK_INT(stack.spots.count, 5);
    CHECK_INT(stack.truncated, 0);
    spot = (const pyprof__spot *)codes.spots.data + ((const uint32_t *)stack.spots.data)[0];
    CHECK_INT(spot->place.line, 7);
    CHECK_INT(spot->instruction, 2);
}

TEST(cut_at_the_depth_limit)
{
    setup(40);
    CHECK_INT(walk(frames[0], 10), 0);
    CHECK_INT(stack.spots.count, 11);   // and <truncated>
    CHECK_INT(stack.truncated, 1);
}

TEST(cycles_are_found)
{
    setup(40);
    frame(39, frames[20], code, 0);
    CHECK_INT(walk(frames[0], 100000), PYPROF_CAUSE_CHAIN + 1);
    frame(0, frames[0], code, 0);
    CHECK_INT(walk(frames[0], 100000), PYPROF_CAUSE_CHAIN + 1);
}

TEST(wild_pointers_are_refused)
{
    setup(5);
    frame(2, (const void *)(uintptr_t)0x10008, code, 0);
    CHECK_INT(walk(frames[0], 100), PYPROF_CAUSE_UNREADABLE + 1);
    frame(2, frames[3] + 1, code, 0);   // not aligned
    CHECK_INT(walk(frames[0], 100), PYPROF_CAUSE_CHAIN + 1);
}

TEST(rejects_frames_without_a_code_object)
{
    setup(5);
    put64(code, layout.object_type, wrong_type);
    CHECK_INT(walk(frames[0], 100), PYPROF_CAUSE_CODE + 1);
}

TEST(a_frame_being_popped)
{
    setup(5);
    frame(0, frames[1], NULL, 0);   // the innermost one: normal
    CHECK_INT(walk(frames[0], 100), 0);
    CHECK_INT(stack.spots.count, 4);
    frame(0, frames[1], code, 0);
    frame(2, frames[3], NULL, 0);   // further out: the chain is stale
    CHECK_INT(walk(frames[0], 100), PYPROF_CAUSE_CHAIN + 1);
}

TEST(shims_are_skipped)
{
    setup(5);
    frame(1, frames[2], wrong_type, 3);
    CHECK_INT(walk(frames[0], 100), 0);
    CHECK_INT(stack.spots.count, 4);
    frame(1, frames[2], wrong_type, 77);   // no such owner
    CHECK_INT(walk(frames[0], 100), PYPROF_CAUSE_CHAIN + 1);
}

TEST(a_chain_cut_off_is_refused)   // a generator that has yielded has no caller any more
{
    setup(5);
    frame(2, NULL, code, 1);
    CHECK_INT(walk(frames[0], 100), PYPROF_CAUSE_CHAIN + 1);
}

TEST(a_reused_address_is_another_code_object)
{
    uint32_t before, after;
    setup(1);
    CHECK_INT(walk(frames[0], 100), 0);
    before = ((const uint32_t *)stack.spots.data)[0];
    put32(code, layout.code_firstline, 90);   // freed, and another one made at the same place
    CHECK_INT(walk(frames[0], 100), 0);
    after = ((const uint32_t *)stack.spots.data)[0];
    CHECK(before != after);
    CHECK_INT(((const pyprof__spot *)codes.spots.data)[after].place.line, 90);
}

static uint64_t fingerprint_with(const char *file, char constant)
{
    static _Alignas(16) unsigned char path[128], bytes_type[512], bytes[128];
    static const char bytes_text[] = "bytes";
    uint64_t size = strlen(file);
    pyprof__code_key key;
    memcpy(path, name, sizeof name);
    memcpy(path + layout.str_length, &size, sizeof size);
    memset(path + layout.str_hash, 255, 8);   // not hashed yet
    memcpy(path + layout.str_ascii, file, size + 1);
    put64(code, layout.code_filename, path);
    put64(bytes_type, layout.type_name, bytes_text);
    put64(bytes, layout.object_type, bytes_type);
    size = 1;
    memcpy(bytes + layout.bytes_size, &size, sizeof size);
    bytes[layout.bytes_data] = (unsigned char)constant;
    put64(code, layout.code_consts, bytes);
    pyprof__mirror_begin(&mirror);
    CHECK_INT(pyprof__code_key_read(&codes, &mirror, (uint64_t)(uintptr_t)code, &key), PYPROF__WALK_OK);
    return key.fingerprint;
}

// Only that is freed and made anew all the time. The code of an import, which each sweep meets, would be read whole each time.
TEST(contents_are_read_of_code_compiled_at_run_time)
{
    setup(1);
    CHECK(fingerprint_with("<string>", 'a') != fingerprint_with("<string>", 'b'));
    CHECK(fingerprint_with("<x>", 'a') != fingerprint_with("<x>", 'b'));
    CHECK(fingerprint_with("<frozen", 'a') != fingerprint_with("<frozen", 'b'));
    CHECK(fingerprint_with("<frozen os>", 'a') == fingerprint_with("<frozen os>", 'b'));
    CHECK(fingerprint_with("/x/os.py", 'a') == fingerprint_with("/x/os.py", 'b'));
    CHECK(fingerprint_with("<frozen os>", 'a') != fingerprint_with("<frozen io>", 'a'));
}

// A walk from there, after an earlier one; how many of its spots are taken over from that one and not looked up. For this
// they get another number, of another spot of the same code object.
static size_t taken_over(pyprof__stack *earlier, const void *from)
{
    const pyprof__known_frame *first = (const pyprof__known_frame *)earlier->places.data;
    uint32_t mark = pyprof__spot_find(&codes, first->code_id, 7);
    size_t i, count = 0;
    pyprof__walk w;
    for (i = 0; i < earlier->places.count; i++) ((pyprof__known_frame *)earlier->places.data)[i].spot = mark;
    memset(&w, 0, sizeof w);
    w.codes = &codes;
    w.mirror = &mirror;
    w.stack = &stack;
    w.known = &earlier->places;
    w.max_depth = 100;
    stack.truncated = 0;
    stack.spots.count = stack.places.count = 0;
    pyprof__mirror_begin(&mirror);
    CHECK_INT(pyprof__walk_chain(&w, (uint64_t)(uintptr_t)from, 0), 0);
    for (i = 0; i < stack.spots.count; i++) count += ((const uint32_t *)stack.spots.data)[i] == mark;
    return count;
}

TEST(frames_of_the_last_walk_are_not_looked_up)
{
    pyprof__stack earlier, none;
    pyprof__walk w;
    int i;
    setup(50);
    pyprof__stack_init(&earlier);
    pyprof__stack_init(&none);
    pyprof__array_init(&stack.places, sizeof(pyprof__known_frame));
    memset(&w, 0, sizeof w);
    w.codes = &codes;
    w.mirror = &mirror;
    w.stack = &earlier;
    w.known = &none.places;
    w.max_depth = 100;
    CHECK_INT(pyprof__walk_chain(&w, (uint64_t)(uintptr_t)frames[0], 0), 0);
    CHECK_INT(earlier.spots.count, 50);
    CHECK_INT(earlier.places.count, 50);
    CHECK_INT(taken_over(&earlier, frames[0]), 50);
    CHECK_INT(taken_over(&earlier, frames[40]), 10);   // the others have returned
    for (i = 0; i < 3; i++) put64(frames[i], layout.frame_instr, code + layout.code_bytes + 6);
    CHECK_INT(taken_over(&earlier, frames[0]), 47);
    CHECK_INT(((const pyprof__spot *)codes.spots.data)[((const uint32_t *)stack.spots.data)[2]].instruction, 3);
    frames[20][layout.frame_owner] = 1;   // a generator's: it may be in its first instructions
    CHECK_INT(taken_over(&earlier, frames[3]), 46);
    put32(code, layout.code_firstline, 90);   // all are those of another code object
    CHECK_INT(taken_over(&earlier, frames[3]), 0);
    CHECK_INT(((const pyprof__spot *)codes.spots.data)[((const uint32_t *)stack.spots.data)[0]].place.line, 90);
}

static const pyprof__spot *spot_with(int tlbc)   // the spot of a frame that says it runs copy number tlbc
{
    put32(frames[0], layout.frame_tlbc, (uint32_t)tlbc);
    CHECK_INT(walk(frames[0], 100), 0);
    CHECK_INT(stack.spots.count, 1);
    return (const pyprof__spot *)codes.spots.data + ((const uint32_t *)stack.spots.data)[0];
}

TEST(each_thread_has_its_own_bytecode)
{
    static uint64_t table[1 + 8192];   // as long as a program had more than 4096 threads at once
    static unsigned char copy[64];
    setup_for(0x030e00f0, 1, 1);
    table[0] = 8192;
    put64(code, layout.code_tlbc, table);
    CHECK_INT(spot_with(0)->instruction, 2);
    put64(frames[0], layout.frame_instr, copy + 6);
    table[1 + 5000] = (uint64_t)(uintptr_t)copy;
    CHECK_INT(spot_with(5000)->instruction, 3);
    CHECK_INT(spot_with(5000)->place.line, 7);
    CHECK_INT(spot_with(5001)->place.line, 0);   // no such copy: the function is known, its line is not
    CHECK_INT(spot_with(8192)->place.line, 0);
    table[1 + 5000] = 0;
    CHECK_INT(spot_with(5000)->place.line, 0);
    put64(code, layout.code_tlbc, (void *)8);    // unreadable: nothing is guessed
    CHECK_INT(walk(frames[0], 100), PYPROF_CAUSE_UNREADABLE + 1);
}

TEST(unreadable_parts_of_code_objects_are_not_guessed)   // it was known, and is gone
{
    pyprof__raw_frame known = { .code = 8 };
    pyprof__walk w = { .codes = &codes, .mirror = &mirror, .stack = &stack, .last_address = 8 };
    setup(1);
    CHECK_INT(walk(frames[0], 100), 0);
    stack.spots.count = 0;
    CHECK_INT(pyprof__walk_frame(&w, 8, &known), PYPROF_CAUSE_UNREADABLE + 1);
    CHECK_INT(stack.spots.count, 0);
}

// ---- tasks of asyncio: a Task (name at 16, coroutine at 24) and coroutines made by hand ----------------------------------
static _Alignas(16) unsigned char task[64], task_name[128], str_type[512], coro_type[512], coros[4][256];
static const pyprof__asyncio asyncio = { 16, 24, 32, 0, 0, 0 };

static void build_task(const char *text)
{
    uint64_t size = strlen(text);
    put64(str_type, layout.type_name, "str");
    put64(coro_type, layout.type_name, "coroutine");
    put64(task_name, layout.object_type, str_type);
    put32(task_name, layout.str_state, 1u << layout.str_kind_shift | layout.str_is_compact | layout.str_is_ascii);
    memcpy(task_name + layout.str_length, &size, sizeof size);
    memcpy(task_name + layout.str_ascii, text, size + 1);
    put64(task, 16, task_name);
    put64(task, 24, coros[0]);
}

static const char *spot_name(size_t i)
{
    const pyprof__spot *spot = (const pyprof__spot *)codes.spots.data + ((const uint32_t *)stack.spots.data)[i];
    return pyprof__string(&codes.strings, ((const pyprof__code *)codes.codes.data)[spot->code].name);
}

TEST(a_task_lies_outside_of_its_coroutine)
{
    pyprof__walk w;
    setup(5);
    build_task("my task");
    memset(&w, 0, sizeof w);
    w.codes = &codes;
    w.mirror = &mirror;
    w.stack = &stack;
    w.max_depth = 100;
    w.task_name_at = 16;
    w.tasks[0].frame = 8;
    w.tasks[1].task = (uint64_t)(uintptr_t)task;
    w.tasks[1].frame = (uint64_t)(uintptr_t)frames[2];
    w.task_count = 2;
    CHECK_INT(pyprof__walk_chain(&w, (uint64_t)(uintptr_t)frames[0], 0), 0);
    CHECK_INT(stack.spots.count, 6);
    CHECK_STR(spot_name(2), "fun");
    CHECK_STR(spot_name(3), "my task");
    CHECK_STR(spot_name(4), "fun");
    w.tasks[1].frame++;                  // it is not on the stack: no guess
    CHECK_INT(pyprof__walk_below(&w, (uint64_t)(uintptr_t)frames[0], 0), 0);
    CHECK_INT(stack.spots.count, 5);
    w.tasks[1].frame--;
    put64(task, 16, coros[0]);           // its name is none
    pyprof__mirror_begin(&mirror);
    CHECK_INT(pyprof__walk_below(&w, (uint64_t)(uintptr_t)frames[0], 0), 0);
    CHECK_INT(stack.spots.count, 5);
}

TEST(names_of_tasks)
{
    static const struct { const char *name, *shown; } names[] = {
        { "Task-1", "Task-*" }, { "Task-12345678901234567890", "Task-*" }, { "Task-", "Task-" }, { "Task-1a", "Task-1a" }, { "Task 1", "Task 1" },
        { "", "<unnamed task>" },
    };
    char text[PYPROF__TASK_SIZE];
    uint32_t more;
    setup(1);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        build_task(names[i].name);
        pyprof__mirror_begin(&mirror);
        CHECK(pyprof__task_name(&codes, &mirror, (uint64_t)(uintptr_t)task_name, text));
        CHECK_STR(text, names[i].shown);
    }
    CHECK(!pyprof__task_name(&codes, &mirror, 0, text));
    for (int i = 0; i < 3000; i++) {
        snprintf(text, sizeof text, "name %d", i % 1500);
        CHECK(pyprof__task_spot(&codes, text) != 0xffffffffu);
    }
    CHECK_INT(codes.tasks, 1001);
    more = pyprof__task_spot(&codes, "<more tasks>");
    CHECK_INT(pyprof__task_spot(&codes, "name 1400"), more);
    CHECK(pyprof__task_spot(&codes, "name 900") != more);
}

static void coroutine(int i, const void *awaited, unsigned char state)   // its frame, and behind it the value stack
{
    unsigned char *at = coros[i] + layout.gen_frame;
    put64(coros[i], layout.object_type, coro_type);
    coros[i][layout.gen_state] = state;
    put64(at, layout.frame_previous, NULL);
    put64(at, layout.frame_code, code);
    put64(at, layout.frame_instr, code + layout.code_bytes + 4);
    at[layout.frame_owner] = 1;
    put64(at, layout.frame_stack, at + 120);
    put64(at, 120 - layout.awaited, awaited);
}

static int await(void)
{
    pyprof__walk w;
    memset(&w, 0, sizeof w);
    w.codes = &codes;
    w.mirror = &mirror;
    w.stack = &stack;
    w.max_depth = 50;
    stack.spots.count = 0;
    pyprof__mirror_begin(&mirror);
    return pyprof__await_chain(&w, &asyncio, (uint64_t)(uintptr_t)task);
}

TEST(chains_of_coroutines)
{
    static const uint32_t versions[] = { 0x030e00f0, 0x030f00f0 };
    for (size_t v = 0; v < sizeof versions / sizeof *versions; v++) {
        unsigned char awaits;
        setup_for(versions[v], 0, 1);
        build_task("waits");
        awaits = (unsigned char)layout.gen_awaits;
        coroutine(0, coros[1], awaits);
        coroutine(1, coros[2] + 1, awaits);   // tagged
        coroutine(2, name, awaits);           // a future, or anything
        CHECK_INT(await(), 0);
        CHECK_INT(stack.spots.count, 4);
        CHECK_STR(spot_name(0), "waits");
        CHECK_STR(spot_name(3), "fun");
        coroutine(1, coros[2], (unsigned char)(awaits + 7));
        CHECK_INT(await(), 0);
        CHECK_INT(stack.spots.count, 3);      // not yet started, or it yields itself
        coroutine(1, coros[0], awaits);       // a ring
        CHECK_INT(await(), 0);
        CHECK_INT(stack.spots.count, 51);
        coroutine(1, coros[2], awaits);
        put64(coros[1] + layout.gen_frame, layout.frame_stack, (const void *)(uintptr_t)0x10008);
        CHECK_INT(await(), PYPROF_CAUSE_CHAIN + 1);
        put64(coros[1] + layout.gen_frame, layout.frame_previous, frames[0]);   // it runs
        CHECK_INT(await(), PYPROF_CAUSE_MOVED + 1);
        coroutine(0, (const void *)(uintptr_t)0x10008, awaits);
        CHECK_INT(await(), 0);
        CHECK_INT(stack.spots.count, 2);
    }
}

// Is the newest of two or three states taken for started? Each is { address, interpreter, serial, ident, native, sweep }; sweep 7 is now.
typedef struct { uint64_t address, interp, serial, ident; int64_t native; uint32_t tick; } state;

static int has_started(const state *states, size_t count)
{
    pyprof__pool own;
    pyprof__threads list;
    size_t i;
    int started;
    memset(&list, 0, sizeof list);
    pyprof__pool_init(&own, NULL, UINT64_MAX);
    pyprof__array_init(&list.threads, sizeof(pyprof__thread));
    list.tick = 7;
    for (i = 0; i < count; i++) {
        pyprof__thread *thread = (pyprof__thread *)pyprof__push(&own, &list.threads);
        thread->address = states[i].address;
        thread->interp = states[i].interp;
        thread->serial = states[i].serial;
        thread->ident = states[i].ident;
        thread->native = states[i].native;
        thread->tick = states[i].tick;
    }
    started = pyprof__thread_has_started(&list, (const pyprof__thread *)list.threads.data + count - 1);
    pyprof__array_free(&own, &list.threads);
    return started;
}

TEST(states_made_for_threads_that_have_not_started)
{
    const state own[] = { { 64, 8, 1, 10, 20, 7 }, { 128, 8, 2, 11, 21, 7 } };
    const state creators[] = { { 64, 8, 1, 10, 20, 7 }, { 128, 8, 2, 10, 20, 7 } };
    const state native_to_come[] = { { 64, 8, 1, 10, 20, 7 }, { 128, 8, 2, 11, 20, 7 } };
    const state ident_read_before[] = { { 64, 8, 1, 10, 20, 7 }, { 128, 8, 2, 10, 21, 7 } };
    const state list_that_ends[] = { { 64, 8, 1, 10, 20, 6 }, { 128, 8, 2, 10, 20, 7 } };
    const state long_ago[] = { { 64, 8, 1, 10, 20, 5 }, { 128, 8, 2, 10, 20, 7 } };
    const state one_after_the_other[] = { { 64, 8, 1, 10, 20, 7 }, { 128, 8, 2, 11, 21, 6 }, { 192, 8, 3, 11, 21, 7 } };
    const state at_its_address[] = { { 128, 8, 1, 10, 20, 6 }, { 128, 8, 2, 10, 20, 7 } };
    const state elsewhere[] = { { 64, 8, 1, 10, 20, 7 }, { 128, 16, 2, 10, 20, 7 } };
    CHECK(has_started(own, 1) && has_started(own, 2));
    CHECK(!has_started(creators, 2));
    CHECK(!has_started(native_to_come, 2) && !has_started(ident_read_before, 2));
    CHECK(!has_started(list_that_ends, 2));
    CHECK(has_started(long_ago, 2) && has_started(one_after_the_other, 3));
    CHECK(has_started(at_its_address, 2) && has_started(elsewhere, 2));
}

TEST(a_state_with_other_ids_is_another_thread)
{
    static _Alignas(16) unsigned char raw[512];
    pyprof__target target;
    pyprof__threads list;
    pyprof__thread *thread;
    uint64_t next;
    int pass;
    setup(1);
    memset(&target, 0, sizeof target);
    target.runtime.layout = layout;
    target.origin = origin;
    pyprof__threads_init(&list, &pool, &mirror, &target);
    put32(raw, layout.thread_status, layout.status_alive);
    put64(raw, layout.thread_interp, code);
    put64(raw, layout.thread_serial, (void *)3);
    for (pass = 0; pass < 3; pass++) {   // the same ids twice, then others
        put64(raw, layout.thread_ident, (void *)(uintptr_t)(pass < 2 ? 10 : 11));
        put64(raw, layout.thread_native, (void *)(uintptr_t)(pass < 2 ? 20 : 21));
        list.tick++;
        pyprof__mirror_begin(&mirror);
        CHECK(pyprof__thread_list_one(&list, (uint64_t)(uintptr_t)raw, (uint64_t)(uintptr_t)code, 0, &next));
        CHECK_INT(list.threads.count, 1);
        thread = (pyprof__thread *)list.threads.data;
        CHECK(thread->started == (pass == 1) && thread->named == (uint32_t)(pass == 1));
        CHECK_STR(thread->name, pass == 1 ? "MainThread" : "");
        thread->started = 1;
        thread->named = 1;
        memcpy(thread->name, "MainThread", 11);
    }
    pyprof__threads_free(&list);
}

// ---- who waits for the GIL ------------------------------------------------------------------------------------------------
static pyprof__sweeper sweeper;

static pyprof__thread *waiter(size_t i) { return &((pyprof__thread *)sweeper.list.threads.data)[i]; }
static pyprof__gil *queue(void) { return (pyprof__gil *)sweeper.list.gils.data; }

static void setup_waiters(size_t count)   // of which nothing is known but that they stand still
{
    setup(1);
    memset(&sweeper, 0, sizeof sweeper);
    sweeper.pool = pool;
    sweeper.list.pool = &pool;
    sweeper.target.origin = origin;
    sweeper.codes = codes;
    sweeper.target.fine_clock = 1;
    sweeper.elapsed_ns = 1000000;
    sweeper.list.tick = 7;
    pyprof__array_init(&sweeper.list.threads, sizeof(pyprof__thread));
    pyprof__array_init(&sweeper.list.gils, sizeof(pyprof__gil));
    pyprof__array_init(&sweeper.list.listed, sizeof(uint32_t));
    CHECK(pyprof__push(&pool, &sweeper.list.gils));
    queue()->interp = 8;
    queue()->slot = 0xffffffffu;
    queue()->enabled = 1;
    for (size_t i = 0; i < count; i++) {
        CHECK(pyprof__push(&pool, &sweeper.list.threads));
        waiter(i)->slot = (uint32_t)i;
        CHECK(pyprof__thread_push(&sweeper.list, waiter(i)));
        waiter(i)->address = 64 * (i + 1);
        waiter(i)->interp = 8;
        waiter(i)->tick = 7;
        waiter(i)->native = 0x7ffffff0;   // no such thread: a look tells nothing
        waiter(i)->waiting = 1;
        waiter(i)->cause = 1;
        waiter(i)->cpu_ns = waiter(i)->last_cpu_ns = 1000;
    }
}

static int clue_of(pyprof__thread *thread)
{
    thread->stayed = pyprof__still_wants_gil(thread, 9);
    return pyprof__clue_of(&sweeper, thread);
}

TEST(a_waiter_for_the_gil_is_known_until_it_may_have_got_it)
{
    setup_waiters(1);
    pyprof__thread *thread = waiter(0);
    CHECK_INT(clue_of(thread), PYPROF__CLUE_UNSEEN);
    thread->spell = PYPROF__WANTS_GIL;
    pyprof__spell_begin(thread, 9, 0);
    CHECK_INT(clue_of(thread), PYPROF__CLUE_SAME);
    thread->cpu_ns += 20000;                             // it woke up to ask for it
    CHECK_INT(clue_of(thread), PYPROF__CLUE_SAME);
    thread->held_by++;                                   // somebody got it: this one?
    CHECK_INT(clue_of(thread), PYPROF__CLUE_MAYBE);
    thread->version++;                                   // its stack is another one: it did
    CHECK_INT(clue_of(thread), PYPROF__CLUE_UNSEEN);
    pyprof__spell_begin(thread, 9, 1);                   // concluded, not seen: to be concluded again each time
    CHECK_INT(clue_of(thread), PYPROF__CLUE_MAYBE);
    thread->cpu_ns += 1000000;
    CHECK_INT(clue_of(thread), PYPROF__CLUE_UNSEEN);
    thread->waiting = 0;
    thread->holder = 1;
    CHECK_INT(clue_of(thread), PYPROF__CLUE_RUNS);
}

TEST(a_queue_as_long_as_it_can_be_needs_no_look)
{
    for (uint32_t waiters = 0; waiters < 4; waiters++)
        for (int maybe = 0; maybe < 2; maybe++) {        // seen there once, or not at all
            setup_waiters(3);
            queue()->waiters = waiters;
            for (size_t i = 0; i < 3; i++) {
                if (maybe) { waiter(i)->spell = PYPROF__WANTS_GIL; pyprof__spell_begin(waiter(i), 1, 1); }
                waiter(i)->clue = maybe ? PYPROF__CLUE_MAYBE : PYPROF__CLUE_UNSEEN;
            }
            *(maybe ? &queue()->maybe : &queue()->unseen) = 3;
            pyprof__decide_unsure(&sweeper, maybe ? PYPROF__CLUE_MAYBE : PYPROF__CLUE_UNSEEN, 9);
            // Each that a look rules out makes it shorter, until the rest of them fill the queue.
            CHECK_INT(sweeper.looks, waiters == 0 ? 3 : 3 - waiters);
            CHECK_INT(queue()->queued, waiters);
            for (size_t i = 0; i < 3; i++)
                CHECK_INT(!!(waiter(i)->state & PYPROF__WANTS_GIL), waiter(i)->spell_ns != 0 && waiter(i)->spell_assumed);
        }
}

// ---- who ran at the tick ------------------------------------------------------------------------------------------------
static int64_t spinner_tid, sleeper_tid;
static int stop;

static void *spin(void *unused)
{
    __atomic_store_n(&spinner_tid, pyprof__gettid(), __ATOMIC_RELEASE);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {}
    return unused;
}

static void *sleep_long(void *unused)
{
    __atomic_store_n(&sleeper_tid, pyprof__gettid(), __ATOMIC_RELEASE);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) pyprof__nap(100000000);
    return unused;
}

TEST(the_scheduler_tells_which_thread_ran_before_the_sampler)
{
    pthread_t spinner, sleeper;
    int same = 0, tries = 0, apart = 0;
    if (!pyprof__cpus_only(pyprof__cpu_here(0))) SKIP("it cannot choose its CPU here");
    if (!pyprof__last_run(&pyprof__own_proc, pyprof__gettid())) SKIP("this kernel does not tell when a thread ran last");
    CHECK(pthread_create(&spinner, NULL, spin, NULL) == 0 && pthread_create(&sleeper, NULL, sleep_long, NULL) == 0);
    while (!__atomic_load_n(&spinner_tid, __ATOMIC_ACQUIRE) || !__atomic_load_n(&sleeper_tid, __ATOMIC_ACQUIRE)) pyprof__nap(1000000);
    // By chance it would be none; in most tries another process can have had the CPU, or the timer's tick has come since.
    for (double end = test__now() + 20; tries < 50 || (same <= 5 && test__now() < end); tries++) {
        pyprof__nap(3000000);   // the spinner runs; then this thread takes the CPU from it
        uint64_t mine = pyprof__last_run(&pyprof__own_proc, pyprof__gettid()), spun = pyprof__last_run(&pyprof__own_proc, spinner_tid), slept = pyprof__last_run(&pyprof__own_proc, sleeper_tid);
        same += mine - spun < PYPROF__BLUR_NS || spun - mine < PYPROF__BLUR_NS;
        apart += mine - slept > 1000000;
    }
    printf("%d of %d the same moment, %d long ago\n", same, tries, apart);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(spinner, NULL);
    pthread_join(sleeper, NULL);
    CHECK(same > 5);
    CHECK(apart > tries / 2);
}

TEST_MAIN
