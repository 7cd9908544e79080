// written.h - what the tests of the writers share: output in memory, golden files, checkers. Include it after model.h.
#ifndef WRITTEN_H
#define WRITTEN_H

// Names as code can have them (what is no Unicode is U+FFFD by then), and as no code can: in files that are repaired.
#define HOSTILE "q\"'\\</script>]]>&<!--;\n\t\x01\x7f\xc2\x85\xe2\x80\xae\xe2\x80\xa8\xef\xbb\xbf\xef\xbf\xbd%s%n\xf0\x9f\x90\x8d"
#define BROKEN "\xff.\xed\xa0\x80.\xc0\xaf.\xe2\x82.\xf8\x88\x80\x80\x80.\xc3"

typedef struct { char *data; size_t size; } output_text;

static inline int append(void *user, const void *data, size_t size)
{
    output_text *to = (output_text *)user;
    to->data = realloc(to->data, to->size + size + 1);
    memcpy(to->data + to->size, data, size);
    to->data[to->size += size] = '\0';
    return 0;
}

static inline output_text written(const pyprof_profile *profile, pyprof_output output)
{
    output_text out = { calloc(1, 1), 0 };
    pyprof_result result = pyprof_write(profile, &output, append, &out);
    if (result) printf("%s\n", pyprof_last_error());
    CHECK_INT(result, PYPROF_OK);
    return out;
}

static inline output_text written_as(const pyprof_profile *profile, int format) { return written(profile, (pyprof_output){ .format = format }); }

// Byte for byte as in tests/golden; UPDATE_GOLDEN=1 writes those files.
static inline void same_as_golden(const char *file, output_text got)
{
    char path[512];
    output_text want = { malloc(1 << 20), 0 };
    snprintf(path, sizeof path, "%.*sgolden/%s", (int)(strrchr(__FILE__, '/') + 1 - __FILE__), __FILE__, file);
    FILE *f = fopen(path, getenv("UPDATE_GOLDEN") ? "w" : "r");
    if (!f) { perror(path); CHECK(!"golden file"); }
    if (getenv("UPDATE_GOLDEN")) CHECK_INT(fwrite(got.data, 1, got.size, f), got.size);
    else {
        want.size = fread(want.data, 1, 1 << 20, f);
        size_t same = 0, line = 1;
        for (; same < got.size && same < want.size && got.data[same] == want.data[same]; same++) line += got.data[same] == '\n';
        if (same != got.size || same != want.size)
            printf("%s:%zu: differs at byte %zu:\n%.120s\nis not\n%.120s\n", path, line, same, got.data + same, want.data + same);
        CHECK(same == got.size && same == want.size);
    }
    CHECK_INT(fclose(f), 0);
}

static inline void golden(const char *file, const pyprof_profile *profile, pyprof_output output) { same_as_golden(file, written(profile, output)); }

// The data in a page; nothing is left of the page itself.
static inline output_text html_data(output_text page)
{
    const char *mark = "id=\"data\">", *begin = page.data ? strstr(page.data, mark) : NULL, *end = begin ? strstr(begin, "</script>") : NULL;
    output_text data = { calloc(1, 1), 0 };
    if (end) append(&data, begin + strlen(mark), (size_t)(end - begin) - strlen(mark));
    free(page.data);
    return data;
}

// ---- JSON: a strict checker -----------------------------------------------------------------------------------------
static inline const char *json_value(const char *at);   // behind the value that begins there; NULL = there is none

static inline const char *json_string(const char *at)
{
    if (*at++ != '"') return NULL;
    for (size_t n; *at != '"'; at += n) {
        uint32_t c = pyprof__utf8_next(at, &n);
        if (c < 0x20 || (c == 0xfffd && n == 1)) return NULL;   // a control character, the end, or no UTF-8
        if (c == '\\' && !strchr("\"\\/bfnrtu", at[1])) return NULL;
        if (c == '\\') n = 2;
    }
    return at + 1;
}

static inline const char *json_list(const char *at, char end, int keys)
{
    for (at += 1 + strspn(at + 1, " \n"); *at != end;) {
        if (keys && (!(at = json_string(at)) || *at++ != ':')) return NULL;
        if (!(at = json_value(at))) return NULL;
        at += strspn(at, " \n");
        if (*at == ',') at += 1 + strspn(at + 1, " \n");
        else if (*at != end) return NULL;
        else break;
        if (*at == end) return NULL;
    }
    return at + 1;
}

static inline const char *json_value(const char *at)
{
    char *end;
    at += strspn(at, " \n");
    if (*at == '{') return json_list(at, '}', 1);
    if (*at == '[') return json_list(at, ']', 0);
    if (*at == '"') return json_string(at);
    for (size_t i = 0; i < 3; i++) {
        const char *word = ((const char *[]){ "true", "false", "null" })[i];
        if (!strncmp(at, word, strlen(word))) return at + strlen(word);
    }
    if (!strchr("-0123456789", *at)) return NULL;
    strtod(at, &end);
    return end > at ? end : NULL;
}

static inline int is_json(const char *at) { return (at = json_value(at)) && at[strspn(at, " \n")] == '\0'; }

static inline void check_json(const pyprof_profile *profile, const pyprof_query *filter)
{
    static const int formats[] = { PYPROF_FORMAT_JSON, PYPROF_FORMAT_SPEEDSCOPE };
    for (size_t i = 0; i < 2; i++) {
        output_text out = written(profile, (pyprof_output){ .format = formats[i], .filter = filter });
        if (!is_json(out.data)) printf("%s\n", out.data);
        CHECK(is_json(out.data));
        CHECK_INT(strlen(out.data), out.size);
    }
}

// What a terminal, a browser or a line-based tool would take for more than text
static inline void check_harmless(const char *out, int newlines)
{
    for (size_t n; *out; out += n) {
        uint32_t c = pyprof__utf8_next(out, &n);
        if (c == '\n' && newlines) continue;
        if (pyprof__is_unsafe(c) || (c == 0xfffd && n == 1)) printf("U+%04x before %.40s\n", c, out + n);
        CHECK(!pyprof__is_unsafe(c) && !(c == 0xfffd && n == 1));
    }
}

static inline int occurrences(const char *in, const char *word)
{
    int count = 0;
    while ((in = strstr(in, word)) != NULL) in += strlen(word), count++;
    return count;
}

// Writes a recording as often as it takes to have each of the allocations fail once: it is told, and nothing is lost.
static inline void each_allocation_fails_once(void (*record)(recording *r, const char *name), pyprof_output output)
{
    counting c;
    pyprof_allocator allocator = counting_allocator(&c);
    recording r;
    recording_begin(&r, &allocator);
    record(&r, HOSTILE);
    pyprof_profile *profile = seal(&r, 0);
    pyprof_query query = { .thread = "*", .include_idle = 1 };
    output.split_threads = output.lines = 1;
    output.filter = &query;
    output_text out = { calloc(1, 1), 0 };
    long long before = c.live;
    pyprof_result result = PYPROF_ERR_MEMORY;
    int n = 0;
    for (; result == PYPROF_ERR_MEMORY; n++) {
        c.calls = 0;
        c.fail_at = n + 1;
        out.size = 0;
        result = pyprof_write(profile, &output, append, &out);
        if (c.live != before) printf("format %d, allocation %d: %lld bytes lost\n", output.format, n + 1, c.live - before);
        CHECK_INT(c.live, before);
        CHECK(result == PYPROF_OK || pyprof_last_error()[0]);
    }
    CHECK_INT(result, PYPROF_OK);
    if (c.calls >= c.fail_at) printf("format %d: allocation %d failed, and nobody said so\n", output.format, n);
    CHECK(n > 3 && c.calls < c.fail_at);
}
#endif
