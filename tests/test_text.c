// Text: whatever comes in, what comes out is valid UTF-8; numbers look the same in every locale.
#include "test.h"
#include "inside.h"
#include <locale.h>
#include <math.h>

static const char *repaired(const char *text)
{
    static char out[256];
    size_t size = pyprof__utf8_repair(out, sizeof out, text);
    CHECK_INT(size, strlen(out));
    return out;
}

#define R "\xef\xbf\xbd"   // the replacement character

TEST(rejects_invalid_utf8)
{
    static const char *const cases[][2] = {
        { "", "" }, { "plain \x7f\x01", "plain \x7f\x01" }, { "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8d", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8d" },
        { "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf" },   // beside the gaps
        { "\xff", R }, { "\x80", R }, { "a\xfe" "b", "a" R "b" },
        { "\xc0\x80", R R }, { "\xc1\xbf", R R }, { "\xe0\x9f\xbf", R R R }, { "\xf0\x8f\xbf\xbf", R R R R },   // overlong
        { "\xed\xa0\x80", R R R }, { "\xed\xbf\xbf", R R R },                                           // surrogates
        { "\xf4\x90\x80\x80", R R R R }, { "\xf8\x88\x80\x80\x80", R R R R R },                         // too large
        { "\xc3", R }, { "\xe2\x82", R R }, { "\xf0\x9f\x90", R R R }, { "\xe2\x82" "a", R R "a" }, { "\xc3\xc3\xa9", R "\xc3\xa9" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) CHECK_STR(repaired(cases[i][0]), cases[i][1]);
}

TEST(utf8_of_every_character)
{
    for (uint32_t c = 1; c < 0x120000; c++) {
        char text[8];
        size_t length, n = pyprof__utf8(text, c);
        text[n] = '\0';
        uint32_t want = (c >= 0xd800 && c < 0xe000) || c > 0x10ffff ? 0xfffd : c;
        CHECK_INT(pyprof__utf8_next(text, &length), want);
        CHECK_INT(length, n);
    }
}

TEST(utf8_is_cut_between_characters)
{
    char out[8];
    CHECK_INT(pyprof__utf8_repair(out, 4, "ab\xe2\x82\xac"), 2);
    CHECK_STR(out, "ab");
    CHECK_INT(pyprof__utf8_repair(out, 6, "ab\xe2\x82\xac"), 5);
    CHECK_INT(pyprof__utf8_repair(out, 1, "ab"), 0);
    CHECK_STR(out, "");
}

TEST(unsafe_characters)
{
    static const uint32_t unsafe[] = { 0, '\n', 0x1b, 0x7f, 0x85, 0x9b, 0x61c, 0x200e, 0x200f, 0x2028, 0x2029, 0x202e, 0x2066, 0x2069, 0xfeff };
    static const uint32_t fine[] = { ' ', 'a', '<', 0xa0, 0xe9, 0x5e9, 0x200d, 0x2027, 0x202f, 0x2065, 0x206a, 0xfffd, 0x1f40d };
    for (size_t i = 0; i < sizeof unsafe / sizeof *unsafe; i++) CHECK(pyprof__is_unsafe(unsafe[i]));
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) CHECK(!pyprof__is_unsafe(fine[i]));
}

TEST(copied_text_is_cut)
{
    char out[4];
    pyprof__copy_text(out, sizeof out, "abcdef");
    CHECK_STR(out, "abc");
    pyprof__copy_text(out, sizeof out, "ab");
    CHECK_STR(out, "ab");
}

TEST(interned_strings)
{
    pyprof__pool pool;
    pyprof__strings strings;
    char text[16];
    pyprof__pool_init(&pool, NULL, UINT64_MAX);
    CHECK(pyprof__strings_init(&pool, &strings));
    CHECK_INT(pyprof__intern(&pool, &strings, "", 0), 0);
    for (int round = 0; round < 2; round++)
        for (int i = 1; i < 5000; i++) {
            int size = snprintf(text, sizeof text, "%d", i);
            CHECK_INT(pyprof__intern(&pool, &strings, text, (size_t)size), i);
            CHECK_STR(pyprof__string(&strings, (uint32_t)i), text);
        }
    CHECK_INT(pyprof__intern(&pool, &strings, "12345", 2), 12);   // a part of a longer one
    CHECK_STR(pyprof__string(&strings, 0xffffffffu), "");
    CHECK_STR(pyprof__string(&strings, 5000), "");
    pyprof__strings_free(&pool, &strings);
    CHECK_INT(pool.used, 0);
}

static const char *fixed(double value, int digits)
{
    static char out[64];
    size_t size = pyprof__format_fixed(out, sizeof out, value, digits);
    CHECK_INT(size, strlen(out));
    return out;
}

static void check_numbers(void)
{
    CHECK_STR(fixed(0, 0), "0");
    CHECK_STR(fixed(0, 2), "0.00");
    CHECK_STR(fixed(1.005, 1), "1.0");
    CHECK_STR(fixed(1.25, 1), "1.3");
    CHECK_STR(fixed(9.995, 0), "10");
    CHECK_STR(fixed(99.96, 1), "100.0");
    CHECK_STR(fixed(0.000001, 6), "0.000001");
    CHECK_STR(fixed(-1.5, 2), "-1.50");
    CHECK_STR(fixed(-0.04, 1), "0.0");   // no minus before nothing
    CHECK_STR(fixed(-0.25, 1), "-0.3");
    CHECK_STR(fixed(1234567.5, 3), "1234567.500");
    CHECK_STR(fixed(1700000000.25, 6), "1700000000.250000");
    CHECK_STR(fixed((double)NAN, 2), "0.00");
    CHECK_STR(fixed((double)INFINITY, 1), "0.0");
    CHECK_STR(fixed(-(double)INFINITY, 0), "0");
    CHECK_STR(fixed(1e300, 0), "0");
}

TEST(fixed_numbers) { check_numbers(); }

TEST(fixed_numbers_that_are_large)   // nothing is cut from the left
{
    CHECK_STR(fixed(1e14, 3), "100000000000000.000");
    CHECK_STR(fixed(1e14, 6), "100000000000000.000000");
}

TEST(fixed_numbers_under_a_comma_locale)
{
    char dir[] = "/tmp/pyprof-test-XXXXXX", command[256];
    const char *codes = test_long() ? "UTF-8" : "ISO-8859-1";   // that of UTF-8 takes 2 s
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
    check_numbers();
}

TEST_MAIN
