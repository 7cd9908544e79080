// The table of pyprof top: widths of text on a terminal, cuts, filters, and the model against pyprof_top.
#include "test.h"
#include "inside.h"
#pragma GCC diagnostic ignored "-Wunused-function"   // of what else the command has
#include "../examples/pyprof_top.h"
#include <locale.h>
#include <wchar.h>

static struct top_line line_of(int limit)
{
    struct top_line line;
    memset(&line, 0, sizeof line);
    line.limit = limit;
    line.utf8 = 1;
    return line;
}

static const char *cut(const char *text, int limit)   // leaks
{
    struct top_line line = line_of(limit);
    top_raw(&line, "", 0);
    top_put(&line, text, INT32_MAX);
    CHECK(line.cells <= limit && line.cells == top_text_width(line.data, 1));
    return line.data;
}

static int encode(uint32_t code, char *text)
{
    if (code < 0x80) return text[0] = (char)code, 1;
    if (code < 0x800) return text[0] = (char)(0xc0 | code >> 6), text[1] = (char)(0x80 | (code & 63)), 2;
    if (code < 0x10000)
        return text[0] = (char)(0xe0 | code >> 12), text[1] = (char)(0x80 | (code >> 6 & 63)), text[2] = (char)(0x80 | (code & 63)), 3;
    text[0] = (char)(0xf0 | code >> 18), text[1] = (char)(0x80 | (code >> 12 & 63)), text[2] = (char)(0x80 | (code >> 6 & 63));
    return text[3] = (char)(0x80 | (code & 63)), 4;
}

static void ordered(const struct cli_range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) CHECK(ranges[i].first <= ranges[i].last && (!i || ranges[i].first > ranges[i - 1].last));
}

TEST(ranges)
{
    ordered(top_wide, CLI_COUNT(top_wide));
    ordered(top_zero, CLI_COUNT(top_zero));
    ordered(cli_unshown, CLI_COUNT(cli_unshown));
    ordered(top_dropped, CLI_COUNT(top_dropped));
}

TEST(widths)
{
    static const struct { const char *text; int width; } known[] = {
        { "", 0 }, { "spin", 4 }, { "\xc3\xa9", 1 }, { "e\xcc\x81", 1 }, { "\xe8\xa8\x88\xe7\xae\x97", 4 }, { "\xf0\x9f\x90\x8d", 2 },
        { "\xed\x95\x9c", 2 }, { "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", 2 },                        // a syllable, and in parts
        { "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x94\xac", 4 }, { "\xe2\x9d\xa4\xef\xb8\x8f", 1 },   // joined, and with a variant
        { "\xef\xbc\xa1", 2 }, { "\xef\xbd\xb1", 1 }, { "\xd7\xa9\xd6\xb8", 1 }, { "\xe0\xa4\x95\xe0\xa5\x8d", 1 },
        { "\n", 4 }, { "\33[2J", 7 }, { "\xe2\x80\xae", 6 }, { "\xff", 4 }, { "\xc2\x9b", 6 }, { "\xe8\xa8", 8 },
    };
    for (size_t i = 0; i < CLI_COUNT(known); i++) {
        if (top_text_width(known[i].text, 1) != known[i].width) printf("text %zu: %s\n", i, known[i].text);
        CHECK_INT(top_text_width(known[i].text, 1), known[i].width);
    }
}

TEST(no_character_controls_the_terminal)
{
    for (uint32_t code = 1; code < 0x110000; code++) {
        char text[8] = "", shown[16];
        const char *at = text, *check = shown;
        for (int utf8 = 0; utf8 < 2; utf8++) {
            text[encode(code, text)] = '\0';
            at = text;
            check = shown;
            int width = top_glyph(&at, utf8, shown);
            CHECK(width >= 0 && width <= 10 && (*at == '\0' || (code >= 0xd800 && code < 0xe000)));
            while (*check) {
                uint32_t out = cli_decode(&check);
                CHECK(out != 0xffffffff && out >= 0x20 && !(out >= 0x7f && out < 0xa0) && !(out >= 0x2028 && out <= 0x202e) && (utf8 || out < 0x7f));
            }
        }
    }
}

TEST(widths_are_those_of_libc)
{
    int compared = 0, differ = 0;
    if (!setlocale(LC_CTYPE, "C.UTF-8")) SKIP("no locale C.UTF-8");
    for (uint32_t code = 0x20; code < 0x20000; code++) {
        int width = wcwidth((wchar_t)code);
        if (width < 0 || CLI_IN(cli_unshown, code) || CLI_IN(top_dropped, code)) continue;
        compared++;
        differ += width != top_code_width(code);
    }
    printf("%d of %d differ\n", differ, compared);
    CHECK(compared > 60000 && differ < compared / 200);
}

TEST(cuts)
{
    CHECK_STR(cut("function", 8), "function");
    CHECK_STR(cut("function", 7), "functi\xe2\x80\xa6");
    CHECK_STR(cut("function", 1), "\xe2\x80\xa6");
    CHECK_STR(cut("function", 0), "");
    CHECK_STR(cut("\xe8\xa8\x88\xe7\xae\x97", 4), "\xe8\xa8\x88\xe7\xae\x97");
    CHECK_STR(cut("\xe8\xa8\x88\xe7\xae\x97", 3), "\xe8\xa8\x88\xe2\x80\xa6");
    CHECK_STR(cut("\xe8\xa8\x88\xe7\xae\x97", 2), "\xe2\x80\xa6 ");   // half of a character is left
    CHECK_STR(cut("e\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81z", 9), "e\xcc\x81\xcc\x81\xcc\x81\xcc\x81z");
}

TEST(cuts_of_anything_fit)
{
    unsigned seed = 1;
    for (int round = 0; round < 3000; round++) {
        char text[41];
        for (size_t i = 0; i < 40; i++) text[i] = (char)(1 + (seed = seed * 1103515245u + 12345u) / 65536u % 255u);
        text[40] = '\0';
        free((void *)(uintptr_t)cut(text, (int)(seed / 65536u % 50u)));
    }
}

TEST(numbers)
{
    char text[64];
    top_percent(text, 1, 8);
    CHECK_STR(text, "12.5%");
    top_percent(text, 1, 0);
    CHECK_STR(text, "-");
    top_percent(text, 123.456, 1);
    CHECK_STR(text, "12346%");
    top_seconds(text, 12.345);
    CHECK_STR(text, "12.35s");
    top_seconds(text, 123456);
    CHECK_STR(text, "123456s");
    top_bytes(text, 1023);
    CHECK_STR(text, "1.0K");
    top_bytes(text, 5.5 * 1024 * 1024);
    CHECK_STR(text, "5.5M");
    top_clock(text, 93784);
    CHECK_STR(text, "1d2:03:04");
}

TEST(filters)
{
    CHECK(top_matches("", "spin", "app.py") && top_matches("pi", "spin", "") && top_matches("SP|pin", "spin", ""));
    CHECK(!top_matches("Spin", "spin", ""));
    CHECK(top_matches("spin", "SPIN", "") && top_matches("app", "spin", "/srv/app.py") && !top_matches("^app", "spin", "/srv/app.py"));
    CHECK(top_matches("^sp", "spin", "") && !top_matches("^pin", "spin", "") && top_matches("pin$", "spin", "") && !top_matches("spi$", "spin", ""));
    CHECK(top_matches("s*n", "spin", "") && top_matches("s.*n", "spin", "") && top_matches("s?in", "spin", "") && top_matches("[st]pin", "spin", ""));
    CHECK(top_matches("!load", "spin", "") && !top_matches("!sp", "spin", "") && top_matches("!", "spin", "") && top_matches("|", "spin", "") == 0);
    CHECK(top_matches("a.b", "a.b", "") && !top_matches("a.b", "axb", ""));
}

TEST(last_minute)
{
    struct top_model model;
    double cpu = 0, seconds = 0;
    top_model_init(&model, 1, 0);
    for (int i = 0; i < 100; i++) top_load_add(&model, 0.75 * i, 0.75, 0.75 * (i >= 20), 0);   // 75 s; busy from 15 s on
    for (int i = 0; i < TOP_SLOTS; i++) cpu += model.slots[i].cpu, seconds += model.slots[i].seconds;
    CHECK(cpu > 58.9 && cpu <= 60.001 && seconds > 58.9 && seconds <= 60.001 && model.slot == 75);
    top_load_add(&model, 75, 1000, 500, 250);   // longer than a minute
    CHECK_INT(model.slot, 1075);
    for (int i = 1; i < TOP_SLOTS; i++) CHECK(model.slots[(1075 - i) % TOP_SLOTS].cpu > 0.49 && model.slots[(1075 - i) % TOP_SLOTS].cpu < 0.51);
    top_model_free(&model);
}

// ---- the model: every row is that of pyprof_top -----------------------------------------------------
static const pyprof_query all_states = { .states = PYPROF_STATES_ALL };

static const struct top_row *row_of(const struct top_ui *ui, const pyprof_row *wanted)
{
    for (size_t i = 0; i < ui->row_count; i++) {
        const struct top_place *place = &ui->model.places[ui->rows[i].place];
        if (!strcmp(place->file, wanted->file) && (ui->view == TOP_WAITS || place->line == wanted->line)
            && !strcmp(place->name, ui->view == TOP_WAITS ? wanted->name : wanted->qualname)) return &ui->rows[i];
    }
    return NULL;
}

static void same_rows(struct top_ui *ui, const pyprof_profile *profile, enum top_view view, int group, int times)
{
    static pyprof_row rows[500];
    pyprof_query query = all_states;
    size_t count, found = 0;
    query.group = group;
    ui->view = view;
    top_table(ui);
    CHECK_INT(pyprof_top(profile, &query, rows, sizeof *rows, 500, &count), PYPROF_OK);
    for (size_t i = 0; i < count && i < 500; i++) {
        const struct top_row *row;
        if ((group == PYPROF_GROUP_LEAF && rows[i].kind != PYPROF_KIND_WAIT) || !rows[i].total[PYPROF_WALL_NS]) continue;
        row = row_of(ui, &rows[i]);
        if (!row) printf("%s %s %d is not there\n", rows[i].qualname, rows[i].file, (int)rows[i].line);
        CHECK(row != NULL);
        found++;
        for (int metric = 0; metric < TOP_TIMES; metric++) {
            CHECK_INT(row->whole[TOP_SELF][metric], times * rows[i].self[top_metrics[metric]]);
            CHECK_INT(row->whole[TOP_TOTAL][metric], times * rows[i].total[top_metrics[metric]]);
            CHECK_INT(row->recent[TOP_SELF][metric], rows[i].self[top_metrics[metric]]);
            CHECK_INT(row->recent[TOP_TOTAL][metric], rows[i].total[top_metrics[metric]]);
        }
    }
    CHECK_INT(ui->row_count, found);
}

static void check_file(const char *path)
{
    static struct top_ui ui;
    pyprof_profile *profile;
    memset(&ui, 0, sizeof ui);
    ui.states = PYPROF_STATES_ALL;
    ui.focus_thread = ui.focus_process = -1;
    CHECK_INT(pyprof_load(path, &profile), PYPROF_OK);
    top_model_init(&ui.model, 0, 0);
    ui.model.window_s = 0.01;   // the last interval only
    for (int times = 1; times <= 3; times++) {
        CHECK(top_model_add(&ui.model, profile, &all_states));
        same_rows(&ui, profile, TOP_FUNCTIONS, PYPROF_GROUP_FUNCTION, times);
        same_rows(&ui, profile, TOP_LINES, PYPROF_GROUP_LINE, times);
        same_rows(&ui, profile, TOP_WAITS, PYPROF_GROUP_LEAF, times);
    }
    CHECK_INT(ui.model.interval_count, 1);
    top_model_reset(&ui.model);
    CHECK(top_model_add(&ui.model, profile, &all_states));
    same_rows(&ui, profile, TOP_FUNCTIONS, PYPROF_GROUP_FUNCTION, 1);
    top_model_free(&ui.model);
    free(ui.rows);
    pyprof_profile_free(profile);
}

TEST(rows_of_states) { check_file("tests/golden/states.json"); }
TEST(rows_of_example) { check_file("tests/golden/example.json"); }
TEST(rows_of_memory) { check_file("tests/golden/memory.json"); }

TEST(the_command)
{
    struct cli_options options;
    const char *input[] = { "tests/golden/states.json", NULL };
    memset(&options, 0, sizeof options);
    options.input = input;
    options.inputs = 1;
    CHECK(freopen("/dev/null", "r", stdin) != NULL);
    CHECK_INT(pyprof_cli_top(&options), 0);
}
TEST_MAIN
